"""One request to the gate, and its response on the way to the client.

litellm's proxy begins a stream before it has heard from the model, so an error would come with a 200. Here a stream
begins with the model's first event, and an error before it is a reply with the API's own status.
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Final

from starlette.types import Message, Send

from .error_replies import Replies, Shape, error_body, health_counts
from .outcome import Outcome
from .records import Record
from .refused import Refused
from .streams import Event, Events, Responses, events_of

Header = tuple[bytes, bytes]

# Response headers that are passed to clients. litellm sends more, one of them with the upstream's address.
_HANDED_OUT: Final = frozenset(
    [b"content-type", b"content-length", b"cache-control", b"retry-after", b"x-litellm-call-id",
     b"x-litellm-response-cost", b"x-litellm-model-group", b"x-litellm-version"]
)  # fmt: skip
_OF_THE_BODY: Final = (b"content-type", b"content-length")


def _new_id() -> str:
    return f"req_{secrets.token_hex(12)}"


@dataclass(kw_only=True)
class Exchange:
    """One request, and the state of its response."""

    send: Send
    shape: Shape
    replies: Replies
    id: str = field(default_factory=_new_id)
    """The request's id, in the response's headers `x-request-id` and `request-id` and in the log."""
    path: str = "(another path)"
    """The path at litellm's proxy, once it is known to be served."""
    user: str | None = None
    """The name of the key's user. None for the master key."""
    status: int | None = None
    is_left: bool = False
    is_over: bool = False
    """Whether the whole response was sent."""
    is_settled: bool = False
    """Whether the gate has noted what became of it."""
    weight: int = 0
    """How many model requests it counts as, as long as it is in progress."""
    size: int = 0
    """The number of bytes of its body."""
    is_health: bool = False
    """Whether the response is litellm's report on its deployments, of which the client gets only the counts."""
    began: float = field(default_factory=time.monotonic)
    outcome: Outcome = field(default_factory=Outcome)
    namespaces: frozenset[str] = frozenset()
    """The groups of tools in the request, which litellm does not know; see `mending.py`."""
    ignored_betas: str = ""
    """The request's betas that have no effect on the provider's calls, for a header of the response."""
    model: str | None = None
    """The request's model, if it is one of the server's."""
    events_sent: int = 0
    _start: Message | None = None
    """The start of a response that may be rewritten, held back until that is known."""
    _content: bytes = b""
    _events: Events | None = None
    _prelude: list[Event] = field(default_factory=list)
    _has_begun: bool = False

    def record(self, method: str) -> Record:
        """Return what is kept of the request, at its end."""
        # A call that the client has left has no usage: four bytes of the body or one event count as a token.
        self.outcome.estimate(tokens_in=self.size // 4, tokens_out=self.events_sent)
        return Record(
            id=self.id,
            user=self.user,
            method=method,
            path=self.path,
            model=self.model,
            status=self.status,
            took_s=time.monotonic() - self.began,
            queued_s=self.outcome.queued_s,
            tokens_in=self.outcome.tokens_in,
            tokens_out=self.outcome.tokens_out,
            cost_usd=self.outcome.cost_usd,
            is_left=self.is_left,
        )

    async def reply(self, message: Message) -> None:
        """Forward a message of litellm's response, unless the client has left. Rewrite errors and streams."""
        if message["type"] == "http.response.start":
            await self._begin(message)
            return
        if self.is_left or self.is_over:
            return
        content, is_last = message.get("body", b""), not message.get("more_body")
        if self._events is not None:
            await self._stream(self._events, content, is_last=is_last)
        elif self._start is not None:
            self._content += content
            if is_last:
                await self._rewrite(self._start)
        else:
            await self.send(message)
        self.is_over = self.is_over or is_last

    async def _begin(self, message: Message) -> None:
        headers = [(name.lower(), value) for name, value in message["headers"] if name.lower() in _HANDED_OUT]
        message = {**message, "headers": headers}
        self.status = message["status"]
        if dict(headers).get(b"content-type", b"").startswith(b"text/event-stream"):
            self._events = events_of(self.path, self.namespaces)
        if message["status"] >= 400 or self.is_health or self.namespaces or self._events is not None:
            self._start = message
        elif not self.is_left:
            await self._send_start(message)

    async def _stream(self, events: Events, content: bytes, *, is_last: bool) -> None:
        out: list[Event] = []
        for event in events.take(content, is_last=is_last):
            if not self._has_begun and event.is_prelude:
                self._prelude.append(event)
                continue
            if not self._has_begun and event.error is not None and self._start is not None:
                self.is_over = True
                await self._send_error(
                    *self.replies.stream_error(event, self.outcome.status, self.shape), self._start["headers"]
                )
                return
            self._has_begun = True
            out.append(self.replies.clean(event, self.outcome.status))
        if self._has_begun or is_last:
            out, self._prelude = [*map(self._counted, self._prelude), *out], []
            if self._start is not None:
                start, self._start = self._start, None
                await self._send_start(start)
            self.events_sent += len(out)
            body = b"".join(event.raw for event in out)
            if body or is_last:
                await self.send({"type": "http.response.body", "body": body, "more_body": not is_last})

    def _counted(self, event: Event) -> Event:
        """Return the event; a `message_start` with the prompt's tokens, which litellm (1.106.2) has as 0."""
        message = (event.data or {}).get("message")
        if event.kind != "message_start" or not isinstance(message, dict) or not self.outcome.prompt_usage:
            return event
        usage = {**(message.get("usage") or {}), **self.outcome.prompt_usage}
        return event.with_data({**(event.data or {}), "message": {**message, "usage": usage}})

    async def _rewrite(self, start: Message) -> None:
        if start["status"] < 400:
            told = health_counts(self._content) if self.is_health else self._grouped(self._content)
            await self._send_json(start["status"], told, _without_body(start["headers"]))
            return
        status = self.outcome.status_behind(start["status"])
        await self._send_error(*self.replies.error(self._content, status, self.shape), start["headers"])

    def _grouped(self, content: bytes) -> bytes:
        return json.dumps(Responses(self.namespaces).response(json.loads(content))).encode()

    async def _send_error(self, status: int, content: bytes, headers: list[Header]) -> None:
        headers = _without_body(headers)
        if self.outcome.retry_after is not None and not any(name == b"retry-after" for name, _ in headers):
            headers.append((b"retry-after", self.outcome.retry_after.encode()))
        await self._send_json(status, content, headers)

    async def refuse(self, refused: Refused) -> None:
        """Respond with one of the gate's own errors."""
        headers = []
        if refused.retry_after_s is not None:
            headers.append((b"retry-after", b"%d" % refused.retry_after_s))
        if refused.allow is not None:
            headers.append((b"allow", refused.allow.encode()))
        if refused.status in (408, 413, 415):
            headers.append((b"connection", b"close"))  # the rest of the body is not read
        content = error_body(refused.status, refused.message, self.shape, refused.details)
        await self._send_json(refused.status, content, headers)

    async def send_text(self, content: bytes, *, content_type: bytes) -> None:
        """Respond with a text of the gate's own."""
        headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(content))]
        await self._send_start({"type": "http.response.start", "status": 200, "headers": headers})
        await self.send({"type": "http.response.body", "body": content})

    async def _send_json(self, status: int, content: bytes, headers: list[Header]) -> None:
        headers = [*headers, (b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        await self._send_start({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": content})

    async def _send_start(self, start: Message) -> None:
        self.status = start["status"]
        headers = [*start["headers"], *((name, self.id.encode()) for name in (b"x-request-id", b"request-id"))]
        if self.ignored_betas and self.outcome.model is not None:
            headers.append((b"x-ignored-anthropic-beta", self.ignored_betas.encode()))
        await self.send({**start, "headers": headers})


def _without_body(headers: list[Header]) -> list[Header]:
    return [pair for pair in headers if pair[0] not in _OF_THE_BODY]
