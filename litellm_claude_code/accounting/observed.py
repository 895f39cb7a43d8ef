"""The observer of one call: it counts the call's requests, records their usage, and may halt the run.

The provider calls it behind DSPy's cache, so a cached answer is free. It raises before DSPy retries, because the
retries would wait silently for the hours until a limit resets.
"""

from __future__ import annotations

import time
import uuid
from asyncio import CancelledError
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from litellm.types.utils import Usage

from litellm_claude_code_runs.books import books
from litellm_claude_code_runs.budget import Budget
from litellm_claude_code_runs.halt import Reason, RunHalted, halted
from litellm_claude_code_runs.ledger import MEMORY, NO_BUDGET, Ledger
from litellm_claude_code_runs.report import CallRecord
from litellm_claude_code_runs.run_file import RunFile, current_run
from litellm_claude_code_runs.usage import NOTHING, Used

from ..cause import cause_of
from ..interrupts import is_interactive
from ..observer import Observer, OnLimit
from .countdown import COUNTDOWN
from .prices import used
from .reasons import reason_of


class Recorder(Protocol):
    """Keeps the records of calls."""

    def note(self, call: ObservedCall) -> None:
        """Save what is known about the call. Called when it begins, when that changes, and when it ends."""


@dataclass(kw_only=True)
class _RequestsInFlight:
    """The requests of a call that are in flight, and the accounts that they are charged to."""

    model: str
    n: int
    accounts: Sequence[_Account]
    entered: int
    made: int = 0


@dataclass(kw_only=True)
class _Account:
    ledger: Ledger
    budget: Budget | None
    is_runs: bool
    """Whether this is the account of the whole run."""


@dataclass(kw_only=True, eq=False)
class ObservedCall(Observer):
    """The observer (see `observer.py`) of one call of a `ClaudeCodeLM`, or of litellm."""

    model: str
    budget: Budget | None = None
    """The budget of the LM."""
    run_budget: Budget | None = None
    """The budget of the run that this process belongs to."""
    on_limit: OnLimit | None = None
    halts: bool = True
    """Whether this raises `RunHalted`. If not, it only records the call."""
    is_cached: bool | None = None
    """Whether DSPy's cache stores the answer, if that is known."""
    is_single: bool = False
    """Whether the call ends with its first answer. Otherwise an LM may retry it, and reports when it is over."""
    recorders: Sequence[Recorder] = ()
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    began_at: float = field(default_factory=time.monotonic)
    ended_at: float | None = None
    error: str | None = None
    requests: int = 0
    """Requests that have reached the API."""
    retries: int = 0
    used: Used = NOTHING
    limit_wait_s: float = 0.0
    _run: RunFile | None = field(default_factory=current_run)
    _flight: _RequestsInFlight | None = None
    _last: _RequestsInFlight | None = None
    _waits_since: float | None = None

    # What the provider reports: see `observer.Observer`

    def asked(self, model: str, n: int) -> None:
        """Count the requests towards the budgets. Raises `RunHalted` if they would exceed one, or after a halt."""
        if self.halts and self._run is not None and (halted := self._run.halted()) is not None:
            raise halted
        flight = _RequestsInFlight(model=model, n=n, accounts=self._accounts(), entered=0)
        self._enter(flight, n)
        self.retries += self._last is not None
        self._flight = self._last = flight
        self._note()

    def waits(self, left_s: float) -> None:
        """Measure the wait and show how long it lasts. Raises `RunHalted` if a budget ends before it."""
        if left_s > 0:
            self._check_time(left_s)
        COUNTDOWN.show(self, left_s)
        if self._waits_since is None:
            self._waits_since = time.monotonic()
        elif left_s <= 0:
            self.limit_wait_s += time.monotonic() - self._waits_since
            self._waits_since = None
            if self._flight is not None:  # the requests that met the limit are made again
                self._enter(self._flight, self._flight.made + self._flight.n - self._flight.entered)

    def requested(self, count: int) -> None:
        """Count requests that reach the API."""
        self.requests += count
        if self._flight is not None:
            self._flight.made += count
        elif self._last is not None:
            self._leave(self._last, entered=0, made=count, used=NOTHING)
        self._note()

    def answered(self, usage: Usage | None) -> None:
        """Record the usage of the answer."""
        self._settle(used(usage, model=self._last.model if self._last is not None else self.model))
        if self.is_single:
            self.end()

    def failed(self, error: Exception) -> None:
        """Raise `RunHalted` if every further call would fail in the same way."""
        self._settle(NOTHING)
        if self.is_single:
            self.end(error)
        if self.halts and (reason := reason_of(error)) is not None:
            what = str(getattr(error, "message", error)).removeprefix(f"litellm.{type(error).__name__}: ")
            limit = cause.limit if (cause := cause_of(error)) is not None else None
            raise self._halted(reason, what, resets_at=limit.resets_at if limit is not None else None) from error

    def left(self) -> None:
        """Record the end of the call without usage, which is unknown if the caller does not wait for the answer."""
        self._settle(NOTHING)
        if self.is_single:
            self.end(CancelledError())

    # The whole call

    def begin(self) -> None:
        """Record the call as begun."""
        self._note()

    def end(self, error: BaseException | None = None) -> None:
        """Record the call as ended; `error` is the exception if it failed."""
        self.ended_at = time.monotonic()
        self.error = type(error).__name__ if error is not None else None
        self._note()

    def record(self, *, run_began_at: float) -> CallRecord:
        """Return what is known about the call. `run_began_at` is on the clock of `time.monotonic`."""
        is_over = self.ended_at is not None
        return CallRecord(
            model=self.model,
            began_s=self.began_at - run_began_at,
            took_s=(self.ended_at or time.monotonic()) - self.began_at,
            is_cached=is_over and self._last is None and self.error is None,
            error=self.error,
            is_in_flight=not is_over,
            requests=self.requests,
            input_tokens=self.used.input_tokens,
            cache_read_tokens=self.used.cache_read_tokens,
            cache_write_tokens=self.used.cache_write_tokens,
            output_tokens=self.used.output_tokens,
            cost_usd=self.used.usd,
            limit_wait_s=self.limit_wait_s,
            retries=self.retries,
        )

    def _note(self) -> None:
        for recorder in self.recorders:
            recorder.note(self)

    # The accounts

    def _accounts(self) -> list[_Account]:
        accounts = []
        if self.budget is not None:
            accounts.append(_Account(ledger=books().ledger(self.budget.name), budget=self.budget, is_runs=False))
        if self._run is not None:
            accounts.append(_Account(ledger=self._run.ledger(NO_BUDGET), budget=self.run_budget, is_runs=True))
        return accounts or [_Account(ledger=MEMORY.ledger(NO_BUDGET), budget=None, is_runs=False)]

    def _enter(self, flight: _RequestsInFlight, requests: int) -> None:
        for number, account in enumerate(flight.accounts):
            budget = account.budget if self.halts else None
            most = account.ledger.enter(budget, flight.model, requests)
            if most is not None and budget is not None:
                for entered in flight.accounts[:number]:
                    entered.ledger.leave(flight.model, entered=requests, made=0, used=NOTHING)
                raise self._halted("budget", f"{_name(account)} of {most} is spent.", account=account)
        flight.entered += requests

    def _leave(self, flight: _RequestsInFlight, *, entered: int, made: int, used: Used) -> None:
        for account in flight.accounts:
            account.ledger.leave(flight.model, entered=entered, made=made, used=used)

    def _settle(self, used: Used) -> None:
        if (flight := self._flight) is not None:
            self._flight = None
            self._leave(flight, entered=flight.entered, made=flight.made, used=used)
            self.used += used
            self._note()

    def _check_time(self, left_s: float) -> None:
        """Raise `RunHalted` if the time of a budget ends within `left_s` seconds."""
        for account in self._flight.accounts if self._flight is not None and self.halts else ():
            most_s = account.budget.max_time_s if account.budget is not None else None
            if most_s is not None and account.ledger.spending().time_s + left_s > most_s:
                name = _name(account)
                what = f"A usage limit is reached and resets after the {most_s:g} s of {name[0].lower()}{name[1:]}."
                raise self._halted("limit", what, resets_at=time.time() + left_s, account=account)

    def _halted(
        self, reason: Reason, what: str, *, resets_at: float | None = None, account: _Account | None = None
    ) -> RunHalted:
        account = account or self._accounts()[0]
        raised = halted(
            reason,
            what,
            so_far=str(account.ledger.spending()),
            is_cached=self.is_cached,
            resets_at=resets_at,
            is_under_run=account.is_runs,
        )
        # An LM's own budget halts only the LMs that share it. In a notebook the user is there, and may fix the cause.
        if self._run is not None and (account.is_runs or reason != "budget") and not is_interactive():
            self._run.halt(raised)
        return raised


def _name(account: _Account) -> str:
    return "The run's budget" if account.is_runs or account.budget is None else f"The budget {account.budget.name!r}"
