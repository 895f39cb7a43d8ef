"""Scripted answers as plain values. `rendering.py` decides what each looks like on the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal, TypeAlias, TypedDict

from typing_extensions import Unpack

Json: TypeAlias = dict[str, Any]
"""A JSON object of any shape, such as a request's body or an event's data."""

StopReason = Literal[
    "end_turn",
    "max_tokens",
    "stop_sequence",
    "tool_use",
    "pause_turn",
    "refusal",
    "model_context_window_exceeded",
]

ErrorType = Literal[
    "invalid_request_error",
    "authentication_error",
    "billing_error",
    "permission_error",
    "not_found_error",
    "request_too_large",
    "rate_limit_error",
    "timeout_error",
    "overloaded_error",
    "api_error",
]

_ERROR_TYPES: Mapping[int, ErrorType] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class CacheCreation(TypedDict):
    """Tokens written to the prompt cache, by cache lifetime."""

    ephemeral_5m_input_tokens: int
    ephemeral_1h_input_tokens: int


class ErrorBody(TypedDict):
    """The error in an `ErrorEnvelope`."""

    type: str
    message: str


class ErrorEnvelope(TypedDict):
    """The body of every response with a status of 400 or above, and the data of an SSE `error` event."""

    type: Literal["error"]
    error: ErrorBody
    request_id: str


@dataclass(frozen=True)
class Text:
    """A text block, streamed as `text_delta` events, and one `citations_delta` for each of its citations."""

    text: str
    _: KW_ONLY
    citations: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class ToolUse:
    """A call of one of the caller's tools. Its input is streamed as JSON, cut into `input_json_delta` events.

    `id` defaults to one derived from the message's id.
    """

    name: str
    input: Mapping[str, Any] = field(default_factory=dict)
    _: KW_ONLY
    id: str | None = None


@dataclass(frozen=True)
class Thinking:
    """A thinking block, streamed as `thinking_delta` events and one `signature_delta`."""

    thinking: str
    _: KW_ONLY
    signature: str = "c3RhbmQtaW4="


@dataclass(frozen=True)
class RedactedThinking:
    """A thinking block that has only encrypted `data`, streamed whole in its `content_block_start` event."""

    data: str = "c3RhbmQtaW4="


Block: TypeAlias = Text | ToolUse | Thinking | RedactedThinking


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Token counts as the API reports them. `input_tokens` excludes tokens written to or read from the prompt cache.

    By default, `cache_creation` puts all `cache_creation_input_tokens` into the 5-minute cache. `server_tool_use`
    (`{"web_search_requests": 1}`) and `output_tokens_details` (`{"thinking_tokens": 9}`) are omitted if None.
    """

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_creation: CacheCreation | None = None
    server_tool_use: Mapping[str, int] | None = None
    output_tokens_details: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Failure:
    """An HTTP error in the API's envelope. In `Answer.error_after` it is sent as an SSE `error` event instead.

    `type` defaults to the API's type for `status`. A 4xx for which the API has none is an `invalid_request_error`, any
    other 5xx an `api_error`. `headers` are added to the response (`{"retry-after": "7"}`). `delay_s` is the time to
    the first byte.
    """

    status: int
    _: KW_ONLY
    type: ErrorType | None = None
    message: str = "The stand-in fails this request on purpose."
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0

    def envelope(self, request_id: str) -> ErrorEnvelope:
        """Return the JSON body of this failure."""
        fallback: ErrorType = "invalid_request_error" if self.status < 500 else "api_error"
        kind = self.type or _ERROR_TYPES.get(self.status, fallback)
        return {"type": "error", "error": {"type": kind, "message": self.message}, "request_id": request_id}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One message of the model, and how it is sent.

    The message: `content` may be empty. If `stop_reason` is None, it is `stop_sequence` if one is given, `tool_use` if
    the content has a `ToolUse`, and `end_turn` otherwise. `model` defaults to the request's, `id` to a unique one.
    `usage` defaults to an estimate of four characters a token; `reports_usage=False` reports zeros, as some gateways
    do. `stop_details` belongs to a refusal (`{"type": "refusal", "category": None, "explanation": None}`).

    How it is sent: the response's headers follow after `delay_s`, and each delta event after `between_s`. Text and JSON
    are cut into deltas of `chunk_chars` characters. `headers` are added to the response's
    (`{"anthropic-ratelimit-unified-status": "allowed"}`).

    At most one of these ends the response early. Each is a number of events, where `message_start` is the first:

    - `cut_after` closes the connection in the middle of the response. Without streaming, half the JSON body is sent.
    - `hang_after` sends nothing more until the client disconnects or the stand-in stops. Without streaming, only the
      headers are sent.
    - `error_after` sends an SSE `error` event and ends the response. Without streaming, the failure is the response.
    """

    content: Sequence[Block] = ()
    stop_reason: StopReason | None = None
    stop_sequence: str | None = None
    stop_details: Mapping[str, Any] | None = None
    usage: Usage | None = None
    reports_usage: bool = True
    model: str | None = None
    id: str | None = None
    delay_s: float = 0.0
    between_s: float = 0.0
    chunk_chars: int = 20
    cut_after: int | None = None
    hang_after: int | None = None
    error_after: tuple[int, Failure] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.chunk_chars < 1:
            raise ValueError(f"chunk_chars must be at least 1, not {self.chunk_chars}")
        if sum(early is not None for early in (self.cut_after, self.hang_after, self.error_after)) > 1:
            raise ValueError("an answer can have only one of cut_after, hang_after and error_after")


@dataclass(frozen=True, kw_only=True)
class RawEvents:
    """Arbitrary SSE events, such as a malformed, repeated or reordered stream. Sent even if `stream` is not set.

    `events` are (name, data) pairs. A dict is sent as JSON, a str unchanged. `delay_s` is the time to the first byte,
    `between_s` the pause between events. `cut` closes the connection in the middle of the response.
    """

    events: Sequence[tuple[str, Mapping[str, Any] | str]]
    delay_s: float = 0.0
    between_s: float = 0.0
    cut: bool = False


@dataclass(frozen=True)
class RawBody:
    """An arbitrary HTTP response, such as a proxy's HTML page."""

    status: int
    body: bytes
    content_type: str = "text/html"
    _: KW_ONLY
    delay_s: float = 0.0


Reply: TypeAlias = Answer | Failure | RawEvents | RawBody | str
"""The possible replies to a request. A str is short for an `Answer` with one `Text`."""


class _Fields(TypedDict, total=False):
    """The fields of `Answer` except its content, for type checkers."""

    stop_reason: StopReason | None
    stop_sequence: str | None
    stop_details: Mapping[str, Any] | None
    usage: Usage | None
    reports_usage: bool
    model: str | None
    id: str | None
    delay_s: float
    between_s: float
    chunk_chars: int
    cut_after: int | None
    hang_after: int | None
    error_after: tuple[int, Failure] | None
    headers: Mapping[str, str]


def answer(*blocks: Block | str, **fields: Unpack[_Fields]) -> Answer:
    """Return an `Answer` with these blocks. A str becomes a `Text`. The keywords are those of `Answer`."""
    return Answer(content=tuple(Text(block) if isinstance(block, str) else block for block in blocks), **fields)
