"""The report of a run: the record of each call, totals, and how they are shown.

Only numbers and the names of models and errors are kept: no prompt, answer or key is stored here or in a saved file.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from .usage import NOTHING, Used

_ALL: Final = "all"
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
    is_in_flight: bool
    """Whether the call was not over yet. Tokens and dollars of its last request are not known then."""
    requests: int
    """Requests that reached the API."""
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int
    cost_usd: float
    limit_wait_s: float
    retries: int = 0
    """How often the call was made again after an error."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Totals of several calls. Latencies count calls that the model answered, without their waits for limits."""

    calls: int
    cached: int
    failed: int
    in_flight: int
    retries: int
    requests: int
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int
    cost_usd: float
    latency_p50_s: float | None
    latency_p90_s: float | None
    latency_p99_s: float | None


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a run has done up to some moment."""

    calls: Sequence[CallRecord]
    elapsed_s: float
    process_boots: int
    queue_wait_s: float
    """The seconds that calls waited for a Claude Code process, summed over calls."""
    answered_by: str | None = None
    """What answered instead of the API, for example the stand-in."""

    def summary(self, model: str | None = None) -> Summary:
        """Return the totals for one model, or for all models."""
        return _summary([call for call in self.calls if model in (None, call.model)])

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values: `models` and `total` (see `Summary`), `calls`, the run's own numbers."""
        return {
            "elapsed_s": self.elapsed_s,
            "queue_wait_s": self.queue_wait_s,
            "process_boots": self.process_boots,
            "answered_by": self.answered_by,
            "limit_waits": self._limit_waits,
            "limit_wait_s": sum(call.limit_wait_s for call in self.calls),
            "models": {model: asdict(self.summary(model)) for model in self._models},
            "total": asdict(self.summary()),
            "calls": [asdict(call) for call in self.calls],
        }

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
        return [*self._models, _ALL], [_cells(self.summary(model)) for model in (*self._models, None)]

    def _notes(self) -> list[str]:
        total = self.summary()
        wait_s = self.queue_wait_s / max(1, total.requests)
        notes = [f"{self.elapsed_s:.1f} s in total. New Claude Code processes: {self.process_boots}. "
                 f"A request waited {wait_s:.2f} s for a process, on average."]  # fmt: skip
        if total.in_flight:
            verb, whose = ("is", "its") if total.in_flight == 1 else ("are", "their")
            notes.append(
                f"{counted(total.in_flight, 'call')} {verb} still in flight: {whose} tokens and cost are not counted."
            )
        if total.retries:
            notes.append(f"Calls were made again after an error: {total.retries:,} times.")
        waited_s = sum(call.limit_wait_s for call in self.calls)
        if waited_s:
            each = "" if self._limit_waits == 1 else " on average"
            notes.append(
                f"{counted(self._limit_waits, 'call')} waited for a usage limit to reset, "
                f"{waited_s / self._limit_waits:.0f} s{each}."
            )
        if self.answered_by is not None:
            return [*notes, f"{self.answered_by} answered: nothing was spent. Costs are what the API would charge."]
        return [*notes, "Costs are at API prices; a subscription is not billed per token."]

    @property
    def _limit_waits(self) -> int:
        return sum(call.limit_wait_s > 0 for call in self.calls)

    @property
    def _models(self) -> list[str]:
        return list(dict.fromkeys(call.model for call in self.calls))


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, for example "1 call" and "2 calls"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _summary(calls: Sequence[CallRecord]) -> Summary:
    answered = [call for call in calls if not (call.is_cached or call.is_in_flight or call.error)]
    latencies = sorted(call.took_s - call.limit_wait_s for call in answered)
    used = sum((_used(call) for call in calls), NOTHING)
    return Summary(
        calls=len(calls),
        cached=sum(call.is_cached for call in calls),
        failed=sum(call.error is not None for call in calls),
        in_flight=sum(call.is_in_flight for call in calls),
        retries=sum(call.retries for call in calls),
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
    """Return the smallest of the sorted values that is at least as large as the share `part` of them."""
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)] if ordered else None


def _cells(summary: Summary) -> list[str]:
    latencies = (summary.latency_p50_s, summary.latency_p90_s, summary.latency_p99_s)
    return [
        *(f"{count:,}" for count in (summary.calls, summary.cached, summary.failed, summary.requests)),
        *(f"{count:,}" for count in (summary.input_tokens, summary.cache_read_tokens, summary.output_tokens)),
        f"{summary.cost_usd:.4f}",
        *("–" if latency is None else f"{latency:.2f}" for latency in latencies),
    ]
