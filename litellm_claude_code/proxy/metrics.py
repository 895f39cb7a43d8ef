"""What `GET /metrics` tells, in Prometheus' text format (0.0.4). No I/O."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from .records import Record

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"
_BUCKETS_S: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_PREFIX: Final = "litellm_claude_code_"
Sample: TypeAlias = tuple[str, Mapping[str, object], float]
"""The end of a metric's name, its labels and its value."""


class Metrics:
    """Counts the requests of one server."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, str]] = Counter()
        self._tokens: Counter[tuple[str, str]] = Counter()
        self._costs_usd: dict[str, float] = {}
        self._buckets: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}

    def note(self, record: Record) -> None:
        """Count a request that has ended."""
        path, model = record.path, record.model or ""
        self._requests[path, str(record.status or "left"), model] += 1
        self._tokens[model, "in"] += record.tokens_in
        self._tokens[model, "out"] += record.tokens_out
        self._costs_usd[model] = self._costs_usd.get(model, 0.0) + record.cost_usd
        buckets = self._buckets.setdefault(path, [0] * (len(_BUCKETS_S) + 1))
        buckets[bisect_left(_BUCKETS_S, record.took_s)] += 1
        self._seconds[path] = self._seconds.get(path, 0.0) + record.took_s

    def text(
        self,
        *,
        in_progress: int,
        max_requests: int,
        max_processes: int,
        pool: Mapping[str, Any],
        limits: Mapping[str, Any],
        users: Mapping[str, Mapping[str, float]],
    ) -> bytes:
        """Return all metrics.

        `pool` is as in `litellm_claude_code.stats()`, `limits` as in `rate_limit_status()`. `users` has, for each name,
        today's `requests`, `tokens_in`, `tokens_out` and `usd`.
        """
        windows: Mapping[str, Mapping[str, Any]] = limits.get("windows") or {}
        metrics = [
            _metric("requests_total", "counter", "Requests that have ended.", self._request_samples()),
            _metric("request_seconds", "histogram", "How long requests took.", self._histogram()),
            _metric(
                "tokens_total",
                "counter",
                "Tokens of answers.",
                (("", {"model": model, "direction": way}, count) for (model, way), count in self._tokens.items()),
            ),
            _metric(
                "cost_usd_total",
                "counter",
                "Cost of answers at litellm's prices.",
                (("", {"model": model}, usd) for model, usd in self._costs_usd.items()),
            ),
            _metric("requests_in_progress", "gauge", "Model requests in progress or waiting.", _one(in_progress)),
            _metric("requests_max", "gauge", "The limit of --max-requests.", _one(max_requests)),
            _metric("queue_length", "gauge", "Calls that wait for a process.", _one(pool.get("queue", 0))),
            _metric(
                "processes",
                "gauge",
                "Claude Code processes by state.",
                (("", {"state": state}, count) for state, count in (pool.get("workers") or {}).items()),
            ),
            _metric("processes_max", "gauge", "The setting MAX_WORKERS.", _one(max_processes)),
            _metric(
                "subscription_utilization",
                "gauge",
                "How much of a subscription's limit is used, 0 to 1, as last reported.",
                (
                    ("", {"window": name}, window["utilization"])
                    for name, window in windows.items()
                    if window.get("utilization") is not None
                ),
            ),
            _metric("subscription_limits_reached", "gauge", "Reached limits.", _one(len(limits.get("reached") or ()))),
            *(
                _metric(
                    f"user_{what}_today",
                    "gauge",
                    f"Today's {what} of a key of --keys (UTC).",
                    (("", {"user": name}, usage[what]) for name, usage in users.items()),
                )
                for what in ("requests", "tokens_in", "tokens_out", "usd")
            ),
        ]
        return "".join(metrics).encode()

    def _request_samples(self) -> Iterator[Sample]:
        for (path, status, model), count in self._requests.items():
            yield "", {"path": path, "status": status, "model": model}, count

    def _histogram(self) -> Iterator[Sample]:
        for path, buckets in self._buckets.items():
            total = 0
            for limit, count in zip((*_BUCKETS_S, "+Inf"), buckets, strict=True):
                total += count
                yield "_bucket", {"path": path, "le": limit}, total
            yield "_sum", {"path": path}, self._seconds[path]
            yield "_count", {"path": path}, total


def _one(value: float) -> Iterator[Sample]:
    yield "", {}, value


def _metric(name: str, kind: str, help_: str, samples: Iterable[Sample]) -> str:
    """Return one metric, or nothing if it has no samples."""
    lines = [f"{_PREFIX}{name}{end}{_labels(labels)} {value!r}" for end, labels, value in samples]
    if not lines:
        return ""
    return "\n".join([f"# HELP {_PREFIX}{name} {help_}", f"# TYPE {_PREFIX}{name} {kind}", *lines, ""])


def _labels(labels: Mapping[str, object]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(str(value))}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
