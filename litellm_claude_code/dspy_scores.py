"""Tell the run of this process the scores that DSPy gives to programs, for the line of progress."""

from __future__ import annotations

import functools
import sqlite3
from contextlib import suppress
from types import ModuleType
from typing import Any

from litellm_claude_code_runs.halt import RunHalted
from litellm_claude_code_runs.run_file import current_run

from .after_import import after_import


def tell_scores() -> None:
    """Make each `dspy.Evaluate` tell its score to the run, if there is one. Does not import DSPy."""

    def change(module: ModuleType) -> None:
        evaluate = module.Evaluate.__call__

        @functools.wraps(evaluate)
        def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = evaluate(self, *args, **kwargs)
            if (run := current_run()) is not None:
                with suppress(RunHalted, sqlite3.Error):  # the run is over, or the score is not a number
                    run.note_score(result.score, len(result.results))
            return result

        module.Evaluate.__call__ = __call__

    after_import("dspy.evaluate.evaluate", change)
