"""Changes to a request's body before litellm sees it, for clients that send what litellm would lose or refuse.

- Anthropic's documents. litellm (1.106.2) loses a plain text, a title and citations without a word. A document of plain
  text becomes a text; what cannot be sent is refused.
- anthropic-python's tool runner (2.12) begins a thread, and goes on without one if the server says that it has none.
- Codex (0.169) sends fields about itself, groups of tools (`namespace`), and a web search that may not use the web.

This module does no I/O.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from .._litellm import Body
from .refused import Refused

_JOINT: Final = "__"
"""Between the name of a group of tools and the name of a tool. Codex writes the names of MCP tools in this way, too."""


def mend(body: Body, path: str) -> Body:
    """Return the body for litellm, whose shapes are not checked yet.

    Raises `Refused` for what can be neither sent nor left out.
    """
    endpoint = path.removeprefix("/v1")
    if endpoint.startswith("/messages"):
        return _mend_messages(body)
    return _mend_responses(body) if endpoint == "/responses" else body


def namespaces_in(body: Body) -> frozenset[str]:
    """Return the names of the groups of tools in a body of `/v1/responses`, before it is mended."""
    return frozenset(tool["name"] for tool in _objects(body.get("tools")) if _is_namespace(tool))


def with_namespace(item: Body, namespaces: frozenset[str]) -> Body:
    """Return an output item in which a call of a grouped tool has the group's name in `namespace`, as Codex reads it.

    If several groups fit, the one with the longest name is the tool's.
    """
    name = item.get("name")
    if item.get("type") != "function_call" or not isinstance(name, str):
        return item
    fitting = [space for space in namespaces if name.startswith(space + _JOINT)]
    if not fitting:
        return item
    space = max(fitting, key=len)
    return {**item, "namespace": space, "name": name[len(space + _JOINT) :]}


def _mend_messages(body: Body) -> Body:
    if "thread" in body:
        raise Refused(
            400,
            "This server keeps no threads. Leave out `thread`, and send all messages.",
            details={"error_code": "thread_unsupported_request", "unsupported": ["thread"]},
        )
    if not isinstance(body.get("messages"), list):
        return body
    messages = [_with_documents(message, f"messages[{number}]") for number, message in enumerate(body["messages"])]
    return {**body, "messages": messages}


def _with_documents(holder: Any, where: str) -> Any:
    """Return a message or a tool's result, with documents that litellm does not lose."""
    if not isinstance(holder, dict) or not isinstance(holder.get("content"), list):
        return holder
    blocks = [_with_document(block, f"{where}.content[{number}]") for number, block in enumerate(holder["content"])]
    return {**holder, "content": blocks}


def _with_document(block: Any, where: str) -> Any:
    kind = block.get("type") if isinstance(block, dict) else None
    if kind == "tool_result":
        return _with_documents(block, where)
    if kind != "document" or not isinstance(block.get("source"), dict):
        return block
    citations = block.get("citations")
    lost = [name for name in ("title", "context") if block.get(name) is not None]
    lost += ["citations"] if isinstance(citations, dict) and citations.get("enabled") is True else []
    if lost:
        raise Refused(400, f"`{where}.{lost[0]}` is not supported by this server. Leave it out.")
    source = block["source"]
    if source.get("type") == "text" and isinstance(source.get("data"), str):
        rest = {field: value for field, value in block.items() if field not in ("source", "citations")}
        return {**rest, "type": "text", "text": source["data"]}
    if source.get("type") != "base64":
        raise Refused(400, f"`{where}.source` must be of the type base64 or text on this server.")
    return block


def _mend_responses(body: Body) -> Body:
    # `client_metadata`: ids of the client's session, for OpenAI only.
    mended = {field: value for field, value in body.items() if field != "client_metadata"}
    if isinstance(body.get("tools"), list):
        mended["tools"] = [each for tool in body["tools"] for each in _ungrouped(tool)]
    if isinstance(body.get("input"), list):
        mended["input"] = [_joined(item) for item in body["input"]]
    return mended


def _ungrouped(tool: Any) -> Iterator[Any]:
    """Yield a tool as litellm takes it: the tools of a group one by one, and no web search without the web."""
    if _is_namespace(tool):
        for inner in _objects(tool["tools"]):
            yield {**inner, "name": f"{tool['name']}{_JOINT}{inner.get('name')}"}
    elif not (isinstance(tool, dict) and tool.get("type") == "web_search" and tool.get("external_web_access") is False):
        yield tool


def _joined(item: Any) -> Any:
    """Return an input item in which a call has the joint name of the tool and its group."""
    is_call = isinstance(item, dict) and item.get("type") == "function_call"
    if not is_call or not isinstance(item.get("namespace"), str) or not isinstance(item.get("name"), str):
        return item
    rest = {field: value for field, value in item.items() if field != "namespace"}
    return {**rest, "name": f"{item['namespace']}{_JOINT}{item['name']}"}


def _is_namespace(tool: Any) -> bool:
    return (
        isinstance(tool, dict)
        and tool.get("type") == "namespace"
        and isinstance(tool.get("name"), str)
        and isinstance(tool.get("tools"), list)
    )


def _objects(values: Any) -> list[Body]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []
