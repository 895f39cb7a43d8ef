"""Wait until a condition holds, instead of sleeping. All waiting in the tests happens here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_WITHIN_S = 90.0
_EVERY_S = 0.01


def wait_until(holds: Callable[[], T], show: Callable[[], object] | None = None, within_s: float = _WITHIN_S) -> T:
    """Return the first true value of `holds()`. After `within_s`, fail with a message that contains `show()`."""
    deadline_s = time.monotonic() + within_s
    while not (value := holds()):
        assert time.monotonic() < deadline_s, _description(holds, show)
        time.sleep(_EVERY_S)
    return value


async def wait_until_async(
    holds: Callable[[], T], show: Callable[[], object] | None = None, within_s: float = _WITHIN_S
) -> T:
    """Wait as `wait_until` does, without blocking the event loop."""
    deadline_s = time.monotonic() + within_s
    while not (value := holds()):
        assert time.monotonic() < deadline_s, _description(holds, show)
        await asyncio.sleep(_EVERY_S)
    return value


def _description(holds: Callable[[], object], show: Callable[[], object] | None) -> str:
    seen = holds() if show is None else show()
    return f"waited in vain; at the end: {seen!r}"
