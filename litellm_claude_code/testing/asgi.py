"""The ASGI side of one exchange: read the request, write the rendered response.

Nothing here outlives the exchange. `server.py` chooses the reply and keeps the recorded requests.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Send

from .answers import Json
from .rendering import Rendered

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")


@dataclass(kw_only=True)
class RecordedRequest:
    """One request as the stand-in received it. `is_finished` and `closed_early` change until it is finished.

    `headers` have lower-case names. `body` is the JSON object of the request, or `{}` if it sent none. `received_at` is
    `time.monotonic()` when the body was complete. `is_finished` is set when the stand-in is done with the request,
    `closed_early` if the client closed the connection before the complete response was written.
    """

    index: int
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str] = field(repr=False)  # they hold the key
    body: Json
    received_at: float
    is_finished: bool = False
    closed_early: bool = False

    @classmethod
    def of(cls, request: Request, body: Json, index: int, *, is_finished: bool = False) -> Self:
        """Return a record of a request whose body is complete."""
        return cls(
            index=index,
            method=request.method,
            path=request.url.path,
            query=dict(request.query_params),
            headers=dict(request.headers),
            body=body,
            received_at=time.monotonic(),
            is_finished=is_finished,
        )


def parse_body(content: bytes) -> Json | None:
    """Return the body as a JSON object, or None if it is not one."""
    try:
        body = json.loads(content)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def json_response(value: object, status: int = 200, request_id: str | None = None) -> Response:
    """Return a JSON response."""
    # Not starlette's JSONResponse: it cannot encode a lone surrogate, which a recorded body may contain.
    headers = None if request_id is None else {"request-id": request_id}
    return Response(json.dumps(value), status, headers, media_type="application/json")


class ClientLeft(Exception):
    """The client closed the connection before the end of the response."""


class Client:
    """The client of one request whose body has been read. It may disconnect at any time."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self.send = send
        self._leaving = asyncio.ensure_future(_read_until_disconnect(receive))

    @property
    def has_left(self) -> bool:
        return self._leaving.done()

    def forget(self) -> None:
        """Stop watching for a disconnect, because the connection will be used for the next request."""
        self._leaving.cancel()

    async def pause(self, seconds: float | None) -> None:
        """Wait for `seconds`, or forever if None. Raises ClientLeft as soon as the client disconnects."""
        await asyncio.wait({self._leaving}, timeout=seconds)
        if self.has_left:
            raise ClientLeft

    async def unless_it_leaves(self, work: Coroutine[object, object, T]) -> T:
        """Await `work` and return its result. If the client disconnects first, cancel it and raise ClientLeft."""
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task, self._leaving}, return_when=asyncio.FIRST_COMPLETED)
            if self.has_left:
                raise ClientLeft
            return task.result()
        finally:
            task.cancel()


async def _read_until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def play(rendered: Rendered, client: Client, *, before_end: Callable[[], None]) -> None:
    """Send a rendered response. To cut it, return without ending the body: uvicorn then closes the connection."""
    if rendered.delay_s:
        await client.pause(rendered.delay_s)
    headers = [(name.lower().encode(), value.encode()) for name, value in rendered.headers.items()]
    await client.send({"type": "http.response.start", "status": rendered.status, "headers": headers})
    pieces = rendered.pieces or [b""]
    for number, piece in enumerate(pieces, start=1):
        if number > 1:
            await client.pause(rendered.between_s)
        is_last = number == len(pieces) and rendered.ending == "complete"
        if is_last:
            before_end()
        await client.send({"type": "http.response.body", "body": piece, "more_body": not is_last})
    if rendered.ending == "hang":
        await client.pause(None)
