"""Budgets: what a run may spend, and what it has spent so far.

A `Budget` is an immutable value that LMs can copy, pickle and share between threads. What was spent is stored in this
module under the budget's name, so all LMs whose budgets have the same name spend from one account.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from dataclasses import KW_ONLY, dataclass
from typing import Final

from .usage import NOTHING, Used

NO_BUDGET: Final = ""
"""The ledger's name for calls of LMs without a budget."""


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
        return f"{self.calls} calls{flying}, {self.tokens:,} tokens, ${self.usd:.4f}, {self.time_s:.0f} s"


@dataclass(frozen=True)
class Budget:
    """What all LMs with a budget of this name may spend together. A maximum of None means no maximum.

    A call that would exceed a maximum is not made; `RunHalted` is raised instead. Calls in flight count, too: each is
    expected to take as many tokens and dollars as finished calls of its model took on average. Nothing is known about
    a model's first calls, so if they run in parallel, they can exceed the budget. Answers from DSPy's cache are free.
    """

    name: str
    _: KW_ONLY
    max_usd: float | None = None
    """Dollars at API prices, regardless of who pays."""
    max_calls: int | None = None
    """Requests to the model. `n=3` counts as three requests, and each retry counts again."""
    max_tokens: int | None = None
    """Input and output tokens, including those read from the prompt cache."""
    max_time_s: float | None = None
    """Wall time since the first call. No call starts after it."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or self.name == NO_BUDGET:
            raise ValueError("A budget needs a name. LMs whose budgets have the same name share the spending.")
        for what in ("max_usd", "max_calls", "max_tokens", "max_time_s"):
            value = getattr(self, what)
            if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0):
                raise ValueError(f"{what}={value!r} must be a number above 0. Leave it out for no maximum.")

    @property
    def spent(self) -> Spending:
        """What was spent under this name so far, in this process."""
        return ledger(self.name).spending()

    def reset(self) -> None:
        """Forget what was spent under this name, and the calls that are in flight now."""
        forget(self.name)

    def reached(self, spent: Spending, *, calls: int, tokens: float, usd: float) -> str | None:
        """Return which maximum these additional calls would exceed, in words for the user, or None.

        `tokens` and `usd` include what the calls in flight are expected to use; `calls` does not include those calls.
        """
        if self.max_calls is not None and spent.calls + spent.in_flight + calls > self.max_calls:
            return f"{self.max_calls} calls"
        if self.max_usd is not None and (spent.usd >= self.max_usd or spent.usd + usd > self.max_usd):
            return f"${self.max_usd:g}"
        if self.max_tokens is not None and (spent.tokens >= self.max_tokens or spent.tokens + tokens > self.max_tokens):
            return f"{self.max_tokens:,} tokens"
        if self.max_time_s is not None and spent.time_s >= self.max_time_s:
            return f"{self.max_time_s:g} s"
        return None


class Ledger:
    """What was spent under one name since the last reset, and what is in flight. Thread-safe.

    A reset makes a new ledger. A call that was in flight then ends in the one that it entered.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began_at: float | None = None
        self._used = NOTHING
        self._calls: Counter[str] = Counter()
        self._used_by: defaultdict[str, Used] = defaultdict(Used)
        self._in_flight: Counter[str] = Counter()

    def spending(self) -> Spending:
        """Return what was spent so far."""
        with self._lock:
            return self._spending()

    def enter(self, budget: Budget | None, model: str, calls: int) -> str | None:
        """Count calls as in flight. If they would exceed the budget, return which maximum, and do not count them."""
        with self._lock:
            if self._began_at is None:
                self._began_at = time.monotonic()
            if budget is not None:
                expected = [(count, self._average(name)) for name, count in self._in_flight.items()]
                expected.append((calls, self._average(model)))
                tokens = sum(count * tokens for count, (tokens, _) in expected)
                usd = sum(count * usd for count, (_, usd) in expected)
                if (most := budget.reached(self._spending(), calls=calls, tokens=tokens, usd=usd)) is not None:
                    return most
            self._in_flight[model] += calls
            return None

    def leave(self, model: str, calls: int, used: Used) -> None:
        """Count calls that were in flight as finished, with what they used."""
        with self._lock:
            self._in_flight[model] -= calls
            self._calls[model] += calls
            self._used_by[model] += used
            self._used += used

    def _average(self, model: str) -> tuple[float, float]:
        calls, used = self._calls[model], self._used_by[model]
        return (used.tokens / calls, used.usd / calls) if calls else (0.0, 0.0)

    def _spending(self) -> Spending:
        return Spending(
            calls=self._calls.total(),
            in_flight=self._in_flight.total(),
            tokens=self._used.tokens,
            usd=self._used.usd,
            time_s=time.monotonic() - self._began_at if self._began_at is not None else 0.0,
        )


_ledgers: Final[dict[str, Ledger]] = {}
_ledgers_lock = threading.Lock()


def ledger(name: str) -> Ledger:
    """Return the ledger of this name; create an empty one if there is none."""
    with _ledgers_lock:
        return _ledgers.setdefault(name, Ledger())


def forget(name: str) -> None:
    """Make the next call under this name start with an empty ledger."""
    with _ledgers_lock:
        _ledgers.pop(name, None)
