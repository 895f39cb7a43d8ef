"""`track_run`: the statistics of everything that happens in a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dspy

from litellm_claude_code import provider
from litellm_claude_code.accounting.run import Run

from .parameters import tell_again
from .scores import Scores


@contextmanager
def track_run(*, progress: bool = False) -> Iterator[Run]:
    """Record all `claude_code/…` calls that this process makes in this block, even if it raises.

    A call of a `ClaudeCodeLM` includes its retries, and answers from DSPy's cache count as calls, too.

    If an optimizer is halted, `RunHalted.best` is the best program that it had scored by then.

    `progress` shows calls, dollars and tokens during the run. Runs may be nested; each records everything within it.
    """
    tell_again()
    with (
        provider.track_run(progress=progress) as run,
        dspy.context(callbacks=[*dspy.settings.get("callbacks", []), Scores(run)]),
    ):
        yield run
