"""Whether a call may go now: the limits of its subscription, and how many calls its login may have in flight.

The CLI's reports about each call, and about the plan's usage, are noted here. Apart from the clock, the wait for a
reset and the question for the usage there is no I/O. The pool has the queue, and starts or fails the calls in it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, TypeVar

from ..call import Call, Waiting
from ..errors import CallFailed, Failure, RunFailed
from ..limits.concurrency import ConcurrencyLimiter
from ..limits.subscription import ReachedLimit, SubscriptionLimits
from ..login import Login
from ..process.lease import Lease
from ..process.worker import Worker
from ..settings import Settings
from .schedule import WaitingCall

EventT = TypeVar("EventT")
WaiterT = TypeVar("WaiterT", bound=WaitingCall)
_COUNTDOWN_S: Final = 1.0


class Admission:
    """Decides whether calls may go, and learns from those that have ended.

    It calls `on_reached` when a subscription limit is reported as reached.
    """

    def __init__(self, settings: Settings, *, on_reached: Callable[[], None] = lambda: None) -> None:
        self._settings = settings
        self._on_reached = on_reached
        self.limits = SubscriptionLimits()
        self._limiters: dict[Login, ConcurrencyLimiter] = {}
        self._usage_asked: dict[Login, tuple[float, int]] = {}

    def refusal(self, call: Call) -> CallFailed | None:
        """Return the failure of a call whose subscription limit is reached now, or None."""
        now = time.time()
        reached = self.limits.refusal(call.login, now, allow_overage=self._settings.allow_overage, model=call.model)
        if reached is None:
            return None
        text, wait_s = reached.sentence(now), reached.wait_s(now)
        return CallFailed(Failure(kind="rate_limit", status=429, text=text, retry_after_s=wait_s, limit=reached))

    def check(self, call: Call) -> None:
        """Raise `CallFailed` if the call's subscription limit is reached now."""
        if (failed := self.refusal(call)) is not None:
            raise failed

    async def past_limits(
        self, call: Call, begin: Callable[[], AsyncGenerator[EventT, None]], waiting: Waiting
    ) -> AsyncGenerator[EventT, None]:
        """Yield the events of `begin()`, which serves the call, as soon as no subscription limit refuses it.

        If the call meets a limit itself, begin again after the reset, unless an event was already delivered or an agent
        has acted. Raises `CallFailed` instead of waiting if the call is not to wait (`on_limit`), or if the reset is
        more than `max_limit_wait_s` away.
        """
        has_begun = False
        while True:
            await self._wait_for_reset(call, waiting)
            try:
                async with aclosing(begin()) as events:
                    async for event in events:
                        has_begun = True
                        yield event
                return
            except CallFailed as failed:
                if has_begun or isinstance(failed, RunFailed) or self.refusal(call) is None:
                    raise

    async def _wait_for_reset(self, call: Call, waiting: Waiting) -> None:
        on_limit = call.on_limit or self._settings.on_limit
        has_waited = False
        try:
            while (failed := self.refusal(call)) is not None:
                wait_s = failed.failure.retry_after_s or 0.0
                if on_limit == "raise" or wait_s > self._settings.max_limit_wait_s:
                    raise failed
                has_waited = True
                waiting(wait_s)
                await asyncio.sleep(_COUNTDOWN_S)
        finally:
            if has_waited:
                waiting(0.0)

    def startable(self, queue: Sequence[WaiterT], now: float) -> list[WaiterT]:
        """Return the waiting calls that the concurrency limiter lets start now (`time.monotonic`)."""
        room = {login: self._limiter(login).room(now) for login in {waiter.login for waiter in queue}}
        startable = []
        for waiter in queue:
            if room[waiter.login] > 0:
                room[waiter.login] -= 1
                startable.append(waiter)
        return startable

    def pause_s(self, logins: Iterable[Login], now: float) -> float | None:
        """Return the seconds until the first pause of these logins ends, or None if none has a pause."""
        return min((pause for login in logins if (pause := self._limiter(login).pause_s(now)) > 0), default=None)

    def started(self, login: Login, now: float) -> int:
        """Count a call that starts, and return its round for `finished`."""
        return self._limiter(login).start(now)

    def finished(self, lease: Lease, round_: int, now: float) -> None:
        """Update the limits and the concurrency limiter from a call that has ended."""
        call, limiter = lease.call, self._limiter(lease.call.login)
        failure = lease.failed.failure if lease.failed else None
        is_reached = lease.limit is not None and self._store(call, lease.limit) is not None
        if failure is not None and failure.status in (429, 529) and not is_reached:
            limiter.overloaded(round_, now)
        elif lease.is_over and failure is None:
            limiter.succeeded(round_)
        else:
            limiter.left(round_)
        if is_reached:
            self._on_reached()

    def note_limit(self, call: Call, info: Mapping[str, Any]) -> None:
        """Store the `rate_limit_info` that came with a call."""
        if self._store(call, info) is not None:
            self._on_reached()

    def _store(self, call: Call, info: Mapping[str, Any]) -> ReachedLimit | None:
        return self.limits.note(call.login, info, time.time(), model=call.model)

    def ask_usage(self, worker: Worker, *, calls: int, now: float) -> None:
        """Request the subscription's usage on an idle worker if that is due.

        That is at first, and then every `usage_every_s` if `calls`, the number of calls so far, has grown. Responses to
        calls do not report that extra usage has begun (docs/limits.md).
        """
        login = worker.login
        asked_at, asked_calls = self._usage_asked.get(login, (-math.inf, -1))
        if login.is_metered and 0 < self._settings.usage_every_s <= now - asked_at and calls > asked_calls:
            self._usage_asked[login] = (now, calls)
            worker.ask_usage(lambda reply: self._note_usage(login, reply))

    def _note_usage(self, login: Login, reply: Mapping[str, Any]) -> None:
        if self.limits.note_usage(login, reply, time.time()) is not None:
            self._on_reached()

    def _limiter(self, login: Login) -> ConcurrencyLimiter:
        if login not in self._limiters:
            self._limiters[login] = ConcurrencyLimiter(self._settings.max_workers)
        return self._limiters[login]
