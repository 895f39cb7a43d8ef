"""`track_run`: the statistics of everything that happens in a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from litellm_claude_code import provider
from litellm_claude_code.accounting.run import Run

from .parameters import tell_again


@contextmanager
def track_run(*, progress: bool = False) -> Iterator[Run]:
    """Record all `claude_code/…` calls that this process makes in this block, even if it raises.

    A call of a `ClaudeCodeLM` includes its retries, and answers from DSPy's cache count as calls, too.

    `progress` shows calls, dollars and tokens during the run. Runs may be nested; each records everything within it.
    """
    tell_again()
    with provider.track_run(progress=progress) as run:
        yield run
