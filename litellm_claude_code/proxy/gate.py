"""The gate in front of litellm's proxy: an ASGI application that wraps another.

The gate checks the key, the path, the body and the number of requests in progress before litellm sees a request. It
then writes a new request for litellm: JSON with a few headers. If the client disconnects, the gate cancels the work.
Errors have the form that the client's library expects, and reveal no internals of the server. Of each request, a record
without its content goes to the log, to the metrics and to the usage of its user.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .._litellm import Body
from ..observer import observed_by
from ..provider import provider
from .allowlist import METRICS, OPEN, Route, find_route, read_body, requests_in
from .backlog import Backlog
from .bodies import Bodies, ClientLeft, parse, write
from .error_replies import INTERNAL_ERROR, Replies, shape_of
from .exchange import Exchange, Header
from .ignored_betas import Betas
from .keys import Users
from .mending import namespaces_in
from .metrics import CONTENT_TYPE, Metrics
from .model_names import ModelNames
from .refused import Refused

_log: Final = logging.getLogger(__name__)

# Request headers that are passed to litellm. `user-agent`: for Claude Code and Codex, litellm drops parameters that a
# model does not take. `anthropic-beta`: for other providers in a configuration.
_HANDED_ON: Final = (b"user-agent", b"accept", b"anthropic-version", b"anthropic-beta")
_LONGEST_HEADER: Final = 1000
_LEAVING_S: Final = 5.0
"""How long litellm may take to stop after the client has disconnected."""
_BUSY_S: Final = 1


@dataclass(frozen=True, kw_only=True)
class GateLimits:
    """The limits of one server."""

    max_requests: int
    """The maximum number of model requests in progress or waiting for a process, for all clients together."""
    max_body_bytes: int
    body_timeout_s: float = 60
    """How long a client may take to send a body."""
    processes: int = 1
    """The maximum number of Claude Code processes."""
    max_wait_s: float | None = None
    """A request that would wait longer than this for a process is refused. None: no limit."""


class Gate:
    """Forwards requests to `app` if they have the right key.

    `key` is the key that clients send; litellm gets `inner_key` instead. `check` is litellm's own check of a body,
    which may raise `ValueError`. `hosts` are the upstream's hosts, which are removed from errors. `users` have keys and
    limits of their own. With `has_open_metrics`, `/metrics` needs no key.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        key: str,
        inner_key: str,
        limits: GateLimits,
        check: Callable[[Body], object],
        hosts: Iterable[str] = (),
        models: ModelNames | None = None,
        users: Users | None = None,
        has_open_metrics: bool = False,
    ) -> None:
        self._app = app
        self._check = check
        self._key = key.encode()
        self._inner_key = inner_key.encode()
        self._limits = limits
        self._bodies = Bodies(max_bytes=limits.max_body_bytes, within_s=limits.body_timeout_s)
        self._replies = Replies(hosts)
        self._models = models or ModelNames()
        self._users = users
        self._metrics = Metrics()
        self._has_open_metrics = has_open_metrics
        self._backlog = Backlog(limits.processes)
        self._betas = Betas()
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

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body"):
                # Settle here: the client may send its next request while litellm still does its bookkeeping.
                self._settle(exchange, scope["method"])
            await send(message)

        exchange = Exchange(send=sending, shape=shape_of(scope["path"], scope["headers"]), replies=self._replies)
        try:
            route = self._route(scope, exchange)
            exchange.path = route.path
            if route.path == METRICS:
                await exchange.send_text(self._told(), content_type=CONTENT_TYPE)
            else:
                await self._let_through(scope, route, receive, exchange)
        except Refused as refused:
            await exchange.refuse(refused)
        except ClientLeft:
            exchange.is_left = True
        except Exception as error:
            # Only the type: the text of the exception may quote the request.
            _log.error("%s %s: %s %s", scope["method"], exchange.path, type(error).__name__, exchange.id)
            if exchange.status is None:
                await exchange.refuse(Refused(500, INTERNAL_ERROR))
        finally:
            self._settle(exchange, scope["method"])

    def _settle(self, exchange: Exchange, method: str) -> None:
        """Give the request's places back, and note what became of it, once."""
        if exchange.is_settled:
            return
        exchange.is_settled = True
        self._under_way -= exchange.weight
        if self._users is not None and exchange.user is not None:
            self._users.release(exchange.user, exchange.weight)
        record = exchange.record(method)
        record.log()
        self._metrics.note(record)
        if self._users is not None:
            self._users.note(record)
        if record.tokens_out and record.status == 200 and not record.is_left:
            self._backlog.note(record.took_s - record.queued_s)

    def _told(self) -> bytes:
        return self._metrics.text(
            in_progress=self._under_way,
            max_requests=self._limits.max_requests,
            max_processes=self._limits.processes,
            pool=provider.stats(),
            limits=provider.rate_limit_status(),
            users=self._users.usage() if self._users is not None else {},
        )

    def _route(self, scope: Scope, exchange: Exchange) -> Route:
        """Return the route of a request. The key is checked first, so that only its holders learn what is served."""
        path, keys = scope["path"], list(_keys_in(scope["headers"]))
        is_operator = any(secrets.compare_digest(key, self._key) for key in keys)
        exchange.user = self._users.find(keys) if self._users is not None and not is_operator else None
        is_open = path in OPEN or (path == METRICS and self._has_open_metrics)
        if not is_operator and exchange.user is None and not is_open:
            raise Refused(401, "The key is missing or wrong. Send it as `Authorization: Bearer …` or `x-api-key: …`.")
        if path == METRICS and not is_operator and not is_open:
            raise Refused(403, "The metrics are for the operator. Use the master key.")
        if b"%" in scope.get("raw_path", b"") and not path.startswith("/v1/models/"):
            path = "(an escaped path)"  # a reverse proxy in front may take an escaped path for another path
        return find_route(scope["method"], path, scope["query_string"].decode("latin-1"))

    async def _let_through(self, scope: Scope, route: Route, receive: Receive, exchange: Exchange) -> None:
        content, streams = b"", False
        if route.has_body:
            value = parse(await self._bodies.read(receive, scope["headers"]), scope["headers"])
            body = self._read(value, route, exchange)
            self._admit(exchange, requests_in(body))
            content, streams = write(body), body.get("stream") is True
            exchange.size = len(content)
        elif route.asks_model:
            self._admit(exchange, 1)
            exchange.is_health = True
        exchange.ignored_betas = self._betas.ignored(scope["headers"])
        inner = {
            **scope,
            "method": "GET" if scope["method"] == "HEAD" else scope["method"],
            "headers": self._inner_headers(scope["headers"], len(content)),
            "path": route.path,
            "raw_path": route.path.encode(),
            "query_string": route.query.encode(),
        }
        await self._serve(inner, content, receive, exchange, streams=streams)

    def _read(self, value: object, route: Route, exchange: Exchange) -> Body:
        """Return a request's body for litellm, and note what its response needs. Raises `Refused`."""
        body = read_body(value, route)
        try:
            self._check(body)
        except ValueError:
            raise Refused(400, "The request sets a litellm option, possibly in `metadata`. Leave it out.") from None
        if isinstance(value, dict) and "input" in body:
            exchange.namespaces = namespaces_in(value)
        body["model"] = self._models.resolve(body["model"])
        exchange.model = self._models.listed(body["model"])
        return body

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

    def _admit(self, exchange: Exchange, weight: int) -> None:
        """Count a request as `weight` model requests. Raises `Refused` if a limit would be exceeded."""
        if self._users is not None and exchange.user is not None:
            self._users.check(exchange.user, weight)
        most, in_progress = self._limits.max_requests, self._under_way + weight
        if weight > most:
            raise Refused(400, f"The request asks for {weight} answers, but this server allows {most}. Split it.")
        if in_progress > most:
            raise Refused(429, "The server has too many requests in progress. Try again soon.", retry_after_s=_BUSY_S)
        most_s, wait_s = self._limits.max_wait_s, self._backlog.wait_s(in_progress)
        if most_s is not None and wait_s > most_s:
            text = f"The request would wait for about {wait_s:.0f} s, and this server allows {most_s:g} s. Try again."
            raise Refused(429, text, retry_after_s=math.ceil(wait_s - most_s))
        if self._users is not None and exchange.user is not None:
            self._users.begin(exchange.user, weight)
        self._under_way = in_progress
        exchange.weight = weight

    async def _serve(
        self, scope: Scope, content: bytes, receive: Receive, exchange: Exchange, *, streams: bool
    ) -> None:
        """Let litellm answer. If the client disconnects first, cancel litellm and with it the request to the model.

        A stream ends by itself when it learns of the disconnect. litellm 1.106 waits for its first chunk in a task of
        its own, which a cancellation would leave behind.
        """
        messages: asyncio.Queue[Message] = asyncio.Queue()
        messages.put_nowait({"type": "http.request", "body": content, "more_body": False})
        with observed_by(exchange.outcome):
            serving = asyncio.ensure_future(self._app(scope, messages.get, exchange.reply))
        leaving = asyncio.ensure_future(_until_disconnect(receive))
        try:
            await asyncio.wait({serving, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                exchange.is_left = not exchange.is_over
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
