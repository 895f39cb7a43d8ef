"""Render a scripted answer as a response of the Messages API.

Pure functions only: no I/O, no clock, no randomness. `render` decides everything that is sent for one request, and
`asgi.py` sends it. A streamed answer is cut from the message that a request without `stream` gets, so both agree.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeAlias

from .answers import (
    Answer,
    Block,
    CacheCreation,
    Failure,
    Json,
    RawBody,
    RawEvents,
    Reply,
    StopReason,
    Text,
    Thinking,
    ToolUse,
    Usage,
    answer,
)

_EVENT_STREAM = "text/event-stream; charset=utf-8"
_JSON = "application/json"

Ending: TypeAlias = Literal["complete", "cut", "hang"]
"""How a body ends: complete, with the connection closed too early, or not until the client disconnects."""


def count_input_tokens(body: Mapping[str, Any]) -> int:
    """Estimate the tokens of a request's `system`, `tools` and `messages`: four characters a token, at least 1."""
    return max(1, sum(_count_characters(body.get(key)) for key in ("system", "tools", "messages")) // 4)


def _count_characters(value: object) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(_count_characters(item) for item in value.values())
    if isinstance(value, Sequence):
        return sum(_count_characters(item) for item in value)
    return 0


class Event(NamedTuple):
    """One server-sent event. `data` is a JSON object, or text that is sent unchanged."""

    name: str
    data: Mapping[str, object] | str

    def encode(self) -> bytes:
        data = self.data if isinstance(self.data, str) else _dump(self.data)
        return _encode(f"event: {self.name}\ndata: {data}\n\n")


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _encode(text: str) -> bytes:
    # Plain UTF-8, as the API sends it. A lone surrogate has no UTF-8 form; "backslashreplace" makes it a JSON escape.
    return text.encode(errors="backslashreplace")


def message(reply: Answer, body: Mapping[str, Any], message_id: str) -> Json:
    """Return the complete message for the request `body`, as sent to a request without `stream`."""
    message_id = reply.id or message_id
    content = [_block(block, f"toolu_{message_id[4:]}{index:02}") for index, block in enumerate(reply.content)]
    return {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": reply.model or body.get("model", ""),
        "content": content,
        "stop_reason": reply.stop_reason or _stop_reason(reply),
        "stop_sequence": reply.stop_sequence,
        **({} if reply.stop_details is None else {"stop_details": dict(reply.stop_details)}),
        "usage": _usage(reply, body),
    }


def _stop_reason(reply: Answer) -> StopReason:
    if reply.stop_sequence is not None:
        return "stop_sequence"
    return "tool_use" if any(isinstance(block, ToolUse) for block in reply.content) else "end_turn"


def _block(block: Block, tool_use_id: str) -> Json:
    if isinstance(block, Text):
        citations = {"citations": [dict(citation) for citation in block.citations]} if block.citations else {}
        return {"type": "text", "text": block.text, **citations}
    if isinstance(block, ToolUse):
        return {"type": "tool_use", "id": block.id or tool_use_id, "name": block.name, "input": dict(block.input)}
    if isinstance(block, Thinking):
        return {"type": "thinking", "thinking": block.thinking, "signature": block.signature}
    return {"type": "redacted_thinking", "data": block.data}


def _usage(reply: Answer, body: Mapping[str, Any]) -> Json:
    usage = reply.usage or Usage(
        input_tokens=count_input_tokens(body), output_tokens=_count_output_tokens(reply, body.get("max_tokens"))
    )
    if not reply.reports_usage:
        usage = Usage(input_tokens=0, output_tokens=0)
    written = usage.cache_creation_input_tokens
    return {
        "input_tokens": usage.input_tokens,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": usage.cache_read_input_tokens,
        "cache_creation": usage.cache_creation
        or CacheCreation(ephemeral_5m_input_tokens=written, ephemeral_1h_input_tokens=0),
        "output_tokens": usage.output_tokens,
        "service_tier": "standard",
        **({} if usage.server_tool_use is None else {"server_tool_use": dict(usage.server_tool_use)}),
        **({} if usage.output_tokens_details is None else {"output_tokens_details": dict(usage.output_tokens_details)}),
    }


def _count_output_tokens(reply: Answer, max_tokens: object) -> int:
    if reply.stop_reason == "max_tokens" and isinstance(max_tokens, int):
        return max_tokens  # the answer was cut off there
    return max(1, sum(len(_words(block)) for block in reply.content) // 4)


def _words(block: Block) -> str:
    if isinstance(block, Text):
        return block.text
    if isinstance(block, ToolUse):
        return block.name + _dump(block.input)
    if isinstance(block, Thinking):
        return block.thinking
    return block.data


def events(whole: Json, chunk_chars: int) -> Iterator[Event]:
    """Cut a complete message into the API's stream of events.

    `message_start` has the input's usage and at most one output token. `message_delta` has the stop reason and the
    cumulative usage, without the fields that the API sends only in `message_start`.
    """
    usage: Json = whole["usage"]
    once = ("cache_creation", "service_tier")
    late = ("server_tool_use", "output_tokens_details")
    start = {
        **{key: value for key, value in whole.items() if key != "stop_details"},
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            **{key: value for key, value in usage.items() if key not in late},
            "output_tokens": min(1, usage["output_tokens"]),
        },
    }
    yield Event("message_start", {"type": "message_start", "message": start})
    yield Event("ping", {"type": "ping"})
    for index, block in enumerate(whole["content"]):
        empty, deltas = _cut_block(block, chunk_chars)
        yield Event("content_block_start", {"type": "content_block_start", "index": index, "content_block": empty})
        for delta in deltas:
            yield Event("content_block_delta", {"type": "content_block_delta", "index": index, "delta": delta})
        yield Event("content_block_stop", {"type": "content_block_stop", "index": index})
    delta = {key: whole[key] for key in ("stop_reason", "stop_sequence", "stop_details") if key in whole}
    cumulative = {key: value for key, value in usage.items() if key not in once}
    yield Event("message_delta", {"type": "message_delta", "delta": delta, "usage": cumulative})
    yield Event("message_stop", {"type": "message_stop"})


def _cut_block(block: Json, chunk_chars: int) -> tuple[Json, list[Json]]:
    """Return the block as it is in `content_block_start`, and its deltas."""
    if block["type"] == "text":
        deltas: list[Json] = [{"type": "text_delta", "text": part} for part in _cut(block["text"], chunk_chars)]
        citations = block.get("citations", [])
        deltas += [{"type": "citations_delta", "citation": citation} for citation in citations]
        return {"type": "text", "text": "", **({"citations": []} if citations else {})}, deltas
    if block["type"] == "tool_use":
        # The API starts with an empty part, and sends no other if the input is empty.
        parts = ["", *_cut(_dump(block["input"]) if block["input"] else "", chunk_chars)]
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": part} for part in parts]
    if block["type"] == "thinking":
        deltas = [{"type": "thinking_delta", "thinking": part} for part in _cut(block["thinking"], chunk_chars)]
        deltas.append({"type": "signature_delta", "signature": block["signature"]})
        return {"type": "thinking", "thinking": "", "signature": ""}, deltas
    return block, []


def _cut(text: str, chunk_chars: int) -> Iterable[str]:
    return (text[start : start + chunk_chars] for start in range(0, len(text), chunk_chars))


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """Everything that is sent for one request.

    The headers are sent after `delay_s`, then the `pieces` of the body with `between_s` between them. `ending` says
    whether the body is then complete, the connection is cut, or nothing more is sent until the client disconnects.
    """

    status: int
    headers: Mapping[str, str]
    pieces: Sequence[bytes]
    delay_s: float
    between_s: float = 0.0
    ending: Ending = "complete"


def render(reply: Reply, body: Mapping[str, Any], *, message_id: str, request_id: str) -> Rendered:
    """Return everything that is sent when `reply` is the reply to the request `body`."""
    if isinstance(reply, str):
        reply = answer(reply)
    if isinstance(reply, Failure):
        content = _encode(_dump(reply.envelope(request_id)))
        return _render_whole(reply.status, content, _JSON, request_id, reply.delay_s, reply.headers)
    if isinstance(reply, RawBody):
        return _render_whole(reply.status, reply.body, reply.content_type, request_id, reply.delay_s)
    if isinstance(reply, RawEvents):
        sent = [Event(*event) for event in reply.events]
        return Rendered(
            status=200,
            headers=_headers(_EVENT_STREAM, request_id),
            pieces=_join(sent, pause_before={event.name for event in sent} if reply.between_s else ()),
            delay_s=reply.delay_s,
            between_s=reply.between_s,
            ending="cut" if reply.cut else "complete",
        )
    whole = message(reply, body, message_id)
    return _render_stream(reply, whole, request_id) if body.get("stream") else _render_plain(reply, whole, request_id)


def _render_stream(reply: Answer, whole: Json, request_id: str) -> Rendered:
    sent = list(events(whole, reply.chunk_chars))
    ending: Ending = "complete"
    if reply.cut_after is not None:
        sent, ending = sent[: reply.cut_after], "cut"
    elif reply.hang_after is not None:
        sent, ending = sent[: reply.hang_after], "hang"
    elif reply.error_after is not None:
        count, failure = reply.error_after
        sent = [*sent[:count], Event("error", failure.envelope(request_id))]
    return Rendered(
        status=200,
        headers={**_headers(_EVENT_STREAM, request_id), "cache-control": "no-cache", **reply.headers},
        pieces=_join(sent, pause_before={"content_block_delta"} if reply.between_s else ()),
        delay_s=reply.delay_s,
        between_s=reply.between_s,
        ending=ending,
    )


def _render_plain(reply: Answer, whole: Json, request_id: str) -> Rendered:
    if reply.error_after is not None:
        failure = replace(reply.error_after[1], delay_s=reply.delay_s)
        return render(failure, {}, message_id="", request_id=request_id)
    content = _encode(_dump(whole))
    rendered = _render_whole(200, content, _JSON, request_id, reply.delay_s, reply.headers)
    if reply.cut_after is not None:
        return replace(rendered, pieces=[content[: len(content) // 2]], ending="cut")
    if reply.hang_after is not None:
        return replace(rendered, pieces=[], ending="hang")
    return rendered


def _render_whole(
    status: int,
    content: bytes,
    content_type: str,
    request_id: str,
    delay_s: float,
    more_headers: Mapping[str, str] | None = None,
) -> Rendered:
    headers = {**_headers(content_type, request_id), "content-length": str(len(content)), **(more_headers or {})}
    return Rendered(status=status, headers=headers, pieces=[content], delay_s=delay_s)


def _headers(content_type: str, request_id: str) -> dict[str, str]:
    return {"content-type": content_type, "request-id": request_id}


def _join(sent: Sequence[Event], *, pause_before: Collection[str]) -> list[bytes]:
    """Join the events into pieces that are each written at once. An event named in `pause_before` begins a piece."""
    pieces: list[bytes] = []
    for event in sent:
        if pieces and event.name not in pause_before:
            pieces[-1] += event.encode()
        else:
            pieces.append(event.encode())
    return pieces
