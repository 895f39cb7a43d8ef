"""The gate in front of litellm's proxy: an ASGI application around another.

It checks the key, the path, the size, the fields and how much is under way before litellm sees a request, hands on only
the headers that belong to one, and stops the work for a client that has gone away. Refusals have the form that the
client's library expects. Each request is logged with method, path, status and duration, and nothing it holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .fields import OPEN, Body, Refused, Route, find_route, read_body, requests_in
from .replies import Shape, error_body, mended, shape_of

_log: Final = logging.getLogger(__name__)
_HANDED_ON: Final = frozenset(
    [b"host", b"accept", b"accept-encoding", b"content-type", b"user-agent", b"anthropic-version", b"anthropic-beta"]
)
_OF_THE_BODY: Final = (b"content-type", b"content-length", b"content-encoding", b"transfer-encoding")
_LEAVING_S: Final = 5.0
"""How long work that nobody waits for any more may take to end."""
_BUSY_S: Final = 1


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one server takes on."""

    max_requests: int
    """Requests to the model under way or waiting for a process, of all clients together."""
    max_body_bytes: int


@dataclass(kw_only=True)
class _Exchange:
    """One request on its way through, and what became of it."""

    send: Send
    shape: Shape
    status: int | None = None
    is_left: bool = False
    weight: int = 0
    began: float = field(default_factory=time.monotonic)
    _failed: Message | None = None
    """The start of an error of litellm's, held back until its body is complete."""
    _content: bytes = b""

    async def reply(self, message: Message) -> None:
        """Hand a message of litellm's answer on, unless the client has gone; an error once it is mended."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._failed = message if message["status"] >= 400 else None
        if self.is_left:
            return
        if self._failed is None:
            await self.send(message)
        elif message["type"] == "http.response.body":
            self._content += message.get("body", b"")
            if not message.get("more_body"):
                headers = [pair for pair in self._failed["headers"] if pair[0].lower() not in _OF_THE_BODY]
                await self._send_error(
                    self._failed["status"], mended(self._content, self._failed["status"], self.shape), headers
                )

    async def refuse(self, refused: Refused) -> None:
        """Answer with an error of the gate's own."""
        headers = []
        if refused.retry_after_s is not None:
            headers.append((b"retry-after", b"%d" % refused.retry_after_s))
        if refused.status == 413:
            headers.append((b"connection", b"close"))  # the rest of the body is not read
        await self._send_error(refused.status, error_body(refused.status, refused.message, self.shape), headers)

    async def _send_error(self, status: int, content: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self.status = status
        headers = [*headers, (b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": content})


class Gate:
    """Lets requests through to `app` that bear `key`. `inner_key` is what litellm is told instead.

    `check` is litellm's own look at a body, which may raise `ValueError`.
    """

    def __init__(
        self, app: ASGIApp, *, key: str, inner_key: str, limits: Limits, check: Callable[[Body], object]
    ) -> None:
        self._app = app
        self._check = check
        self._key = key.encode()
        self._inner_key = inner_key.encode()
        self._limits = limits
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI has it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self._exchange(scope, receive, send)

    async def _exchange(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        exchange = _Exchange(send=send, shape=shape_of(scope["path"], headers))
        path = "(another path)"
        try:
            route = self._route(scope, headers)
            path = route.path
            await self._let_through(scope, route, receive, exchange)
        except Refused as refused:
            await exchange.refuse(refused)
        except Exception as error:
            # Its text may quote the request.
            _log.error("%s %s: %s", scope["method"], path, type(error).__name__)
            if exchange.status is None:
                await exchange.refuse(Refused(500, "Something went wrong here; the log says where."))
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

    def _route(self, scope: Scope, headers: dict[bytes, bytes]) -> Route:
        """Return where a request goes. A stranger is told nothing of what is served."""
        is_known = any(secrets.compare_digest(key, self._key) for key in _keys_in(headers))
        if not is_known and scope["path"] not in OPEN:
            raise Refused(401, "No key, or not the right one: send `Authorization: Bearer …` or `x-api-key: …`.")
        return find_route(scope["method"], scope["path"], scope["query_string"].decode("latin-1"))

    async def _let_through(self, scope: Scope, route: Route, receive: Receive, exchange: _Exchange) -> None:
        content = b""
        if route.fields is not None:
            self._admit(exchange, 1)
            body = read_body(await self._read(receive, scope), route)
            try:
                self._check(body)
            except ValueError:
                raise Refused(400, "The request holds a setting of litellm's, in `metadata` perhaps.") from None
            self._admit(exchange, requests_in(body))
            # Written anew, so that litellm cannot read a field that was not seen here (one that comes twice, say).
            content = json.dumps(body).encode()
        headers = [(name, value) for name, value in scope["headers"] if name in _HANDED_ON]
        headers += [(b"authorization", b"Bearer " + self._inner_key), (b"content-length", b"%d" % len(content))]
        query = scope["query_string"] if route.path == "/health" else b""
        inner = {
            **scope,
            "headers": headers,
            "path": route.path,
            "raw_path": route.path.encode(),
            "query_string": query,
        }
        await self._serve(inner, content, receive, exchange)

    def _admit(self, exchange: _Exchange, weight: int) -> None:
        """Count a request as `weight` requests. Raises `Refused` where that is more than may be under way."""
        if weight > self._limits.max_requests:
            raise Refused(
                400, f"That is {weight} requests to the model; at most {self._limits.max_requests} go at once."
            )
        if self._under_way - exchange.weight + weight > self._limits.max_requests:
            raise Refused(429, "Too many requests are under way here. Try again soon.", retry_after_s=_BUSY_S)
        self._under_way += weight - exchange.weight
        exchange.weight = weight

    def _release(self, exchange: _Exchange) -> None:
        self._under_way -= exchange.weight
        exchange.weight = 0

    async def _read(self, receive: Receive, scope: Scope) -> bytes:
        limit = self._limits.max_body_bytes
        too_large = Refused(413, f"The body is larger than the {limit} bytes taken here.")
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > limit:
            raise too_large
        content = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Refused(400, "The client left.")
            content += message.get("body", b"")
            if len(content) > limit:
                raise too_large
            if not message.get("more_body"):
                return bytes(content)

    async def _serve(self, scope: Scope, content: bytes, receive: Receive, exchange: _Exchange) -> None:
        """Have litellm answer; when the client goes away first, stop that, and with it the request to the model."""
        messages: asyncio.Queue[Message] = asyncio.Queue()
        messages.put_nowait({"type": "http.request", "body": content, "more_body": False})

        async def reply(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body"):
                # The client may ask again as soon as it has its answer, while litellm still keeps its books.
                self._release(exchange)
            await exchange.reply(message)

        serving = asyncio.ensure_future(self._app(scope, messages.get, reply))
        leaving = asyncio.ensure_future(_until_disconnect(receive))
        try:
            await asyncio.wait({serving, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                exchange.is_left = True
                messages.put_nowait({"type": "http.disconnect"})
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


def _keys_in(headers: dict[bytes, bytes]) -> list[bytes]:
    scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
    return [key.strip() if scheme.lower() == b"bearer" else b"", headers.get(b"x-api-key", b"")]
