"""Reading a request's body: first its bytes, within limits, then strict JSON.

A body that is still arriving does not count as a request in progress. Its bytes are held in memory, so all unfinished
bodies share one memory limit. When the limit is exceeded, the client that has been silent longest is refused, so slow
clients cannot block fast ones.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import anyio
from starlette.types import Receive

from .refused import Refused

_LEAST_HELD: Final = 2**16
"""The least that an unfinished body counts against the memory limit: the server's buffer for its connection."""
_LARGEST_EXACT_INTEGER: Final = 2**53
_DEEPEST: Final = 100
Headers = Iterable[tuple[bytes, bytes]]


class ClientLeft(Exception):
    """Raised if the client disconnects before its body is complete."""


@dataclass(kw_only=True, eq=False)
class _Unfinished:
    """A body that is still arriving."""

    reading: anyio.CancelScope
    content: bytearray = field(default_factory=bytearray)
    heard_at: float = field(default_factory=time.monotonic)
    is_evicted: bool = False

    @property
    def held(self) -> int:
        return max(len(self.content), _LEAST_HELD)


class Bodies:
    """Reads the bodies of all requests of a server.

    Each body may have at most `max_bytes` and must arrive within `within_s` seconds. All unfinished bodies together may
    hold `memory_bytes`.
    """

    def __init__(self, *, max_bytes: int, within_s: float, memory_bytes: int | None = None) -> None:
        self._max_bytes = max_bytes
        self._within_s = within_s
        self._memory_bytes = memory_bytes or max(2**28, 4 * max_bytes)
        self._unfinished: list[_Unfinished] = []

    async def read(self, receive: Receive, headers: Headers) -> bytes:
        """Return the bytes of a body. Raises `Refused` if a limit is exceeded, and `ClientLeft`."""
        self._check_declared(headers)
        with anyio.move_on_after(self._within_s) as reading:
            body = _Unfinished(reading=reading)
            self._unfinished.append(body)
            try:
                await self._receive_all(receive, body)
                return bytes(body.content)
            finally:
                self._unfinished.remove(body)
        if body.is_evicted:
            raise Refused(
                408, "The body arrived too slowly, and the server needed the memory for other requests. Send it again."
            )
        raise Refused(408, f"The body did not arrive within {self._within_s:g} s. Send it again.")

    def _check_declared(self, headers: Headers) -> None:
        declared = [value for name, value in headers if name == b"content-length"]
        if any(not value.isdigit() or len(value) > 15 or int(value) > self._max_bytes for value in declared):
            raise self._too_large()
        encodings = [value.strip().lower() for name, value in headers if name == b"content-encoding"]
        if any(encoding not in (b"", b"identity") for encoding in encodings):
            raise Refused(415, "Compressed bodies are not supported. Send the body without Content-Encoding.")

    def _too_large(self) -> Refused:
        return Refused(
            413, f"The body is larger than {self._max_bytes} bytes, the maximum of this server. Send a smaller one."
        )

    async def _receive_all(self, receive: Receive, body: _Unfinished) -> None:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientLeft
            body.content += message.get("body", b"")
            body.heard_at = time.monotonic()
            if len(body.content) > self._max_bytes:
                raise self._too_large()
            if not message.get("more_body"):
                return
            self._make_room()

    def _make_room(self) -> None:
        """Refuse clients, the one that has been silent longest first, until the rest fits into the memory limit."""
        staying = [body for body in self._unfinished if not body.is_evicted]
        excess = sum(body.held for body in staying) - self._memory_bytes
        for body in sorted(staying, key=lambda body: body.heard_at):
            if excess <= 0:
                return
            excess -= body.held
            body.is_evicted = True
            body.reading.cancel()


def parse(content: bytes, headers: Headers) -> object:
    """Return the JSON value of a body, whatever its content type is. Raises `Refused` if it is not valid JSON.

    Every parser reads the value in the same way: text is UTF-8 without lone surrogates, numbers are finite, integers
    are within ±2**53, and nesting is limited. If a field occurs twice, the last one counts, as in the APIs.
    """
    try:
        value = json.loads(
            content.decode("utf-8-sig"), parse_constant=_no_number, parse_float=_finite, parse_int=_exact
        )
        json.dumps(value, ensure_ascii=False).encode()
    except Refused:
        raise
    except UnicodeEncodeError:
        raise Refused(
            400, "The body contains a lone surrogate, which is not a character. Remove it from the text."
        ) from None
    except (ValueError, RecursionError):
        raise _not_json(headers) from None
    _check_depth(value)
    return value


def write(body: dict[str, Any]) -> bytes:
    """Return a value from `parse` as JSON."""
    return json.dumps(body, ensure_ascii=False).encode()


def _not_json(headers: Headers) -> Refused:
    kinds = [value.split(b";")[0].strip().lower() for name, value in headers if name == b"content-type"]
    if all(kind == b"application/json" for kind in kinds):
        return Refused(400, "The body is not valid JSON in UTF-8.")
    return Refused(415, "The body is not JSON. Send JSON in UTF-8, with `content-type: application/json`.")


def _no_number(_name: str) -> NoReturn:
    raise ValueError


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise Refused(400, "The body contains a number that is too large. Use a smaller one.")
    return number


def _exact(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > _LARGEST_EXACT_INTEGER:
        raise Refused(400, "The body contains an integer beyond 2**53. Send it as a string.")
    return int(text)


def _check_depth(value: object) -> None:
    level = [value]
    for _ in range(_DEEPEST):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return
    raise Refused(400, f"The body is nested more than {_DEEPEST} levels deep. Use fewer levels.")


def _inside(value: object) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
