"""A line that is redrawn once a second, in a thread of its own: in a terminal, in a notebook, or as lines of a file.

Ctrl-C can leave tqdm's lock held forever, and a thread that draws then hangs. This must be neither a caller's thread
nor that of the event loop, which serves all calls.
"""

from __future__ import annotations

import importlib
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

_EVERY_S: Final = 1.0
_EVERY_S_IN_A_FILE: Final = 10.0


class ProgressLine:
    """Shows the text that `line` returns, until it is stopped. `row` 0 is where DSPy draws its own bars."""

    def __init__(self, line: Callable[[], str], *, row: int = 1) -> None:
        self._line = line
        self._place = _place(line(), row)
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
        self._place.open()
        while not self._over.wait(_EVERY_S):
            self._place.show(self._line())
        self._place.close(self._line())


def clock(seconds: float) -> str:
    """Return a time as `02:05`, or `1:02:05`."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute:02}:{second:02}"


class _Place(Protocol):
    """Where the line is shown."""

    def open(self) -> None: ...
    def show(self, text: str) -> None: ...
    def close(self, text: str) -> None: ...


class _Terminal:
    """A line of tqdm's, below the bars that a program draws."""

    def __init__(self, text: str, row: int) -> None:
        self._text = text
        self._row = row

    def open(self) -> None:
        from tqdm import tqdm  # here, so that only a program that shows progress waits for it

        self._bar: Any = tqdm(bar_format="{desc}", desc=self._text, position=self._row, leave=True)

    def show(self, text: str) -> None:
        self._bar.set_description_str(text)

    def close(self, text: str) -> None:
        self._bar.set_description_str(text)
        self._bar.close()


class _Notebook:
    """An output of the cell, which is replaced: bars on stderr are another output. It needs no widgets."""

    def __init__(self, text: str) -> None:
        display = importlib.import_module("IPython.display").display
        # In the thread of the cell, so that it belongs to the cell.
        self._output: Any = display({"text/plain": text}, raw=True, display_id=True)

    def open(self) -> None: ...

    def show(self, text: str) -> None:
        self._output.update({"text/plain": text}, raw=True)

    close = show


class _File:
    """Plain lines on stderr: the first and the last, and some in between."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._shown_at = 0.0

    def open(self) -> None:
        self._print(self._text)

    def show(self, text: str) -> None:
        if time.monotonic() - self._shown_at >= _EVERY_S_IN_A_FILE:
            self._print(text)

    def close(self, text: str) -> None:
        self._print(text)

    def _print(self, text: str) -> None:
        self._shown_at = time.monotonic()
        print(text, file=sys.stderr, flush=True)


def _place(text: str, row: int) -> _Place:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is not None and hasattr(shell, "kernel"):
        return _Notebook(text)
    if sys.stderr is not None and sys.stderr.isatty():
        return _Terminal(text, row)
    return _File(text)
