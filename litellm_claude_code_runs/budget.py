"""Budgets: what a run may spend, and what it has spent so far.

A `Budget` is an immutable value that LMs can copy, pickle and share between threads. What was spent is in a ledger
under the budget's name, so all LMs whose budgets have the same name spend from one account.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from .books import books
from .ledger import NO_BUDGET, Spending
from .stopper import Stopper


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
        """What was spent under this name so far: in this process, or under `litellm-claude-code run` in the run."""
        return books().ledger(self.name).spending()

    @property
    def left(self) -> str:
        """What may still be spent, in words: `480 calls, $1.98`."""
        spent = self.spent
        parts = [
            *([f"{max(0, self.max_calls - spent.calls):,} calls"] if self.max_calls is not None else []),
            *([f"${max(0.0, self.max_usd - spent.usd):.2f}"] if self.max_usd is not None else []),
            *([f"{max(0, self.max_tokens - spent.tokens):,} tokens"] if self.max_tokens is not None else []),
            *([f"{max(0.0, self.max_time_s - spent.time_s):.0f} s"] if self.max_time_s is not None else []),
        ]
        return ", ".join(parts) or "no maximum"

    def reset(self) -> None:
        """Forget what was spent under this name, and the calls that are in flight now."""
        books().forget(self.name)

    def stopper(self) -> Stopper:
        """Return a new condition for `dspy.GEPA(gepa_kwargs={"stop_callbacks": [budget.stopper()]})`.

        GEPA then returns its best program as soon as the budget may not last for another round; see `Stopper`.
        """
        return Stopper(self)

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
