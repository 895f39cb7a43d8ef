"""Error replies in the form that the client's library expects: the gate's own, and litellm's after cleaning."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from .streams import Event

Shape = Literal["openai", "anthropic"]

_KINDS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_STATUSES: Final = {kind: status for status, kind in _KINDS.items()}
NO_SUCH_MODEL: Final = "This server does not have this model. /v1/models lists those that it has."
INTERNAL_ERROR: Final = "The server had an internal error. The operator finds the place in its log."
_UNKNOWN_MODEL: Final = "Invalid model name passed in model="
"""In the 400 of litellm's proxy (1.106.2) for a model that its configuration does not have."""
_LITELLMS_WORDS: Final = re.compile(
    r"^litellm\.MidStreamFallbackError: |\s*(Deployment Info: .*|LiteLLM: model group .*)", re.DOTALL
)
# litellm's advice on a parameter that a model does not take: an operator's settings, and a field that the gate refuses.
_ADVICE: Final = re.compile(r"\s*To drop (these|unsupported params), set .*", re.DOTALL)
_TRACEBACK: Final = "Traceback (most recent call last)"
_PYTHONS: Final = re.compile(
    r"object (has no attribute|is not (iterable|subscriptable|callable))|\b(Type|Attribute|Key|Index|Value)Error\b"
    r"|unhashable type|unexpected keyword|cannot be translated: '|indices must be|not supported between instances"
    r"|validation errors? for|doesn't define __|Unmapped prompt format|NoneType"
)
# URLs, hosts with a port, and bare IP addresses. litellm replaces some hosts by `REDACTED`.
_ADDRESSES: Final = (
    r"https?://[^\s\"'<>()\[\]\\]+",
    r"\[[0-9a-f:.]*:[0-9a-f:.]*\](:\d+)?",
    r"\b(localhost|REDACTED|[\w-]+(\.[\w-]+)+):\d{2,5}\b",
    r"\b\d{1,3}(\.\d{1,3}){3}\b",
)


def shape_of(path: str, headers: Iterable[tuple[bytes, bytes]]) -> Shape:
    """Return the form of errors that a client expects, judging by its path and headers."""
    is_anthropics = any(name == b"anthropic-version" for name, _ in headers)
    return "anthropic" if path.startswith("/v1/messages") or is_anthropics else "openai"


def error_body(status: int, message: str, shape: Shape, details: Mapping[str, Any] | None = None) -> bytes:
    """Return an error in the form of the OpenAI or the Anthropic API."""
    error: dict[str, Any] = {"message": message, "type": kind_of(status), **({"details": details} if details else {})}
    if shape == "anthropic":
        return json.dumps({"type": "error", "error": error}).encode()
    return json.dumps({"error": {**error, "param": None, "code": str(status)}}).encode()


def kind_of(status: int) -> str:
    """Return the type of an error with this status, as the APIs name it."""
    return _KINDS.get(status, "invalid_request_error" if status < 500 else "api_error")


def health_counts(content: bytes) -> bytes:
    """Return the counts of healthy and unhealthy deployments, without the addresses and errors in litellm's reply."""
    try:
        body = json.loads(content)
    except ValueError:
        body = {}
    counts = ("healthy_count", "unhealthy_count")
    return json.dumps({name: body.get(name, 0) for name in counts} if isinstance(body, dict) else {}).encode()


class Replies:
    """Removes upstream addresses, tracebacks and Python's error texts from litellm's errors.

    `hosts` are the upstream's names and addresses. They are removed from error messages, and so is anything else that
    looks like an address.
    """

    def __init__(self, hosts: Iterable[str] = ()) -> None:
        known = sorted({host for host in hosts if host}, key=len, reverse=True)
        self._addresses: Final = re.compile("|".join([*map(re.escape, known), *_ADDRESSES]), re.IGNORECASE)

    def error(self, content: bytes, status: int, shape: Shape) -> tuple[int, bytes]:
        """Return the status and the body of an error of litellm's proxy, cleaned and in the client's form."""
        try:
            body = json.loads(content)
        except ValueError:
            body = None
        error = body.get("error") if isinstance(body, dict) else None
        message = error.get("message") if isinstance(error, dict) else None
        if not isinstance(message, str):
            message = body.get("detail") if isinstance(body, dict) else None
        if not isinstance(message, str):
            return status, error_body(status, INTERNAL_ERROR, shape)
        if _UNKNOWN_MODEL in message:
            return 404, error_body(404, NO_SUCH_MODEL, shape)
        return status, error_body(status, self._text(message), shape)

    def stream_error(self, event: Event, status: int | None, shape: Shape) -> tuple[int, bytes]:
        """Return the reply to a request whose stream begins with an error. `status` is the API's own, if known."""
        error = event.error or {}
        told = str(error.get("code") or "")
        status = status or _STATUSES.get(
            str(error.get("type")), int(told) if told in map(str, range(400, 600)) else 500
        )
        return status, error_body(status, self._text(str(error.get("message"))), shape)

    def clean(self, event: Event, status: int | None) -> Event:
        """Return an event of a stream. If it holds an error, its message is cleaned and its type is the API's own."""
        error = event.error
        if error is None:
            return event
        if isinstance(error.get("message"), str):
            error["message"] = self._text(error["message"])
        if status is not None and "type" in error:
            error["type"] = kind_of(status)
        if status is not None and str(error.get("code", "")).isdigit():
            error["code"] = str(status)
        return event.with_data(event.data or {})

    def _text(self, message: str) -> str:
        message = _LITELLMS_WORDS.sub("", message.split(_TRACEBACK)[0]).strip()
        message = _ADVICE.sub(' Leave that out, or send "drop_params": true.', message)
        if _PYTHONS.search(message) is not None:
            return "A field of the request has an invalid type or form. Check the request against the API's reference."
        return self._addresses.sub("address withheld", message)
