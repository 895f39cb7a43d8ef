"""The gate in front of litellm's proxy: an ASGI application that wraps another.

The gate checks the key, the path, the body and the number of requests in progress before litellm sees a request. It
then writes a new request for litellm: JSON with a few headers. If the client disconnects, the gate cancels the work.
Errors have the form that the client's library expects, and reveal no internals of the server. Each request is logged
with method, path, status and duration, without its content.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .allowlist import OPEN, Body, Route, find_route, read_body, requests_in
from .bodies import Bodies, ClientLeft, parse, write
from .error_replies import INTERNAL_ERROR, Refused, Replies, Shape, error_body, health_counts, shape_of

_log: Final = logging.getLogger(__name__)
Header = tuple[bytes, bytes]

# Request headers that are passed to litellm. `user-agent`: for Claude Code and Codex, litellm drops parameters that a
# model does not take. `anthropic-beta`: for other providers in a configuration.
_HANDED_ON: Final = (b"user-agent", b"accept", b"anthropic-version", b"anthropic-beta")
_LONGEST_HEADER: Final = 1000
# Response headers that are passed to clients. litellm sends more, one of them with the upstream's address.
_HANDED_OUT: Final = frozenset(
    [b"content-type", b"content-length", b"cache-control", b"retry-after", b"x-litellm-call-id",
     b"x-litellm-response-cost", b"x-litellm-model-group", b"x-litellm-version"]
)  # fmt: skip
_OF_THE_BODY: Final = (b"content-type", b"content-length")
_LEAVING_S: Final = 5.0
"""How long litellm may take to stop after the client has disconnected."""
_BUSY_S: Final = 1


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of one server."""

    max_requests: int
    """The maximum number of model requests in progress or waiting for a process, for all clients together."""
    max_body_bytes: int
    body_timeout_s: float = 60
    """How long a client may take to send a body."""


@dataclass(kw_only=True)
class _Exchange:
    """One request, and the state of its response."""

    send: Send
    shape: Shape
    replies: Replies
    status: int | None = None
    is_left: bool = False
    weight: int = 0
    is_health: bool = False
    """Whether the response is litellm's report on its deployments, of which the client gets only the counts."""
    began: float = field(default_factory=time.monotonic)
    _held: Message | None = None
    """The start of a response that is to be rewritten, held back until its body is complete."""
    _content: bytes = b""
    _mend_stream: Callable[[bytes, bool], bytes] | None = None

    async def reply(self, message: Message) -> None:
        """Forward a message of litellm's response, unless the client has left. Rewrite errors and health reports."""
        if message["type"] == "http.response.start":
            headers = [(name.lower(), value) for name, value in message["headers"] if name.lower() in _HANDED_OUT]
            message = {**message, "headers": headers}
            self.status = message["status"]
            self._held = message if message["status"] >= 400 or self.is_health else None
            if dict(headers).get(b"content-type", b"").startswith(b"text/event-stream"):
                self._mend_stream = self.replies.stream()
        if self.is_left:
            return
        is_last = message["type"] == "http.response.body" and not message.get("more_body")
        if self._held is not None:
            self._content += message.get("body", b"")
            if is_last:
                await self._reply_held(self._held)
        elif self._mend_stream is not None and message["type"] == "http.response.body":
            await self.send({**message, "body": self._mend_stream(message.get("body", b""), is_last)})
        else:
            await self.send(message)

    async def _reply_held(self, start: Message) -> None:
        headers = [pair for pair in start["headers"] if pair[0] not in _OF_THE_BODY]
        if start["status"] < 400:
            await self._send_json(start["status"], health_counts(self._content), headers)
            return
        await self._send_json(start["status"], self.replies.error(self._content, start["status"], self.shape), headers)

    async def refuse(self, refused: Refused) -> None:
        """Respond with one of the gate's own errors."""
        headers = []
        if refused.retry_after_s is not None:
            headers.append((b"retry-after", b"%d" % refused.retry_after_s))
        if refused.status in (408, 413, 415):
            headers.append((b"connection", b"close"))  # the rest of the body is not read
        await self._send_json(refused.status, error_body(refused.status, refused.message, self.shape), headers)

    async def _send_json(self, status: int, content: bytes, headers: list[Header]) -> None:
        self.status = status
        headers = [*headers, (b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": content})


class Gate:
    """Forwards requests to `app` if they have the right key.

    `key` is the key that clients send; litellm gets `inner_key` instead. `check` is litellm's own check of a body,
    which may raise `ValueError`. `hosts` are the upstream's hosts, which are removed from errors.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        key: str,
        inner_key: str,
        limits: Limits,
        check: Callable[[Body], object],
        hosts: Iterable[str] = (),
    ) -> None:
        self._app = app
        self._check = check
        self._key = key.encode()
        self._inner_key = inner_key.encode()
        self._limits = limits
        self._bodies = Bodies(max_bytes=limits.max_body_bytes, within_s=limits.body_timeout_s)
        self._replies = Replies(hosts)
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection. Websockets are rejected."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self._exchange(scope, receive, send)

    async def _exchange(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope = {**scope, "headers": [(name.lower(), value) for name, value in scope["headers"]]}
        exchange = _Exchange(send=send, shape=shape_of(scope["path"], scope["headers"]), replies=self._replies)
        path = "(another path)"
        try:
            route = self._route(scope)
            path = route.path
            await self._let_through(scope, route, receive, exchange)
        except Refused as refused:
            await exchange.refuse(refused)
        except ClientLeft:
            exchange.is_left = True
        except Exception as error:
            # Only the type: the text of the exception may quote the request.
            _log.error("%s %s: %s", scope["method"], path, type(error).__name__)
            if exchange.status is None:
                await exchange.refuse(Refused(500, INTERNAL_ERROR))
        finally:
            self._release(exchange)
            took_s = time.monotonic() - exchange.began
            _log.info(
                "%s %s %s %.3f s%s",
                scope["method"],
                path,
                exchange.status or "-",
                took_s,
                ", client left" if exchange.is_left else "",
            )

    def _route(self, scope: Scope) -> Route:
        """Return the route of a request. The key is checked first, so that only its holders learn what is served."""
        path = scope["path"]
        is_known = any(secrets.compare_digest(key, self._key) for key in _keys_in(scope["headers"]))
        if not is_known and path not in OPEN:
            raise Refused(401, "The key is missing or wrong. Send it as `Authorization: Bearer …` or `x-api-key: …`.")
        if b"%" in scope.get("raw_path", b"") and not path.startswith("/v1/models/"):
            path = "(an escaped path)"  # a reverse proxy in front may take an escaped path for another path
        return find_route(scope["method"], path, scope["query_string"].decode("latin-1"))

    async def _let_through(self, scope: Scope, route: Route, receive: Receive, exchange: _Exchange) -> None:
        content, streams = b"", False
        if route.fields is not None:
            body = read_body(parse(await self._bodies.read(receive, scope["headers"]), scope["headers"]), route)
            try:
                self._check(body)
            except ValueError:
                raise Refused(400, "The request sets a litellm option, possibly in `metadata`. Leave it out.") from None
            self._admit(exchange, requests_in(body))
            content, streams = write(body), body.get("stream") is True
        elif route.asks_model:
            self._admit(exchange, 1)
            exchange.is_health = True
        inner = {
            **scope,
            "headers": self._inner_headers(scope["headers"], len(content)),
            "path": route.path,
            "raw_path": route.path.encode(),
            "query_string": route.query.encode(),
        }
        await self._serve(inner, content, receive, exchange, streams=streams)

    def _inner_headers(self, headers: Iterable[Header], length: int) -> list[Header]:
        """Return the headers for litellm, each once. Those that describe the client's own body are replaced."""
        handed_on: dict[bytes, bytes] = {}
        for name, value in headers:
            if name in _HANDED_ON and len(value) <= _LONGEST_HEADER and value.isascii():
                handed_on.setdefault(name, value)
        return [
            (b"host", b"localhost"),
            *handed_on.items(),
            (b"authorization", b"Bearer " + self._inner_key),
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % length),
        ]

    def _admit(self, exchange: _Exchange, weight: int) -> None:
        """Count a request as `weight` model requests. Raises `Refused` if the limit would be exceeded."""
        if weight > self._limits.max_requests:
            most = self._limits.max_requests
            raise Refused(400, f"The request asks for {weight} answers, but this server allows {most}. Split it.")
        if self._under_way - exchange.weight + weight > self._limits.max_requests:
            raise Refused(429, "The server has too many requests in progress. Try again soon.", retry_after_s=_BUSY_S)
        self._under_way += weight - exchange.weight
        exchange.weight = weight

    def _release(self, exchange: _Exchange) -> None:
        self._under_way -= exchange.weight
        exchange.weight = 0

    async def _serve(
        self, scope: Scope, content: bytes, receive: Receive, exchange: _Exchange, *, streams: bool
    ) -> None:
        """Let litellm answer. If the client disconnects first, cancel litellm and with it the request to the model.

        A stream ends by itself when it learns of the disconnect. litellm 1.106 waits for its first chunk in a task of
        its own, which a cancellation would leave behind.
        """
        messages: asyncio.Queue[Message] = asyncio.Queue()
        messages.put_nowait({"type": "http.request", "body": content, "more_body": False})

        async def reply(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body"):
                # Release here: the client may send its next request while litellm still does its bookkeeping.
                self._release(exchange)
            await exchange.reply(message)

        serving = asyncio.ensure_future(self._app(scope, messages.get, reply))
        leaving = asyncio.ensure_future(_until_disconnect(receive))
        try:
            await asyncio.wait({serving, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                exchange.is_left = True
                messages.put_nowait({"type": "http.disconnect"})
                if streams:
                    await asyncio.wait({serving}, timeout=_LEAVING_S)
                serving.cancel()
                await asyncio.wait({serving}, timeout=_LEAVING_S)
            else:
                serving.result()
        finally:
            leaving.cancel()
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await leaving


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _keys_in(headers: Iterable[Header]) -> Iterator[bytes]:
    for name, value in headers:
        if name == b"x-api-key":
            yield value
        elif name == b"authorization":
            scheme, _, key = value.partition(b" ")
            if scheme.lower() == b"bearer":
                yield key.strip()
