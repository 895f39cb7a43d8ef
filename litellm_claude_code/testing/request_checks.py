"""Find what the Messages API would refuse in a request, and say it in the API's words.

The checks need no model: what only some models refuse (`temperature`, a prefill, a budget for thinking) passes. They
are generators that end a request at its first mistake, so each may rely on the ones before it.
"""

from __future__ import annotations

import difflib
import fnmatch
import functools
import itertools
import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import jsonschema

from .answers import Json
from .api_fields import (
    BLOCKS,
    BODY,
    CACHE_CONTROL,
    FAMILIES,
    IMAGE_SOURCES,
    IMAGE_TYPES,
    IN_RESULTS,
    MESSAGES,
    METADATA,
    ONLY_IN_RESULTS,
    OUTPUT_CONFIG,
    OUTPUT_FORMATS,
    THINKING,
    TOOL,
    TOOL_CHOICES,
    Kind,
    Shape,
)

_MOST_CACHE_MARKS: Final = 4
_LEAST_BUDGET: Final = 1024
_LEAST_TOP_P_THINKING: Final = 0.95
_TOOL_NAME: Final = r"^[a-zA-Z0-9_-]{1,128}$"
_ID: Final = r"^[a-zA-Z0-9_-]+$"
_TOOL_OF_ANTHROPIC: Final = re.compile(r"\w+_\d{8}|mcp_toolset")
_MODEL: Final = re.compile(
    r"claude-(?:(?P<family>[a-z]+(?:-[a-z]+)*)-(?:\d+(?:[-.]\d+)?|preview)|\d+(?:[-.]\d+)?(?:-(?P<older>[a-z]+))?)"
    r"(?:-\d{8}|-latest|@\d{8})?"
)
_NOT_IN_FORMATS: Final[Mapping[str, Collection[str]]] = {
    "array": ("maxItems", "uniqueItems", "contains", "prefixItems"),
    "integer": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "string": ("minLength", "maxLength"),
    "object": ("minProperties", "maxProperties", "patternProperties", "propertyNames"),
}
_SAID: Final[Mapping[Kind, str]] = {
    str: "a valid string",
    bool: "a valid boolean",
    int: "a valid integer",
    (int, float): "a valid number",
    list: "a valid list",
    dict: "a valid dictionary",
    (str, list): "a valid string or list",
    (str, dict): "a valid string or dictionary",
}


class Mistake(NamedTuple):
    """One mistake, as the API says it. `unknown` is the name of the field or type that only a newer API may know."""

    text: str
    unknown: str | None = None


def is_claude(model: str) -> bool:
    """Return whether a model id has the form of Anthropic's. A family that is nearly a known one is a typo."""
    found = _MODEL.fullmatch(model)
    family = found and (found["family"] or found["older"])
    return found is not None and (
        family is None or family in FAMILIES or not difflib.get_close_matches(family, FAMILIES, cutoff=0.75)
    )


def is_known(model: str, models: Iterable[str]) -> bool:
    """Return whether a model id is Anthropic's, or matches one of the patterns `models` (`qwen3-*`)."""
    return is_claude(model) or any(fnmatch.fnmatchcase(model, pattern) for pattern in models)


def find_mistake(body: Json, *, shape: Shape = BODY, fields: Collection[str] = (), betas: str = "") -> str | None:
    """Return the API's message for the first mistake in a body, or None.

    `fields` names fields and block types that the checks accept as well. `betas` is the header `anthropic-beta`.
    """
    found = _mistakes(body, shape, has_interleaved="interleaved-thinking" in betas)
    return next((mistake.text for mistake in found if mistake.unknown is None or mistake.unknown not in fields), None)


def _mistakes(body: Json, shape: Shape, *, has_interleaved: bool) -> Iterator[Mistake]:
    yield from _object(body, "", shape)
    if body.get("max_tokens", 0) < 0:
        yield Mistake("max_tokens: Input should be greater than or equal to 0")
    yield from _object(body.get("metadata") or {}, "metadata", METADATA)
    yield from _output(body)
    for name in ("temperature", "top_p"):
        if not 0 <= (body.get(name) or 0) <= 1:
            yield Mistake(f"{name}: range: 0..1")
    if (body.get("top_k") or 0) < 0:
        yield Mistake("top_k: Input should be greater than or equal to 0")
    for sequence in body.get("stop_sequences") or ():
        if not isinstance(sequence, str):
            yield Mistake("stop_sequences: Input should be a valid string")
        elif not sequence.strip():
            yield Mistake("stop_sequences: each stop sequence must contain non-whitespace")
    yield from _system(body.get("system"))
    yield from _tools(body.get("tools") or ())
    yield from _tool_choice(body)
    yield from _messages(body["messages"])
    yield from _tool_results(body["messages"])
    yield from _thinking(body, has_interleaved=has_interleaved)
    yield from _cache_marks(body)


def _object(value: object, where: str, shape: Shape, *, tag: str | None = None) -> Iterator[Mistake]:
    """Check an object's fields against its shape. `tag` is the field that has told the shape."""
    if not isinstance(value, dict):
        yield Mistake(f"{where}: Input should be a valid dictionary")
        return
    dot = f"{where}." if where else ""
    for name in shape.required:
        if name not in value:
            yield Mistake(f"{dot}{name}: Field required")
    for name, found in value.items():
        kind = shape.required.get(name) or shape.optional.get(name)
        if name == tag:
            continue
        if kind is None:
            yield Mistake(f"{dot}{name}: Extra inputs are not permitted", unknown=name)
        elif not _is(found, kind) and not (found is None and name in shape.optional):
            yield Mistake(f"{dot}{name}: Input should be {_SAID[kind]}")
        elif name == "cache_control" and found is not None:
            yield from _tagged(found, f"{dot}{name}", CACHE_CONTROL)
            if found.get("ttl") not in (None, "5m", "1h"):
                yield Mistake(f"{dot}{name}.ephemeral.ttl: Input should be '5m' or '1h'")


def _is(value: object, kind: Kind) -> bool:
    return isinstance(value, kind) and (kind in (bool, object) or not isinstance(value, bool))


def _tagged(value: object, where: str, shapes: Mapping[str, Shape]) -> Iterator[Mistake]:
    """Check an object whose `type` tells its shape."""
    if not isinstance(value, dict):
        yield Mistake(f"{where}: Input should be a valid dictionary")
        return
    kind = value.get("type")
    if kind is None:
        yield Mistake(f"{where}.type: Field required")
    elif not isinstance(kind, str) or kind not in shapes:
        expected = ", ".join(f"'{name}'" for name in shapes)
        text = f"{where}: Input tag '{kind}' found using 'type' does not match any of the expected tags: {expected}"
        yield Mistake(text, unknown=kind if isinstance(kind, str) else None)
    else:
        yield from _object(value, f"{where}.{kind}", shapes[kind], tag="type")


def _system(system: str | list[Any] | None) -> Iterator[Mistake]:
    for index, block in enumerate(system if isinstance(system, list) else ()):
        yield from _tagged(block, f"system.{index}", {"text": BLOCKS["text"]})
        if block.get("text") == "":
            yield Mistake("system: text content blocks must be non-empty")


def _tools(tools: Iterable[Any]) -> Iterator[Mistake]:
    names = set[str]()
    for index, tool in enumerate(tools):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if isinstance(kind, str) and _TOOL_OF_ANTHROPIC.fullmatch(kind):
            if tool.get("cache_control") is not None:
                yield from _tagged(tool["cache_control"], f"tools.{index}.{kind}.cache_control", CACHE_CONTROL)
            continue
        if kind not in (None, "custom"):
            text = f"tools.{index}: Input tag '{kind}' found using 'type' does not match any of the expected tags"
            yield Mistake(text, unknown=kind if isinstance(kind, str) else None)
            continue
        where = f"tools.{index}.custom"
        yield from _object(tool, where, TOOL)
        if not re.fullmatch(_TOOL_NAME, tool["name"]):
            yield Mistake(f"{where}.name: String should match pattern '{_TOOL_NAME}'")
        if tool["name"] in names:
            yield Mistake("tools: Tool names must be unique.")
        names.add(tool["name"])
        yield from _input_schema(tool["input_schema"], f"{where}.input_schema")


def _input_schema(schema: Json, where: str) -> Iterator[Mistake]:
    if "type" not in schema:
        yield Mistake(f"{where}.type: Field required")
    if schema["type"] != "object":
        yield Mistake(f"{where}.type: Input should be 'object'")
    if not _is_schema(schema):
        yield Mistake(f"{where}: JSON schema is invalid. It must match JSON Schema draft 2020-12")


def _is_schema(schema: Json) -> bool:
    return _is_valid(json.dumps(schema))


@functools.lru_cache(maxsize=512)  # an agent's requests repeat dozens of tools, and a check takes a millisecond
def _is_valid(schema: str) -> bool:
    rules = jsonschema.Draft202012Validator(jsonschema.Draft202012Validator.META_SCHEMA)
    return bool(rules.is_valid(json.loads(schema)))


def _tool_choice(body: Json) -> Iterator[Mistake]:
    choice = body.get("tool_choice")
    if choice is None:
        return
    yield from _tagged(choice, "tool_choice", TOOL_CHOICES)
    if not body.get("tools") and not body.get("mcp_servers"):
        yield Mistake("tool_choice may only be specified while providing tools.")
    names = [tool.get("name") for tool in body.get("tools") or ()]
    if choice["type"] == "tool" and choice["name"] not in names:
        yield Mistake(f"Tool '{choice['name']}' not found in provided tools")


def _output(body: Json) -> Iterator[Mistake]:
    config = body.get("output_config") or {}
    yield from _object(config, "output_config", OUTPUT_CONFIG)
    for where, given in (("output_config.format", config.get("format")), ("output_format", body.get("output_format"))):
        if given is not None:
            yield from _tagged(given, where, OUTPUT_FORMATS)
            if not _is_schema(given["schema"]):
                yield Mistake(f"{where}.schema: JSON schema is invalid. It must match JSON Schema draft 2020-12")
            yield from _format(given["schema"], f"{where}.schema")


def _format(schema: object, where: str) -> Iterator[Mistake]:
    """Check a schema that answers are to follow. The API takes a part of JSON Schema for it."""
    if not isinstance(schema, dict):
        return
    given = schema.get("type", "")
    kinds = given if isinstance(given, list) else [given]
    if "object" in kinds and schema.get("additionalProperties") is not False:
        yield Mistake(f"{where}: For 'object' type, 'additionalProperties' must be explicitly set to false")
    for kind in kinds:
        for name in _NOT_IN_FORMATS.get(kind, ()):
            if name in schema:
                yield Mistake(f"{where}: For '{kind}' type, property '{name}' is not supported")
    if "oneOf" in schema:
        yield Mistake(f"{where}: Schema type 'oneOf' is not supported")
    below: list[object] = [schema.get("items"), *schema.get("anyOf", ()), *schema.get("allOf", ())]
    for name in ("properties", "$defs", "definitions"):
        below += dict(schema.get(name, {})).values()
    for inner in below:
        yield from _format(inner, where)


def _messages(messages: list[Any]) -> Iterator[Mistake]:
    if not messages:
        yield Mistake("messages: at least one message is required")
    for index, message in enumerate(messages):
        where = f"messages.{index}"
        if not isinstance(message, dict):
            yield Mistake(f"{where}: Input should be a valid dictionary")
        role = message.get("role")
        if role is None:
            yield Mistake(f"{where}.role: Field required")
        if not isinstance(role, str) or role not in MESSAGES:
            yield Mistake(f"{where}.role: Input should be 'user' or 'assistant'")
        yield from _object(message, where, MESSAGES[role], tag="role")
        is_last = index == len(messages) - 1
        if not message.get("content") and not (role == "assistant" and is_last) and not message.get("output_config"):
            yield Mistake(
                f"{where}: all messages must have non-empty content except for the optional final assistant message"
            )
        for number, block in enumerate(_blocks(message)):
            yield from _block(block, f"{where}.content.{number}")
            yield from _of_role(block, role, where)
    if messages[0]["role"] != "user":
        yield Mistake('messages: first message must use the "user" role')
    yield from _prefill(messages[-1])


def _blocks(message: Json) -> list[Any]:
    content = message.get("content")
    return content if isinstance(content, list) else [{"type": "text", "text": content}] if content else []


def _block(block: object, where: str, known: Collection[str] = BLOCKS.keys() - {*ONLY_IN_RESULTS}) -> Iterator[Mistake]:
    yield from _tagged(block, where, {name: shape for name, shape in BLOCKS.items() if name in known})
    assert isinstance(block, dict)
    if block["type"] == "text" and not block["text"]:
        yield Mistake("messages: text content blocks must be non-empty")
    if block["type"] == "text" and not block["text"].strip():
        yield Mistake("messages: text content blocks must contain non-whitespace text")
    if block["type"] == "image":
        yield from _tagged(block["source"], f"{where}.image.source", IMAGE_SOURCES)
        if block["source"]["type"] == "base64" and block["source"]["media_type"] not in IMAGE_TYPES:
            expected = ", ".join(f"'{kind}'" for kind in IMAGE_TYPES)
            yield Mistake(f"{where}.image.source.base64.media_type: Input should be {expected}")
    if block["type"] == "tool_use":
        if not re.fullmatch(_ID, block["id"]):
            yield Mistake(f"{where}.tool_use.id: String should match pattern '{_ID}'")
        if not isinstance(block["input"], dict):
            yield Mistake(f"{where}.tool_use.input: Input should be a valid dictionary")
    inner = block.get("content") if block["type"] == "tool_result" else None
    for number, part in enumerate(inner if isinstance(inner, list) else ()):
        yield from _block(part, f"{where}.tool_result.content.{number}", IN_RESULTS)


def _of_role(block: Json, role: str, where: str) -> Iterator[Mistake]:
    if block["type"] in ("tool_use", "thinking", "redacted_thinking") and role != "assistant":
        yield Mistake(f"{where}: `{block['type']}` blocks can only be in `assistant` messages")
    if block["type"] == "tool_result" and role != "user":
        yield Mistake(f"{where}: `tool_result` blocks can only be in `user` messages")


def _prefill(last: Json) -> Iterator[Mistake]:
    blocks = _blocks(last) if last["role"] == "assistant" else []
    if not blocks:
        return
    if blocks[-1]["type"] == "text" and blocks[-1]["text"] != blocks[-1]["text"].rstrip():
        yield Mistake("messages: final assistant content cannot end with trailing whitespace")
    if blocks[-1]["type"] in ("thinking", "redacted_thinking"):
        yield Mistake("messages: The final block in an assistant message cannot be `thinking`.")


def _tool_results(messages: list[Json]) -> Iterator[Mistake]:
    """Check that each tool call has its result at the beginning of the next turn, and each result its call.

    The API joins successive messages of one role to one turn.
    """
    turns = itertools.groupby(
        ((index, message) for index, message in enumerate(messages) if message["role"] != "system"),
        key=lambda numbered: numbered[1]["role"],
    )
    open_calls, where, seen = list[str](), "", set[str]()
    for role, numbered in turns:
        blocks = [
            (index, number, block) for index, message in numbered for number, block in enumerate(_blocks(message))
        ]
        if role == "assistant":
            open_calls = [block["id"] for _, _, block in blocks if block["type"] == "tool_use"]
            where = f"messages.{blocks[-1][0]}" if blocks else where
            if len({*open_calls}) < len(open_calls) or seen & {*open_calls}:
                yield Mistake("messages: `tool_use` ids must be unique")
            seen |= {*open_calls}
            continue
        at_once = {
            block["tool_use_id"]
            for _, _, block in itertools.takewhile(lambda placed: placed[2]["type"] == "tool_result", blocks)
        }
        yield from _unanswered([call for call in open_calls if call not in at_once], where)
        results = [placed for placed in blocks if placed[2]["type"] == "tool_result"]
        for index, number, block in results:
            if block["tool_use_id"] not in open_calls:
                yield Mistake(
                    f"messages.{index}.content.{number}: unexpected `tool_use_id` found in `tool_result` blocks: "
                    f"{block['tool_use_id']}. Each `tool_result` block must have a corresponding `tool_use` block in "
                    "the previous message."
                )
        if len(results) > len(open_calls):
            yield Mistake(
                f"messages.{results[-1][0]}.content.{results[-1][1]}: each tool_use must have a single result. Found "
                f"multiple `tool_result` blocks with id: {results[-1][2]['tool_use_id']}"
            )
        open_calls = []
    yield from _unanswered(open_calls, where)


def _unanswered(calls: list[str], where: str) -> Iterator[Mistake]:
    if calls:
        yield Mistake(
            f"{where}: `tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(calls)}. "
            "Each `tool_use` block must have a corresponding `tool_result` block in the next message."
        )


def _thinking(body: Json, *, has_interleaved: bool) -> Iterator[Mistake]:
    thinking = body.get("thinking")
    if thinking is None:
        return
    yield from _tagged(thinking, "thinking", THINKING)
    budget = thinking.get("budget_tokens", _LEAST_BUDGET)
    if budget < _LEAST_BUDGET:
        yield Mistake(f"thinking.enabled.budget_tokens: Input should be greater than or equal to {_LEAST_BUDGET}")
    if (
        "budget_tokens" in thinking
        and budget >= body.get("max_tokens", math.inf)
        and not (has_interleaved and body.get("tools"))
    ):
        yield Mistake("`max_tokens` must be greater than `thinking.budget_tokens`.")
    if thinking["type"] not in ("enabled", "adaptive"):
        return
    when = "when thinking is enabled or in adaptive mode."
    if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        yield Mistake("Thinking may not be enabled when tool_choice forces tool use.")
    if body.get("temperature") not in (None, 1):
        yield Mistake(f"`temperature` may only be set to 1 {when}")
    if body.get("top_k") is not None:
        yield Mistake(f"`top_k` must be unset {when}")
    if (body.get("top_p") or 1) < _LEAST_TOP_P_THINKING:
        yield Mistake(f"`top_p` must be greater than or equal to {_LEAST_TOP_P_THINKING} or unset {when}")


def _cache_marks(body: Json) -> Iterator[Mistake]:
    """Count the cache marks, and check that those of an hour come before those of five minutes."""
    system = body.get("system")
    marked: list[tuple[str, Json]] = []
    for name, blocks in (("tools", body.get("tools") or ()), ("system", system if isinstance(system, list) else ())):
        marked += ((f"{name}.{index}", block) for index, block in enumerate(blocks))
    for index, message in enumerate(body["messages"]):
        for number, block in enumerate(_blocks(message)):
            where = f"messages.{index}.content.{number}"
            inner = block.get("content") if block["type"] == "tool_result" else None
            marked += ((where, part) for part in (inner if isinstance(inner, list) else ()))
            marked.append((where, block))
    marked.append(("", body))
    marks = [(where, block["cache_control"]) for where, block in marked if isinstance(block.get("cache_control"), dict)]
    if len(marks) > _MOST_CACHE_MARKS:
        yield Mistake(
            f"A maximum of {_MOST_CACHE_MARKS} blocks with cache_control may be provided. Found {len(marks)}."
        )
    is_short = False
    for where, mark in marks:
        if mark.get("ttl") == "1h" and is_short:
            yield Mistake(
                f"{where}.cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' "
                "cache_control block. Note that blocks are processed in the following order: `tools`, `system`, "
                "`messages`."
            )
        is_short = is_short or mark.get("ttl") != "1h"
