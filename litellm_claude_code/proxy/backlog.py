"""How long a new request would wait for a process, judged by the requests before it. No I/O."""

from __future__ import annotations

from typing import Final

_WEIGHT_OF_THE_LAST: Final = 0.2


class Backlog:
    """Estimates the wait for one of `processes` processes from how long the last requests were served."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._served_s: float | None = None
        """How long a process serves a request, as a moving average. None before the first one has ended."""

    def note(self, served_s: float) -> None:
        """Note how long an answered request took, without its wait for a process."""
        before_s = served_s if self._served_s is None else self._served_s
        self._served_s = before_s + _WEIGHT_OF_THE_LAST * (served_s - before_s)

    def wait_s(self, in_progress: int) -> float:
        """Return how long a request would wait if it came as the last of `in_progress`, itself included."""
        waiting = max(0, in_progress - self._processes)
        return waiting * (self._served_s or 0.0) / self._processes
