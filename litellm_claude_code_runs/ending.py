"""What is shown of a run while it goes on, and when it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from .ledger import NO_BUDGET
from .run_file import RunFile
from .ticker import Ticker

_PROGRESS: Final = "{n_fmt} requests [{elapsed}, {rate_fmt}{postfix}]"


def show_progress(run: RunFile) -> Ticker:
    """Show requests, dollars and tokens of all processes in a line on stderr, until the ticker is stopped."""
    ledger = run.ledger(NO_BUDGET)

    def draw(bar: Any) -> None:
        spent = ledger.spending()
        flying = f", {spent.in_flight} in flight" if spent.in_flight else ""
        bar.set_postfix_str(f"${spent.usd:.4f}, {spent.tokens:,} tokens{flying}", refresh=False)
        bar.update(spent.calls - bar.n)

    return Ticker(draw, unit=" requests", bar_format=_PROGRESS)


def write_report(run: RunFile, *, to: Path | None, tell: Callable[[str], None]) -> None:
    """Save the report as JSON, if `to` is given, and tell the summary if there was a call. Raises `OSError`."""
    report = run.report()
    if report.calls:
        tell(str(report))
    if to is not None:
        to.write_text(json.dumps(report.as_dict(), indent=1) + "\n")
