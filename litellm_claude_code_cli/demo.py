"""The hidden command `demo`, which names the new place of the demo. It is kept for one release."""

from __future__ import annotations

from .exits import ExitCode, fail


def demo() -> None:
    """Say that the demo is in the source checkout."""
    fail(ExitCode.USAGE, "The demo is no longer installed. Run `make demo` in a checkout of the source code.")
