"""The endpoints of litellm's proxy that are served, and the fields that a request to each may have.

These are lists of what is allowed, not of what is forbidden: litellm's proxy accepts any litellm argument in a body
(another provider, credentials, a router, fallbacks…), and its next version accepts more. This module does no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from ..models import PROVIDER
from .mending import mend
from .refused import Refused
from .shapes import check_shapes

Body = dict[str, Any]

_SAMPLING: Final = ("model", "stream", "temperature", "top_p", "metadata", "service_tier")
# Claude's own parameters, which OpenAI's format does not have, and `drop_params`, which lets litellm drop parameters
# that a model does not take.
_OF_CLAUDE: Final = ("thinking", "top_k", "cache_control", "context_management", "speed", "drop_params")
_OF_OPENAI: Final = (
    *_SAMPLING,
    *_OF_CLAUDE,
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "stream_options",
    "store",
)
_OF_COMPLETIONS: Final = (*_OF_OPENAI, "n", "seed", "stop", "max_tokens", "logprobs", "logit_bias",
                          "presence_penalty", "frequency_penalty")  # fmt: skip
_CHAT: Final = frozenset(
    [*_OF_COMPLETIONS, "messages", "max_completion_tokens", "top_logprobs", "tools", "tool_choice",
     "parallel_tool_calls", "functions", "function_call", "response_format", "reasoning_effort", "verbosity",
     "modalities", "prediction", "web_search_options"]
)  # fmt: skip
_COMPLETIONS: Final = frozenset([*_OF_COMPLETIONS, "prompt", "suffix", "echo", "best_of"])
_RESPONSES: Final = frozenset(
    [*_OF_OPENAI, "input", "instructions", "max_output_tokens", "tools", "tool_choice", "parallel_tool_calls",
     "max_tool_calls", "text", "reasoning", "truncation", "include", "top_logprobs"]
)  # fmt: skip
_MESSAGES: Final = frozenset(
    [*_SAMPLING, *_OF_CLAUDE, "messages", "max_tokens", "system", "stop_sequences", "tools", "tool_choice",
     "output_config", "output_format"]
)  # fmt: skip

# Tools that the client runs, and the API's own web search. litellm's proxy would run some other types itself.
_TOOLS: Final = re.compile(r"function|custom|(web_search|bash|text_editor|memory|computer)(_\w+)?")
_MODEL: Final = re.compile(r"[\w./\[\]@-]{1,200}", re.ASCII)
_ONE_MODEL: Final = re.compile(rf"/v1/models/({PROVIDER}/)?\w[\w.\[\]@-]{{0,199}}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Route:
    """A request to an endpoint that is served."""

    path: str
    """The path at litellm's proxy."""
    fields: frozenset[str] | None = None
    """The fields that the body may have; None if there is no body."""
    query: str = ""
    asks_model: bool = False
    """Whether litellm makes a model request for it, although it has no body."""


_POSTS: Final[Mapping[str, frozenset[str]]] = {
    "/v1/chat/completions": _CHAT,
    "/chat/completions": _CHAT,
    "/v1/completions": _COMPLETIONS,
    "/completions": _COMPLETIONS,
    "/v1/responses": _RESPONSES,
    "/responses": _RESPONSES,
    "/v1/messages": _MESSAGES,
    "/v1/messages/count_tokens": _MESSAGES,
}
METRICS: Final = "/metrics"
"""Answered by the gate itself."""
OPEN: Final = ("/health/liveliness", "/health/readiness")
"""Served without a key, because probes have none. By default, litellm's replies say only whether it is healthy, and the
state of its database."""

_GETS: Final = (*OPEN, METRICS, "/health", "/v1/models", "/models")


def find_route(method: str, path: str, query: str) -> Route:
    """Return the route of a request. Raises `Refused` if its method and path are not served.

    A HEAD is answered as a GET, whose body the server leaves out. `/health` makes no request to a model;
    `/health?model=…` makes one to that model.
    """
    is_post = path in _POSTS
    if (
        not is_post
        and path not in (*OPEN, METRICS, "/health", "/v1/models", "/models")
        and not _ONE_MODEL.fullmatch(path)
    ):
        served = [*(path for path in _POSTS if path.startswith("/v1")), "/v1/models"]
        raise Refused(404, f"This server does not have this endpoint. Use {', '.join(served)} or /health.")
    allow = ("POST",) if is_post else ("GET", "HEAD")
    if method not in allow:
        raise Refused(405, f"This endpoint does not have this method. Use {allow[0]}.", allow=", ".join(allow))
    if is_post:
        return Route(path=path, fields=_POSTS[path])
    if path == "/health":
        return _health(query)
    return Route(path=path.replace(f"/{PROVIDER}/", "/"))


def _health(query: str) -> Route:
    # litellm accepts more parameters, and takes an empty `model` to mean all models.
    if not query:
        return Route(path="/health/readiness")
    match parse_qsl(query, keep_blank_values=True):
        case [("model", model)] if _MODEL.fullmatch(model):
            return Route(path="/health", query=urlencode({"model": model}), asks_model=True)
    raise Refused(400, "/health accepts only the name of one model, as in /health?model=sonnet.")


def read_body(value: object, route: Route) -> Body:
    """Return the fields of a body for litellm, without those that are null. Raises `Refused` if it is not allowed."""
    if not isinstance(value, dict):
        raise Refused(400, "The body must be a JSON object.")
    body = mend({field: value for field, value in value.items() if value is not None}, route.path)
    unknown = sorted(body.keys() - (route.fields or frozenset()))
    if unknown:
        names = ", ".join(f"`{name[:40]}`" for name in unknown[:10])
        raise Refused(400, f"The request has fields that this server does not accept: {names}. Leave them out.")
    if not isinstance(body.get("model"), str) or not _MODEL.fullmatch(body["model"]):
        raise Refused(400, "`model` must be the name of one model. /v1/models lists them.")
    _check_metadata(body.get("metadata"))
    check_shapes(body, route.path)
    _check_tools(body.get("tools"))
    return body


def requests_in(body: Body) -> int:
    """Return how many model requests a body asks for. The body must have passed `read_body`."""
    n: int = body.get("n", 1)
    prompts = body.get("prompt")
    return n * (len(prompts) if isinstance(prompts, list) else 1)


def _check_metadata(metadata: object) -> None:
    # litellm's integrations read nested values as their settings.
    if metadata is None:
        return
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise Refused(400, "`metadata` must be an object whose values are strings.")


def _check_tools(tools: object) -> None:
    for tool in tools if isinstance(tools, list) else []:
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind is not None and not (isinstance(kind, str) and _TOOLS.fullmatch(kind)):
            raise Refused(400, "A tool has a type that this server does not support. Use the type `function`.")
