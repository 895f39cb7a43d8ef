"""Errors as the client's library reads them: those of the gate, and litellm's, which take several forms."""

from __future__ import annotations

import json
from collections.abc import Iterable
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
_TRACEBACK: Final = "Traceback (most recent call last)"


def shape_of(path: str, headers: Iterable[bytes]) -> Shape:
    """Return the form that a client expects, by what it asked for and how."""
    return "anthropic" if path.startswith("/v1/messages") or b"anthropic-version" in headers else "openai"


def error_body(status: int, message: str, shape: Shape) -> bytes:
    """Return an error in the form of the OpenAI or the Anthropic API."""
    error: dict[str, Any] = {"message": message, "type": _KINDS.get(status, "api_error")}
    if shape == "anthropic":
        return json.dumps({"type": "error", "error": error}).encode()
    return json.dumps({"error": {**error, "param": None, "code": str(status)}}).encode()


def mended(content: bytes, status: int, shape: Shape) -> bytes:
    """Return an error of litellm's proxy as it should be: in the client's form, and without a traceback."""
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    error = body.get("error") if isinstance(body, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    if not isinstance(message, str):
        detail = body.get("detail") if isinstance(body, dict) else None
        return error_body(status, detail if isinstance(detail, str) else "The proxy failed; its log says where.", shape)
    if _TRACEBACK not in message:
        return content
    return error_body(status, message.split(_TRACEBACK)[0].strip(), shape)
