"""What is shown of a run while it goes on, and when it ends."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from .ledger import NO_BUDGET
from .progress_line import ProgressLine, clock
from .report import counted
from .run_file import RunFile
from .scores import described


def show_progress(run: RunFile) -> ProgressLine:
    """Show what all processes have done in a line on stderr, until the line is stopped."""
    ledger = run.ledger(NO_BUDGET)
    began_at = time.monotonic()

    def line() -> str:
        spent = ledger.spending()
        scores, failures = run.scores(), run.failures()
        parts = [
            f"{counted(spent.calls, 'request')} [{clock(time.monotonic() - began_at)}]",
            *([described(scores)] if scores else []),
            *([f"{spent.in_flight} in flight"] if spent.in_flight else []),
            *([f"{failures} failed"] if failures else []),
            f"${spent.usd:.4f}",
            f"{spent.tokens:,} tokens",
        ]
        return ", ".join(parts)

    return ProgressLine(line)


def write_report(run: RunFile, *, to: Path | None, tell: Callable[[str], None]) -> None:
    """Save the report as JSON, if `to` is given, and pass the summary on if there was a call. Raises `OSError`."""
    report = run.report()
    if report.calls:
        tell(str(report))
    if to is not None:
        to.write_text(json.dumps(report.as_dict(), indent=1) + "\n")
