"""A run in this process: every call of every `ClaudeCodeLM` between its start and its end."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from litellm_claude_code_runs.budget import Budget
from litellm_claude_code_runs.progress_line import ProgressLine, clock
from litellm_claude_code_runs.report import CallRecord, Report, Summary, counted
from litellm_claude_code_runs.scores import Score, described

from ..interrupts import INTERRUPTS, show_in_notebooks
from .observed import ObservedCall
from .plot import plotted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WAIT_S: Final = 2.0
_WAIT_AFTER_CTRL_C_S: Final = 0.5

PoolStats = Callable[[], Mapping[str, Any]]
"""Returns the totals of the pool; see `Pool.stats`."""


class Run:
    """The statistics of a run, complete after its `with` block and readable at any time before. Thread-safe."""

    def __init__(self, *, pool_stats: PoolStats, progress: bool = False) -> None:
        self._lock = threading.Lock()
        self._began_at = time.monotonic()
        self._ended_at: float | None = None
        self._pool_stats = pool_stats
        self._pool_before = pool_stats()
        self._pool_after: Mapping[str, Any] | None = None
        self._changed = threading.Condition(self._lock)
        self._records: dict[str, CallRecord] = {}
        self._saved_to: set[Path] = set()
        self._saving = threading.Lock()
        self._budgets: dict[str, Budget] = {}
        self._scores: list[Score] = []
        self._progress = ProgressLine(self._line) if progress else None

    @property
    def calls(self) -> Sequence[CallRecord]:
        """All calls: first those that have ended, in the order in which they did, and then those in flight."""
        with self._lock:
            return tuple(sorted(self._records.values(), key=lambda record: record.is_in_flight))

    @property
    def elapsed_s(self) -> float:
        """Wall time; up to now if the run is not over."""
        return (self._ended_at or time.monotonic()) - self._began_at

    @property
    def cost_usd(self) -> float:
        """Dollars at API prices so far."""
        return sum(call.cost_usd for call in self.calls)

    @property
    def scores(self) -> Sequence[Score]:
        """The scores that DSPy has given to programs so far."""
        with self._lock:
            return tuple(self._scores)

    def summary(self, model: str | None = None) -> Summary:
        """Return the totals for one model, or for all models."""
        return self._report().summary(model)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values: `models` and `total` (see `Summary`), `calls`, the run's own numbers."""
        return self._report().as_dict()

    def save(self, path: str | Path) -> None:
        """Write `as_dict()` as JSON. If calls are in flight, the file is written again when they end."""
        path = Path(path).absolute()
        with self._saving:  # so that the last to write knows all that the others knew
            report = self._report()
            path.write_text(json.dumps(report.as_dict(), indent=1) + "\n")
            again = any(call.is_in_flight for call in report.calls)
            with self._lock:
                (self._saved_to.add if again else self._saved_to.discard)(path)

    def plot(self) -> Figure:
        """Return a matplotlib figure: best score over calls, cost, latencies and the cache.

        Raises `ModuleNotFoundError` without matplotlib.
        """
        return plotted(self.calls, self.scores)

    def note(self, call: ObservedCall) -> None:
        """Add a call, or what has changed about it."""
        record = call.record(run_began_at=self._began_at)
        with self._lock:
            self._records.pop(call.id, None)
            if call.budget is not None:
                self._budgets[call.budget.name] = call.budget
            self._records[call.id] = record  # last, so that calls are in the order of their ends
            saved_to = list(self._saved_to) if not record.is_in_flight else []
            self._changed.notify_all()
        for path in saved_to:
            with suppress(OSError):
                self.save(path)

    def note_score(self, score: float, examples: int) -> None:
        """Add the score that DSPy has given to a program on this many examples."""
        with self._lock:
            self._scores.append(Score(at_s=self.elapsed_s, score=score, examples=examples))

    def wait_for_calls(self, timeout_s: float) -> None:
        """Wait until no call is in flight, but no longer than `timeout_s`."""
        with self._lock:
            self._changed.wait_for(lambda: not self._in_flight, timeout_s)

    def end(self) -> None:
        """Stop the clock and the progress line."""
        with self._lock:
            self._ended_at = time.monotonic()
            self._pool_after = self._pool_stats()
        if self._progress is not None:
            self._progress.stop()
            self._progress.join()

    @property
    def _in_flight(self) -> bool:
        return any(record.is_in_flight for record in self._records.values())

    def __str__(self) -> str:
        """Return the report as a plain-text table."""
        return str(self._report())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return the report as HTML, for notebooks."""
        return self._report()._repr_html_()

    def _line(self) -> str:
        """Return the line that shows the progress."""
        total = self.summary()
        elapsed = clock(self.elapsed_s)
        if not total.calls - total.in_flight:
            return f"starting Claude Code… [{elapsed}]"
        with self._lock:
            scores, budgets = list(self._scores), list(self._budgets.values())
        cached = f" ({total.cached} from the cache)" if total.cached else ""
        parts = [
            f"{counted(total.calls - total.in_flight, 'call')} [{elapsed}]{cached}",
            *([described(scores)] if scores else []),
            f"{counted(total.requests, 'request')}{f' ({total.retries} retried)' if total.retries else ''}",
            *([f"{total.in_flight} in flight"] if total.in_flight else []),
            *([f"{total.failed} failed"] if total.failed else []),
            f"${total.cost_usd:.4f}",
            f"{total.input_tokens + total.output_tokens:,} tokens",
            *(f"left of {budget.name!r}: {budget.left}" for budget in budgets),
        ]
        return ", ".join(parts)

    def _report(self) -> Report:
        boots, waited_s = self._pool("boots"), self._pool("waited_s")
        return Report(calls=self.calls, elapsed_s=self.elapsed_s, process_boots=int(boots), queue_wait_s=waited_s)

    def _pool(self, name: str) -> float:
        """Return a total of the pool during the run. If it was closed in between, its numbers start at 0 again."""
        now = self._pool_after if self._pool_after is not None else self._pool_stats()
        after, before = now.get(name, 0), self._pool_before.get(name, 0)
        return float(after - before if after >= before else after)


_open: list[Run] = []
_open_lock = threading.Lock()


@contextmanager
def tracked(run: Run) -> Iterator[Run]:
    """Record the calls of this block in `run`, and end it. Waits shortly for the calls that are still in flight."""
    with _open_lock:
        _open.append(run)
    try:
        yield run
    except KeyboardInterrupt as error:
        INTERRUPTS.interrupt(error)
        run.wait_for_calls(_WAIT_AFTER_CTRL_C_S)
        total = run.summary()
        done = f"{counted(total.calls, 'call')}, {counted(total.requests, 'request')}, ${total.cost_usd:.4f}"
        show_in_notebooks(error, f"interrupted after {done}. To continue, run the cell again.")
        raise
    except BaseException:
        run.wait_for_calls(_WAIT_S)
        raise
    else:
        run.wait_for_calls(_WAIT_S)
    finally:
        with _open_lock:
            _open.remove(run)
        run.end()


def open_runs() -> tuple[Run, ...]:
    """Return the runs that record a call which starts now."""
    with _open_lock:
        return tuple(_open)
