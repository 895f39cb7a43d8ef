"""The run of a program that is not started by `litellm-claude-code run`, if its settings ask for one.

The process begins it when it imports the package, so that its child processes share it.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from litellm_claude_code_runs.ending import show_progress, write_report
from litellm_claude_code_runs.progress_line import ProgressLine
from litellm_claude_code_runs.run_file import RUN_VARIABLE, RunFile, current_run

from ..settings import Settings

MAXIMUMS: Final = ("max_usd", "max_calls", "max_tokens", "max_time_s")
_lock = threading.Lock()


def begin_own_run(settings: Settings) -> RunFile | None:
    """Begin the run of this process, if the settings ask for one, and return it.

    A subcommand such as `ask` makes no run of its own, and `litellm-claude-code run` has begun one for its program.
    """
    if "litellm_claude_code_cli.app" in sys.modules:
        return None
    names = ("halt", "report", "progress", *MAXIMUMS)
    if not any(getattr(settings, name) for name in names):
        return None
    with _lock:
        if (run := current_run()) is None:
            os.environ[RUN_VARIABLE] = str(RunFile.create().path)
            run = current_run()
            assert run is not None
            line = show_progress(run) if settings.progress else None
            report = settings.report.absolute() if settings.report is not None else None
            atexit.register(_end, run, os.getpid(), report, line)
        return run


def _end(run: RunFile, pid: int, report: Path | None, line: ProgressLine | None) -> None:
    """Print the summary and write the report. Does nothing in any process but the one that began the run."""
    if os.getpid() != pid:
        return
    if line is not None:
        line.stop()
        line.join()
    with suppress(OSError):
        write_report(run, to=report, tell=partial(print, file=sys.stderr))
    run.remove()
