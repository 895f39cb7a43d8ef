"""Ledgers: what was spent under a budget's name, and what is in flight.

Without `litellm-claude-code run`, a process keeps its ledgers in memory. The processes of a run share those in the
run's file (`run_file.py`).
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from .report import counted
from .usage import Used

if TYPE_CHECKING:
    from .budget import Budget

NO_BUDGET: Final = ""
"""The name of the ledger for calls of LMs without a budget. In a run, all of its calls are in this ledger."""


@dataclass(frozen=True, kw_only=True)
class Spending:
    """What was spent under one name."""

    calls: int = 0
    """Finished requests, including failed and cancelled ones."""
    in_flight: int = 0
    tokens: int = 0
    usd: float = 0.0
    time_s: float = 0.0
    """Wall time since the first call."""

    def __str__(self) -> str:
        flying = f" and {self.in_flight} in flight" if self.in_flight else ""
        return f"{counted(self.calls, 'call')}{flying}, {self.tokens:,} tokens, ${self.usd:.4f}, {self.time_s:.0f} s"


class Ledger(Protocol):
    """What was spent under one name since the last reset, and what is in flight. Thread-safe.

    A reset makes a new ledger. A call that was in flight then ends in the one that it entered.
    """

    def spending(self) -> Spending:
        """Return what was spent so far."""

    def enter(self, budget: Budget | None, model: str, requests: int) -> str | None:
        """Count requests as in flight. If they would exceed the budget, return which maximum, and do not count them."""

    def leave(self, model: str, *, entered: int, made: int, used: Used) -> None:
        """Take requests out of flight, and count those that were made, with what they used."""


@dataclass(kw_only=True)
class Line:
    """What one model has spent, and how many of its requests are in flight."""

    requests: int = 0
    in_flight: int = 0
    tokens: int = 0
    usd: float = 0.0

    def expected(self, requests: int) -> tuple[float, float]:
        """Return the tokens and dollars that these requests will take, at the average of the finished ones."""
        if not self.requests:
            return 0.0, 0.0
        return requests * self.tokens / self.requests, requests * self.usd / self.requests


def total(lines: Mapping[str, Line], *, time_s: float) -> Spending:
    """Return the sum over all models."""
    return Spending(
        calls=sum(line.requests for line in lines.values()),
        in_flight=sum(line.in_flight for line in lines.values()),
        tokens=sum(line.tokens for line in lines.values()),
        usd=sum(line.usd for line in lines.values()),
        time_s=time_s,
    )


def exceeded(budget: Budget, lines: Mapping[str, Line], model: str, requests: int, *, time_s: float) -> str | None:
    """Return which maximum of the budget these requests to a model would exceed, in words, or None."""
    expected = [line.expected(line.in_flight) for line in lines.values()]
    expected.append(lines.get(model, Line()).expected(requests))
    tokens, usd = (sum(amounts) for amounts in zip(*expected, strict=True))
    return budget.reached(total(lines, time_s=time_s), calls=requests, tokens=tokens, usd=usd)


class MemoryLedger:
    """A ledger of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began_at: float | None = None
        self._lines: defaultdict[str, Line] = defaultdict(Line)

    def spending(self) -> Spending:
        with self._lock:
            return total(self._lines, time_s=self._time_s)

    def enter(self, budget: Budget | None, model: str, requests: int) -> str | None:
        with self._lock:
            if self._began_at is None:
                self._began_at = time.monotonic()
            if budget is not None:
                most = exceeded(budget, self._lines, model, requests, time_s=self._time_s)
                if most is not None:
                    return most
            self._lines[model].in_flight += requests
            return None

    def leave(self, model: str, *, entered: int, made: int, used: Used) -> None:
        with self._lock:
            line = self._lines[model]
            line.in_flight -= entered
            line.requests += made
            line.tokens += used.tokens
            line.usd += used.usd

    @property
    def _time_s(self) -> float:
        return time.monotonic() - self._began_at if self._began_at is not None else 0.0


class Books(Protocol):
    """Ledgers by name."""

    def ledger(self, name: str) -> Ledger:
        """Return the ledger of this name; create an empty one if there is none."""

    def forget(self, name: str) -> None:
        """Make the next call under this name start with an empty ledger."""


class MemoryBooks:
    """The ledgers of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ledgers: dict[str, MemoryLedger] = {}

    def ledger(self, name: str) -> Ledger:
        with self._lock:
            return self._ledgers.setdefault(name, MemoryLedger())

    def forget(self, name: str) -> None:
        with self._lock:
            self._ledgers.pop(name, None)


MEMORY: Final = MemoryBooks()
