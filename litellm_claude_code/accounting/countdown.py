"""A line that shows how long calls wait for a subscription limit to reset. A process has one."""

from __future__ import annotations

import threading
import time
from typing import Any, Final

from tqdm import tqdm

from litellm_claude_code_runs.ticker import Ticker

_FORMAT: Final = "{desc}"


class Countdown:
    """Shows a line while any call waits. Thread-safe; drawing happens in a thread of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[object, float] = {}
        self._ticker: Ticker | None = None

    def show(self, waiter: object, left_s: float) -> None:
        """Show that `waiter` waits for another `left_s` seconds. 0 ends its wait."""
        with self._lock:
            if left_s > 0:
                self._until[waiter] = time.time() + left_s
                self._ticker = self._ticker or Ticker(self._draw, bar_format=_FORMAT, desc=self._line())
            elif self._until.pop(waiter, None) is not None and not self._until and self._ticker is not None:
                self._ticker.stop()
                self._ticker = None

    def _draw(self, bar: Any) -> None:
        with self._lock:
            if self._until:
                bar.set_description_str(self._line(), refresh=False)

    def _line(self) -> str:
        until = max(self._until.values())
        left = tqdm.format_interval(max(0.0, until - time.time()))
        calls = "1 call is waiting" if len(self._until) == 1 else f"{len(self._until)} calls are waiting"
        at = time.strftime("%H:%M", time.localtime(until))
        return f"Claude's usage limit is reached: {calls} for the reset at {at}, in {left}"


COUNTDOWN: Final = Countdown()
