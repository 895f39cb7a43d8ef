"""The pool of workers of this Python process, and the queue of calls that wait for one.

`admission.py` decides whether a call may go, `schedule.py` which worker takes it; the pool does it. Everything runs on
the background loop's thread, so there are no locks.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, Final

import anyio

from ..call import ApiEvent, PlainCall, Waiting
from ..errors import CallFailed, WorkerLost, closed, timed_out
from ..login import Login
from ..process.lease import Lease
from ..process.worker import State, Worker
from ..settings import Settings
from .admission import Admission
from .agent_slots import AgentSlots
from .schedule import CallTimings, Plan, decide, unneeded_boots
from .warm_up import WarmUps

_ATTEMPTS: Final = 3
_HOUSEKEEPING_EVERY_S: Final = 1.0


def _ignore(left_s: float) -> None: ...


@dataclass(kw_only=True, eq=False)
class Waiter:
    """A call in the queue."""

    call: PlainCall
    lease: asyncio.Future[Lease]
    since: float
    failed_boots: int = 0

    @property
    def login(self) -> Login:
        return self.call.login

    @property
    def system(self) -> str:
        return self.call.system


class Pool:
    """The workers of this Python process and its queue of waiting calls."""

    def __init__(self, settings: Settings, *, make_worker: Callable[..., Worker] = Worker) -> None:
        self.settings = settings
        self._make_worker = make_worker
        self.workers: list[Worker] = []
        self._queue: list[Waiter] = []
        self._counts: Counter[str] = Counter()
        self._waited_s = 0.0
        self._timings = CallTimings()
        self._closing: set[asyncio.Task[None]] = set()
        self._housekeeper: asyncio.Task[None] | None = None
        self.admission = Admission(settings, on_reached=self._refuse_waiting)
        self.agent_slots = AgentSlots(settings.max_workers, on_change=self._advance)
        self._warm_ups = WarmUps()
        self._active: dict[Worker, tuple[Lease, int]] = {}
        """The lease and the limiter's round of each call in progress."""
        self._pause: asyncio.TimerHandle | None = None
        self._is_deciding = False
        self._is_closed = False

    def __repr__(self) -> str:
        states = Counter(worker.state.value for worker in self.workers)
        counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "no workers"
        return f"<Pool: {counts} of {self.settings.max_workers}; {len(self._queue)} waiting>"

    def events(
        self, call: PlainCall, *, waiting: Waiting = _ignore, queued: Callable[[float], object] = _ignore
    ) -> AsyncGenerator[ApiEvent, None]:
        """Return the events of the API's response. Closing the generator early cancels the request.

        `queued` is called with the seconds that the call has waited for a worker, each time it gets one.

        Raises `CallFailed` if the call fails, or if it waits longer than its `timeout_s` for a worker or for the next
        event. The wait for a subscription limit to reset does not count (see `Admission.past_limits`). If a process
        fails before the model was asked, the call is retried on another one.
        """
        return self.admission.past_limits(call, lambda: self._events(call, queued), waiting)

    async def _events(self, call: PlainCall, queued: Callable[[float], object]) -> AsyncGenerator[ApiEvent, None]:
        for attempt in range(1, _ATTEMPTS + 1):
            self.admission.check(call)
            since = time.monotonic()
            lease = await self._lease(call)
            try:
                queued(time.monotonic() - since)
                async for event in lease:
                    yield event
                return
            except WorkerLost:
                if attempt == _ATTEMPTS:
                    raise
            except CallFailed as failed:
                if failed.failure.kind == "rate_limit":
                    raise self.admission.refusal(call) or failed from None
                raise
            finally:
                lease.abandon()

    async def warm_up(self, login: Login, *, system: str | None, n: int) -> None:
        """Boot workers until `n` are ready for calls with this system prompt, or as many as the settings allow.

        Raises `CallFailed` if a process cannot be started.
        """
        wanted = min(n, self.settings.max_workers)
        await self._warm_ups.until_ready(self.workers, login, system=system or "", n=wanted, boot=self._boot_more)

    def stats(self) -> dict[str, Any]:
        """Return the current state and the totals since the pool was made.

        State: the number of `workers` by state, of running `agents`, and of calls in the `queue`. Totals: `calls`,
        `binds` (calls that changed their worker's system prompt), `boots`, `characters` (of the bodies sent to workers)
        and `waited_s` (seconds that calls spent in the queue).
        """
        return {
            "workers": dict(Counter(worker.state.value for worker in self.workers)),
            "agents": self.agent_slots.taken,
            "queue": len(self._queue),
            "waited_s": self._waited_s,
            **{name: self._counts[name] for name in ("calls", "binds", "boots", "characters")},
        }

    async def aclose(self) -> None:
        """Close every worker, cancel every agent's run and fail every waiting call. A closed pool accepts no calls."""
        self._is_closed = True
        self._fail(list(self._queue), closed())
        if self._housekeeper is not None:
            self._housekeeper.cancel()
            self._housekeeper = None
        for worker in list(self.workers):
            self._close(worker)
        await self.agent_slots.aclose()
        await asyncio.gather(*self._closing, return_exceptions=True)

    def detach_after_fork(self) -> None:
        """Close a forked child's copies of the pipes, so that the processes end with the parent."""
        for worker in self.workers:
            worker.detach_after_fork()

    async def _lease(self, call: PlainCall) -> Lease:
        if self._is_closed:
            raise closed()
        waiter = Waiter(call=call, lease=asyncio.get_running_loop().create_future(), since=time.monotonic())
        self._queue.append(waiter)
        self._advance()
        if waiter.lease.done():
            return waiter.lease.result()
        try:
            with anyio.fail_after(call.timeout_s):
                return await waiter.lease
        except TimeoutError:
            self._withdraw(waiter)
            raise timed_out(call.timeout_s) from None
        except asyncio.CancelledError:
            self._withdraw(waiter)
            raise

    def _withdraw(self, waiter: Waiter) -> None:
        """Remove a call from the queue, or abandon its lease if a worker has just been assigned."""
        if waiter in self._queue:
            self._queue.remove(waiter)
            self._close_unneeded_boots(waiter.login)
            self._advance()
        elif waiter.lease.done() and not waiter.lease.cancelled() and waiter.lease.exception() is None:
            waiter.lease.result().abandon()

    def _close_unneeded_boots(self, login: Login) -> None:
        if self._warm_ups.is_in_progress(login):
            return
        for worker in unneeded_boots(self.workers, self._queue, login=login, spares=self.settings.spare_workers):
            self._close(worker)

    def _advance(self) -> None:
        """Decide, then act.

        Not re-entrant: acting triggers `_on_worker_change`, which schedules another pass instead of nesting one.
        """
        if self._is_deciding or self._is_closed:
            return
        self._is_deciding = True
        try:
            for worker in self.agent_slots.grant(self.workers):
                self._close(worker)
            plan = decide(
                self.workers,
                self._startable(),
                settings=self.settings,
                others=self.agent_slots.taken,
                now=time.monotonic(),
                timings=self._timings,
            )
            self._apply(plan)
        finally:
            self._is_deciding = False
        if self._housekeeper is None and self.workers:
            self._housekeeper = asyncio.create_task(self._housekeeping(), name="claude-code-housekeeper")

    def _apply(self, plan: Plan) -> None:
        for worker in plan.close:
            self._close(worker)
        for waiter, worker in plan.assign:
            self._queue.remove(waiter)
            self._counts["calls"] += 1
            self._counts["binds"] += worker.system != waiter.call.system
            self._counts["characters"] += waiter.call.size
            self._waited_s += time.monotonic() - waiter.since
            round_ = self.admission.started(waiter.login, time.monotonic())
            lease = worker.start(waiter.call)
            self._active[worker] = (lease, round_)
            if waiter.lease.done():
                lease.abandon()
            else:
                waiter.lease.set_result(lease)
        for login in plan.boot:
            self._boot_for_waiting(login)

    def _startable(self) -> list[Waiter]:
        """Return the waiting calls that may start now, and look again when the next pause ends."""
        now = time.monotonic()
        startable = self.admission.startable(self._queue, now)
        pause_s = self.admission.pause_s({waiter.login for waiter in self._queue}, now)
        loop = asyncio.get_running_loop()
        if pause_s is not None and (self._pause is None or self._pause.when() <= loop.time()):
            self._pause = loop.call_later(pause_s + 0.001, self._advance)
        return startable

    def _refuse_waiting(self) -> None:
        """Fail the waiting calls whose subscription limit is reached now."""
        for waiter in list(self._queue):
            if (failed := self.admission.refusal(waiter.call)) is not None:
                self._fail([waiter], failed)
                self._close_unneeded_boots(waiter.login)

    def _boot_for_waiting(self, login: Login) -> None:
        """Start to boot a worker. If its process cannot be prepared, fail the calls that wait for one."""
        try:
            self._boot(login)
        except CallFailed as failed:
            self._fail([waiter for waiter in self._queue if waiter.login == login], failed)

    def _boot(self, login: Login) -> None:
        """Start to boot a worker. Raises `CallFailed` if its process cannot even be prepared."""
        try:
            worker = self._make_worker(login, settings=self.settings, on_change=self._on_worker_change)
        except Exception as error:
            from ..process._sdk import from_sdk

            failed = from_sdk(error, is_sent=False)
        else:
            self._counts["boots"] += 1
            self.workers.append(worker)
            return
        raise failed

    def _boot_more(self, login: Login, n: int) -> None:
        """Boot `n` workers, or as many as there is room for. Raises `CallFailed` like `_boot`."""
        room = 0 if self._is_closed else self.settings.max_workers - self.agent_slots.taken - len(self.workers)
        for _ in range(min(n, room)):
            self._boot(login)

    def _on_worker_change(self, worker: Worker) -> None:
        self._warm_ups.note_change(worker)
        if worker in self._active and worker.state is not State.BUSY:
            self.admission.finished(*self._active.pop(worker), time.monotonic())
        if worker.last_timing is not None:
            self._timings.note(api_s=worker.last_timing.api_s, own_s=worker.last_timing.own_s)
            worker.last_timing = None
        if worker.state is State.CLOSED and worker in self.workers:
            self.workers.remove(worker)
            self._close(worker)
            if worker.failure is not None and worker.calls == 0:
                self._boot_failed(worker.login, worker.failure)
        if worker.state is State.IDLE and all(waiter.login != worker.login for waiter in self._queue):
            self.admission.ask_usage(worker, calls=self._counts["calls"], now=time.monotonic())
        if self._is_deciding:
            asyncio.get_running_loop().call_soon(self._advance)
        else:
            self._advance()

    def _boot_failed(self, login: Login, failure: CallFailed) -> None:
        waiting = [waiter for waiter in self._queue if waiter.login == login]
        if not isinstance(failure, WorkerLost):  # another process would fail in the same way
            self._fail(waiting, failure)
        elif waiting:
            waiting[0].failed_boots += 1
            self._fail([waiter for waiter in waiting[:1] if waiter.failed_boots >= _ATTEMPTS], failure)

    def _fail(self, waiters: list[Waiter], error: Exception) -> None:
        for waiter in waiters:
            self._queue.remove(waiter)
            if not waiter.lease.done():
                waiter.lease.set_exception(error)

    def _close(self, worker: Worker) -> None:
        closing = worker.close()
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _housekeeping(self) -> None:
        """Run `_advance` regularly while there are workers, so that spares boot and unused workers close."""
        while self.workers:
            await asyncio.sleep(_HOUSEKEEPING_EVERY_S / 4 if self._queue else _HOUSEKEEPING_EVERY_S)
            self._advance()
        self._housekeeper = None
