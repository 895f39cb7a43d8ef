"""A line of tqdm's that draws itself once a second, in a thread of its own.

Ctrl-C can leave tqdm's lock held for ever; whoever draws then hangs. It must be neither a call nor the loop that serves
all of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

from tqdm import tqdm

_EVERY_S: Final = 1.0


class Ticker:
    """Draws while it runs; `draw` gets the bar and says what there is to show now."""

    def __init__(self, draw: Callable[[Any], None], **bar: Any) -> None:
        self._draw = draw
        self._bar = bar
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dspy-adapter-progress", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Draw for the last time. Returns at once."""
        self._over.set()

    def join(self) -> None:
        """Wait until the last line is drawn, within reason."""
        self._thread.join(_EVERY_S)

    def _run(self) -> None:
        with tqdm(**self._bar) as bar:
            while not self._over.wait(_EVERY_S):
                self._draw(bar)
                bar.refresh()
            self._draw(bar)
