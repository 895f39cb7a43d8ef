"""The statistics of a run: every call of every `ClaudeCodeLM` between its start and its end.

Only numbers and the names of models and errors are kept: no prompt, answer or key is stored here or in a saved file.
"""

from __future__ import annotations

import html
import json
import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import litellm_claude_code

from .parameters import tell_again
from .ticker import Ticker
from .usage import NOTHING, Used

if TYPE_CHECKING:
    from .call import LMCall

_ALL: Final = "all"
_PROGRESS: Final = "{n_fmt} calls [{elapsed}, {rate_fmt}{postfix}]"
_COLUMNS: Final = ("calls", "cached", "failed", "requests", "tokens in", "from cache", "tokens out", "cost, USD",
                   "p50, s", "p90, s", "p99, s")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CallRecord:
    """The statistics of one call of an LM, without its content."""

    model: str
    began_s: float
    """Seconds since the start of the run."""
    took_s: float
    """Includes retries and waits."""
    is_cached: bool
    """Whether DSPy's cache answered it, without a request."""
    error: str | None
    """The name of the exception's class, if the call failed."""
    requests: int
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int
    cost_usd: float
    limit_wait_s: float


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Totals of several calls. Latencies count calls that the model answered, without their waits for limits."""

    calls: int
    cached: int
    failed: int
    requests: int
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int
    cost_usd: float
    latency_p50_s: float | None
    latency_p90_s: float | None
    latency_p99_s: float | None


class Run:
    """The statistics of a run, complete after its `with` block and readable at any time before. Thread-safe."""

    def __init__(self, *, progress: bool = False) -> None:
        self._lock = threading.Lock()
        self._began_at = time.monotonic()
        self._ended_at: float | None = None
        self._pool_before = litellm_claude_code.stats()
        self._pool_after: dict[str, Any] | None = None
        self._calls: list[CallRecord] = []
        self._limit_waits = 0
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
        return _summary([call for call in self.calls if model in (None, call.model)])

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values: `models` and `total` (see `Summary`), `calls`, the run's own numbers."""
        calls = self.calls
        pool = self._pool()
        return {
            "elapsed_s": self.elapsed_s,
            "queue_wait_s": pool["waited_s"],
            "process_boots": pool["boots"],
            "limit_waits": self._limit_waits,
            "limit_wait_s": sum(call.limit_wait_s for call in calls),
            "models": {model: asdict(self.summary(model)) for model in self._models()},
            "total": asdict(self.summary()),
            "calls": [asdict(call) for call in calls],
        }

    def save(self, path: str | Path) -> None:
        """Write `as_dict()` as JSON."""
        Path(path).write_text(json.dumps(self.as_dict(), indent=1) + "\n")

    def record(self, call: LMCall, error: BaseException | None) -> None:
        """Add a finished call; `error` is the exception if it failed."""
        now, used = time.monotonic(), call.used
        with self._lock:
            self._used += used
            self._limit_waits += call.limit_wait_s > 0
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
            self._pool_after = litellm_claude_code.stats()
        if self._ticker is not None:
            self._ticker.stop()
            self._ticker.join()

    def _draw(self, bar: Any) -> None:
        with self._lock:
            bar.set_postfix_str(f"${self._used.usd:.4f}, {self._used.tokens:,} tokens", refresh=False)
            bar.update(len(self._calls) - bar.n)

    def __str__(self) -> str:
        """Return the report as a plain-text table."""
        models, rows = self._rows()
        table = [["", *_COLUMNS], *([name, *row] for name, row in zip(models, rows, strict=True))]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join([f"{row[0]:{widths[0]}}", *(f"{cell:>{w}}" for cell, w in zip(row[1:], widths[1:], strict=True))])
            for row in table
        ]
        return "\n".join([*lines, "", *self._notes()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return the report as HTML, for notebooks."""
        models, rows = self._rows()
        head = "".join(f"<th>{html.escape(column)}</th>" for column in ("", *_COLUMNS))
        body = "".join(
            f"<tr><th>{html.escape(name)}</th>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>"
            for name, row in zip(models, rows, strict=True)
        )
        notes = "<br>".join(map(html.escape, self._notes()))
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{notes}</p>"

    def _rows(self) -> tuple[list[str], list[list[str]]]:
        models = self._models()
        return [*models, _ALL], [_cells(self.summary(model)) for model in (*models, None)]

    def _notes(self) -> list[str]:
        pool = self._pool()
        notes = [f"{self.elapsed_s:.1f} s in total; {pool['boots']} Claude Code processes started; "
                 f"{pool['waited_s']:.1f} s of waiting for a process, summed over calls."]  # fmt: skip
        waited_s = sum(call.limit_wait_s for call in self.calls)
        if waited_s:
            notes.append(
                f"{self._limit_waits} calls waited for a usage limit to reset, {waited_s:.0f} s summed over calls."
            )
        return [*notes, "Costs are at API prices; a subscription is not billed per token."]

    def _models(self) -> list[str]:
        return list(dict.fromkeys(call.model for call in self.calls))

    def _pool(self) -> dict[str, Any]:
        """Return what the pool did during the run. If it was closed in between, its numbers start at 0 again."""
        now = self._pool_after if self._pool_after is not None else litellm_claude_code.stats()
        numbers = {}
        for name in ("waited_s", "boots"):
            after, before = now.get(name, 0), self._pool_before.get(name, 0)
            numbers[name] = after - before if after >= before else after
        return numbers


_open: list[Run] = []
_open_lock = threading.Lock()


@contextmanager
def track_run(*, progress: bool = False) -> Iterator[Run]:
    """Record all calls that the `ClaudeCodeLM`s of this process make in this block, even if it raises.

    `progress` shows calls, dollars and tokens during the run. Runs may be nested; each records everything within it.
    """
    tell_again()
    run = Run(progress=progress)
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


def _summary(calls: Sequence[CallRecord]) -> Summary:
    latencies = sorted(call.took_s - call.limit_wait_s for call in calls if not call.is_cached and call.error is None)
    used = sum((_used(call) for call in calls), NOTHING)
    return Summary(
        calls=len(calls),
        cached=sum(call.is_cached for call in calls),
        failed=sum(call.error is not None for call in calls),
        requests=sum(call.requests for call in calls),
        input_tokens=used.input_tokens,
        cache_read_tokens=used.cache_read_tokens,
        cache_write_tokens=used.cache_write_tokens,
        output_tokens=used.output_tokens,
        cost_usd=used.usd,
        latency_p50_s=_quantile(latencies, 0.5),
        latency_p90_s=_quantile(latencies, 0.9),
        latency_p99_s=_quantile(latencies, 0.99),
    )


def _used(call: CallRecord) -> Used:
    return Used(
        input_tokens=call.input_tokens,
        output_tokens=call.output_tokens,
        cache_read_tokens=call.cache_read_tokens,
        cache_write_tokens=call.cache_write_tokens,
        usd=call.cost_usd,
    )


def _quantile(ordered: Sequence[float], part: float) -> float | None:
    """Return the smallest value that at least `part` of the values do not exceed."""
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)] if ordered else None


def _cells(summary: Summary) -> list[str]:
    latencies = (summary.latency_p50_s, summary.latency_p90_s, summary.latency_p99_s)
    return [
        *(f"{count:,}" for count in (summary.calls, summary.cached, summary.failed, summary.requests)),
        *(f"{count:,}" for count in (summary.input_tokens, summary.cache_read_tokens, summary.output_tokens)),
        f"{summary.cost_usd:.4f}",
        *("–" if latency is None else f"{latency:.2f}" for latency in latencies),
    ]
