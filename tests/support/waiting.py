"""Wait until a condition holds, instead of sleeping. All waiting in the tests happens here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_WITHIN_S = 90.0


def wait_until(holds: Callable[[], T], show: Callable[[], object] | None = None, within_s: float = _WITHIN_S) -> T:
    """Return the first true value of `holds()`. After `within_s`, fail with a message that contains `show()`."""
    began_s = time.monotonic()
    while not (value := holds()):
        assert time.monotonic() < began_s + within_s, _description(holds, show)
        time.sleep(_pause_s(began_s))
    return value


async def wait_until_async(
    holds: Callable[[], T], show: Callable[[], object] | None = None, within_s: float = _WITHIN_S
) -> T:
    """Wait as `wait_until` does, without blocking the event loop."""
    began_s = time.monotonic()
    while not (value := holds()):
        assert time.monotonic() < began_s + within_s, _description(holds, show)
        await asyncio.sleep(_pause_s(began_s))
    return value


def _pause_s(began_s: float) -> float:
    """Return how long to wait before asking again: a tenth of the wait so far. To list processes takes milliseconds."""
    return min(max(0.01, (time.monotonic() - began_s) / 10), 0.05)


def _description(holds: Callable[[], object], show: Callable[[], object] | None) -> str:
    seen = holds() if show is None else show()
    return f"waited in vain; at the end: {seen!r}"
