"""A run in this process: every call of every `ClaudeCodeLM` between its start and its end."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from litellm_claude_code_runs.report import CallRecord, Report, Summary
from litellm_claude_code_runs.usage import NOTHING

from .observed import ObservedCall
from .ticker import Ticker

_PROGRESS: Final = "{n_fmt} calls [{elapsed}, {rate_fmt}{postfix}]"

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
        self._calls: list[CallRecord] = []
        self._used = NOTHING
        self._ticker = Ticker(self._draw, unit=" calls", bar_format=_PROGRESS) if progress else None

    @property
    def calls(self) -> Sequence[CallRecord]:
        """All finished calls, in the order in which they ended."""
        with self._lock:
            return tuple(self._calls)

    @property
    def elapsed_s(self) -> float:
        """Wall time; up to now if the run is not over."""
        return (self._ended_at or time.monotonic()) - self._began_at

    @property
    def cost_usd(self) -> float:
        """Dollars at API prices so far."""
        return self._used.usd

    def summary(self, model: str | None = None) -> Summary:
        """Return the totals for one model, or for all models."""
        return self._report().summary(model)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values: `models` and `total` (see `Summary`), `calls`, the run's own numbers."""
        return self._report().as_dict()

    def save(self, path: str | Path) -> None:
        """Write `as_dict()` as JSON."""
        Path(path).write_text(json.dumps(self.as_dict(), indent=1) + "\n")

    def record(self, call: ObservedCall, error: BaseException | None) -> None:
        """Add a finished call; `error` is the exception if it failed."""
        now, used = time.monotonic(), call.used
        with self._lock:
            self._used += used
            self._calls.append(
                CallRecord(
                    model=call.model,
                    began_s=call.began_at - self._began_at,
                    took_s=now - call.began_at,
                    is_cached=call.requests == 0 and error is None,
                    error=type(error).__name__ if error is not None else None,
                    requests=call.requests,
                    input_tokens=used.input_tokens,
                    cache_read_tokens=used.cache_read_tokens,
                    cache_write_tokens=used.cache_write_tokens,
                    output_tokens=used.output_tokens,
                    cost_usd=used.usd,
                    limit_wait_s=call.limit_wait_s,
                )
            )

    def end(self) -> None:
        """Stop the clock and the progress line."""
        with self._lock:
            self._ended_at = time.monotonic()
            self._pool_after = self._pool_stats()
        if self._ticker is not None:
            self._ticker.stop()
            self._ticker.join()

    def __str__(self) -> str:
        """Return the report as a plain-text table."""
        return str(self._report())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return the report as HTML, for notebooks."""
        return self._report()._repr_html_()

    def _draw(self, bar: Any) -> None:
        with self._lock:
            bar.set_postfix_str(f"${self._used.usd:.4f}, {self._used.tokens:,} tokens", refresh=False)
            bar.update(len(self._calls) - bar.n)

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
    """Record the calls of this block in `run`, and end it."""
    with _open_lock:
        _open.append(run)
    try:
        yield run
    finally:
        with _open_lock:
            _open.remove(run)
        run.end()


def open_runs() -> tuple[Run, ...]:
    """Return the runs that record a call which starts now."""
    with _open_lock:
        return tuple(_open)
