"""A line that shows how long calls wait for a subscription limit to reset. A process has one."""

from __future__ import annotations

import threading
import time
from typing import Final

from litellm_claude_code_runs.progress_line import ProgressLine, clock

_ROW: Final = 2
"""Below the line of the run."""


class Countdown:
    """Shows a line while any call waits. Thread-safe; drawing happens in a thread of its own."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._text = ""
        self._until: dict[object, float] = {}
        self._shown: ProgressLine | None = None

    def show(self, waiter: object, left_s: float) -> None:
        """Show that `waiter` waits for another `left_s` seconds. 0 ends its wait."""
        with self._lock:
            if left_s > 0:
                self._until[waiter] = time.time() + left_s
                self._shown = self._shown or ProgressLine(self._line, row=_ROW)
            elif self._until.pop(waiter, None) is not None and not self._until and self._shown is not None:
                self._shown.stop()
                self._shown = None

    def _line(self) -> str:
        with self._lock:
            self._text = self._described() if self._until else self._text
            return self._text

    def _described(self) -> str:
        until = max(self._until.values())
        left = clock(max(0.0, until - time.time()))
        calls = "1 call is waiting" if len(self._until) == 1 else f"{len(self._until)} calls are waiting"
        at = time.strftime("%H:%M", time.localtime(until))
        return f"Claude's usage limit is reached: {calls} for the reset at {at}, in {left}"


COUNTDOWN: Final = Countdown()
