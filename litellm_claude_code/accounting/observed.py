"""The observer of one LM call: it counts the call's requests, records their usage, and may halt the run.

The provider calls it behind DSPy's cache, so a cached answer is free. It raises before DSPy retries, because the
retries would wait silently for the hours until a limit resets.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from litellm.types.utils import Usage

from litellm_claude_code_runs.budget import NO_BUDGET, Budget, Ledger, ledger
from litellm_claude_code_runs.halt import Reason, RunHalted, halted
from litellm_claude_code_runs.usage import NOTHING, Used

from ..cause import cause_of
from ..observer import OnLimit
from .countdown import COUNTDOWN
from .prices import used
from .reasons import reason_of


@dataclass(kw_only=True, eq=False)
class ObservedCall:
    """The observer (see `observer.py`) of one call of a `ClaudeCodeLM`."""

    model: str
    budget: Budget | None
    on_limit: OnLimit | None
    is_cached: bool
    """Whether DSPy's cache stores the answer."""
    began_at: float = field(default_factory=time.monotonic)
    requests: int = 0
    used: Used = NOTHING
    limit_wait_s: float = 0.0
    _asked: tuple[Ledger, str, int] | None = None
    """The ledger, model and number of the requests in flight."""
    _waits_since: float | None = None

    def asked(self, model: str, n: int) -> None:
        """Count the requests towards the budget. Raises `RunHalted` if they would exceed it."""
        account = self._ledger
        if (most := account.enter(self.budget, model, n)) is not None and self.budget is not None:
            raise self._halted("budget", f"The budget {self.budget.name!r} of {most} is spent.")
        self._asked = (account, model, n)
        self.requests += n

    def waits(self, left_s: float) -> None:
        """Measure the wait and show how long it lasts. Raises `RunHalted` if the budget's time ends before it."""
        budget, spent_s = self.budget, self._ledger.spending().time_s
        if budget is not None and budget.max_time_s is not None and spent_s + left_s > budget.max_time_s:
            what = (
                f"A usage limit is reached and resets after the {budget.max_time_s:g} s of the budget {budget.name!r}."
            )
            raise self._halted("limit", what, resets_at=time.time() + left_s)
        COUNTDOWN.show(self, left_s)
        if self._waits_since is None:
            self._waits_since = time.monotonic()
        elif left_s <= 0:
            self.limit_wait_s += time.monotonic() - self._waits_since
            self._waits_since = None

    def answered(self, usage: Usage | None) -> None:
        """Record the usage of the answer."""
        self._settle(used(usage, model=self._asked[1] if self._asked else self.model))

    def failed(self, error: Exception) -> None:
        """Raise `RunHalted` if every further call would fail in the same way."""
        self._settle(NOTHING)
        if (reason := reason_of(error)) is not None:
            what = str(getattr(error, "message", error)).removeprefix(f"litellm.{type(error).__name__}: ")
            limit = cause.limit if (cause := cause_of(error)) is not None else None
            raise self._halted(reason, what, resets_at=limit.resets_at if limit is not None else None) from error

    def queued(self, waited_s: float) -> None:
        """Do nothing: a run does not report these waits."""

    def left(self) -> None:
        """Record the end of the call with no usage: it is not known if the caller does not wait for the answer."""
        self._settle(NOTHING)

    def _settle(self, used: Used) -> None:
        if self._asked is not None:
            account, model, n = self._asked
            account.leave(model, n, used)
            self._asked = None
            self.used += used

    def _halted(self, reason: Reason, what: str, *, resets_at: float | None = None) -> RunHalted:
        so_far = str(self._ledger.spending())
        return halted(reason, what, so_far=so_far, is_cached=self.is_cached, resets_at=resets_at)

    @property
    def _ledger(self) -> Ledger:
        return ledger(self.budget.name if self.budget is not None else NO_BUDGET)
