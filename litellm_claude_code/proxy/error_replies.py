"""Error replies in the form that the client's library expects: the gate's own, and litellm's after cleaning."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

Shape = Literal["openai", "anthropic"]

_KINDS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
}
INTERNAL_ERROR: Final = "The server had an internal error. The operator finds the place in its log."
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


class Refused(Exception):
    """Raised if the gate refuses a request. The message is for the client, and quotes no value of the request."""

    def __init__(self, status: int, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after_s = retry_after_s


def shape_of(path: str, headers: Iterable[tuple[bytes, bytes]]) -> Shape:
    """Return the form of errors that a client expects, judging by its path and headers."""
    is_anthropics = any(name == b"anthropic-version" for name, _ in headers)
    return "anthropic" if path.startswith("/v1/messages") or is_anthropics else "openai"


def error_body(status: int, message: str, shape: Shape) -> bytes:
    """Return an error in the form of the OpenAI or the Anthropic API."""
    error: dict[str, Any] = {"message": message, "type": _KINDS.get(status, "api_error")}
    if shape == "anthropic":
        return json.dumps({"type": "error", "error": error}).encode()
    return json.dumps({"error": {**error, "param": None, "code": str(status)}}).encode()


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

    def error(self, content: bytes, status: int, shape: Shape) -> bytes:
        """Return a cleaned error of litellm's proxy.

        It is rewritten in the client's form if it has no message, or one with a traceback or a Python error text.
        """
        try:
            body = json.loads(content)
        except ValueError:
            body = None
        error = body.get("error") if isinstance(body, dict) else None
        message = error.get("message") if isinstance(error, dict) else None
        if not isinstance(message, str) or not isinstance(error, dict):
            detail = body.get("detail") if isinstance(body, dict) else None
            told = self._text(detail) if isinstance(detail, str) else INTERNAL_ERROR
            return error_body(status, told, shape)
        if _TRACEBACK in message or _is_pythons(message):
            return error_body(status, self._text(message), shape)
        return json.dumps({**body, "error": {**error, "message": self._text(message)}}).encode()

    def stream(self) -> Callable[[bytes, bool], bytes]:
        """Return a function that cleans a stream. It takes bytes, and whether they are the last, and returns bytes."""
        held = b""

        def mend(content: bytes, is_last: bool) -> bytes:
            nonlocal held
            held += content
            end = len(held) if is_last else held.rfind(b"\n") + 1
            lines, held = held[:end], held[end:]
            if b'"error"' not in lines:
                return lines
            return b"\n".join(self._line(line) for line in lines.split(b"\n"))

        return mend

    def _line(self, line: bytes) -> bytes:
        """Return a line of a stream. If it holds an error, the message is cleaned."""
        name, _, data = line.partition(b":")
        try:
            event = json.loads(data) if name == b"data" else None
        except ValueError:
            return line
        if not isinstance(event, dict):
            return line
        # `error` is in the event (Anthropic, OpenAI), or in its `response` (a failed response of the Responses API).
        response = event.get("response")
        holders = [event, response] if isinstance(response, dict) else [event]
        errors = [holder["error"] for holder in holders if isinstance(holder.get("error"), dict)]
        if not errors:
            return line
        for error in errors:
            if isinstance(error.get("message"), str):
                error["message"] = self._text(error["message"])
        return b"data: " + json.dumps(event).encode()

    def _text(self, message: str) -> str:
        message = message.split(_TRACEBACK)[0].strip()
        if _is_pythons(message):
            return "A field of the request has an invalid type or form. Check the request against the API's reference."
        return self._addresses.sub("address withheld", message)


def _is_pythons(message: str) -> bool:
    return _PYTHONS.search(message) is not None
