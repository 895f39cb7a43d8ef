"""A tqdm line that redraws itself once a second, in a thread of its own.

Ctrl-C can leave tqdm's lock held forever, and a thread that draws then hangs. This must be neither a caller's thread
nor that of the event loop, which serves all calls.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

_EVERY_S: Final = 1.0


class Ticker:
    """Redraws a line until it is stopped. `draw` gets the bar and updates what it shows."""

    def __init__(self, draw: Callable[[Any], None], **bar: Any) -> None:
        self._draw = draw
        self._bar = bar
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="claude-code-progress", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Draw one last time and end. Returns at once."""
        self._over.set()

    def join(self) -> None:
        """Wait until the last line is drawn, but no longer than a second."""
        self._thread.join(_EVERY_S)

    def _run(self) -> None:
        from tqdm import tqdm  # here, so that only a program that shows progress waits for it

        with tqdm(**self._bar) as bar:
            while not self._over.wait(_EVERY_S):
                self._draw(bar)
                bar.refresh()
            self._draw(bar)
