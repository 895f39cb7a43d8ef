"""Which worker serves which call.

The decision (`decide`) is a synchronous function of what there is, and returns what to start and what to close; `Pool`
carries it out. Everything here runs on the background loop's thread, so that nothing needs a lock.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import anyio

from .auth import Login
from .call import ApiEvent, Call
from .errors import CallFailed, Failure, WorkerLost, timed_out
from .settings import Settings
from .worker import State, Turn, Worker

_ATTEMPTS: Final = 3
_HOUSEKEEPING_EVERY_S: Final = 1.0
_MAKE_ROOM_AFTER_S: Final = 2.0
"""A worker unused for so long gives its place to a missing spare."""


class Seat(Protocol):
    """What the decision needs to know of a worker."""

    state: State
    login: Login
    system: str | None
    calls: int
    growth_mib: float
    used_at: float


class Demand(Protocol):
    """What the decision needs to know of a waiting call."""

    @property
    def login(self) -> Login: ...
    @property
    def system(self) -> str: ...


@dataclass(kw_only=True)
class Plan:
    """What to do now: the calls to hand out, the processes to boot and those to close."""

    assign: list[tuple[Any, Any]] = field(default_factory=list)
    boot: list[Login] = field(default_factory=list)
    close: list[Any] = field(default_factory=list)


def decide(seats: Sequence[Seat], queue: Sequence[Demand], *, settings: Settings, now: float) -> Plan:
    """Return what to do with the workers there are, for the calls that wait, in order of arrival.

    A call takes an idle worker of its system prompt; else a spare, unless two workers of its prompt are about to be
    free (a caller that asks again at once has one worker to use while the other is reset; more would be booted in
    vain); else it waits for a worker about to be free; else for a new one, for which the least recently used idle
    worker makes room.
    """
    plan = Plan()
    plan.close += [seat for seat in seats if _is_worn(seat, settings=settings, now=now)]
    live = [seat for seat in seats if seat.state is not State.CLOSED and seat not in plan.close]
    free = sorted((s for s in live if s.state in (State.IDLE, State.SPARE)), key=lambda s: s.used_at, reverse=True)
    coming = [seat for seat in live if seat.state in (State.BOOTING, State.RESETTING)]
    room = settings.max_workers - len(live)
    is_short = False

    for call in queue:
        idle = next((s for s in free if s.state is State.IDLE and _fits(s, call)), None)
        resetting = [s for s in coming if s.state is State.RESETTING and _fits(s, call)]
        spare = next((s for s in free if s.state is State.SPARE and s.login == call.login), None)
        if idle is not None or (spare is not None and len(resetting) < 2):
            chosen = idle or spare
            assert chosen is not None
            free.remove(chosen)
            plan.assign.append((call, chosen))
            continue
        is_short = True
        soon = next(iter(resetting), None) or next((s for s in coming if _fits(s, call)), None)
        if soon is not None:
            coming.remove(soon)
            continue
        if room <= 0 and free:
            plan.close.append(free.pop())
            room += 1
        if room > 0:
            plan.boot.append(call.login)
            room -= 1

    if not is_short:
        _keep_spares(plan, live, free, room=room, settings=settings, now=now)
    return plan


def _fits(seat: Seat, call: Demand) -> bool:
    return seat.login == call.login and seat.system in (None, call.system)


def _is_worn(seat: Seat, *, settings: Settings, now: float) -> bool:
    has_served_long = seat.calls >= settings.max_calls_per_worker or seat.growth_mib > settings.max_worker_growth_mib
    if seat.state is State.IDLE and has_served_long:
        return True
    return seat.state in (State.IDLE, State.SPARE) and now - seat.used_at > settings.idle_timeout_s


def _keep_spares(
    plan: Plan, live: Sequence[Seat], free: list[Seat], *, room: int, settings: Settings, now: float
) -> None:
    """Have as many spares as the settings ask for, of each login in use, where nobody waits for a process."""
    taken = [seat for _, seat in plan.assign]
    in_use = {s.login for s in live if s.state is not State.SPARE or s in taken}
    for login in in_use:
        unbound = [s for s in live if s.login == login and s.state in (State.BOOTING, State.SPARE) and s not in taken]
        for _ in range(settings.spare_workers - len(unbound)):
            if room <= 0:
                stale = [s for s in free if s.state is State.IDLE and now - s.used_at > _MAKE_ROOM_AFTER_S]
                if not stale:
                    return
                free.remove(stale[-1])
                plan.close.append(stale[-1])
                room += 1
            plan.boot.append(login)
            room -= 1


@dataclass(kw_only=True, eq=False)
class Waiter:
    """A call in the queue."""

    call: Call
    turn: asyncio.Future[Turn]
    since: float
    failed_boots: int = 0

    @property
    def login(self) -> Login:
        return self.call.login

    @property
    def system(self) -> str:
        return self.call.system


class Pool:
    """The workers of this Python process, and the calls that wait for one."""

    def __init__(self, settings: Settings, *, make_worker: Callable[..., Worker] = Worker) -> None:
        self.settings = settings
        self._make_worker = make_worker
        self.workers: list[Worker] = []
        self._queue: list[Waiter] = []
        self._counts: Counter[str] = Counter()
        self._waited_s = 0.0
        self._closing: set[asyncio.Task[None]] = set()
        self._housekeeper: asyncio.Task[None] | None = None
        self._watchers: list[asyncio.Future[CallFailed | None]] = []
        self._is_deciding = False
        self._is_closed = False

    def __repr__(self) -> str:
        states = Counter(worker.state.value for worker in self.workers)
        told = ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "no workers"
        return f"<Pool: {told} of {self.settings.max_workers}; {len(self._queue)} waiting>"

    async def events(self, call: Call) -> AsyncGenerator[ApiEvent, None]:
        """Yield the events of the API's answer. Leaving early stops the request.

        Raises `CallFailed`, also where a worker or the next event is not there within the call's `timeout_s`. A process
        that fails before the model was asked is replaced, and the call repeated there.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            turn = await self._lease(call)
            try:
                async for event in turn:
                    yield event
                return
            except WorkerLost:
                if attempt == _ATTEMPTS:
                    raise
            finally:
                turn.abandon()

    async def warm_up(self, login: Login, *, system: str | None, n: int) -> None:
        """Have `n` processes ready, or as many as there may be: bound to `system`, or spares where it is `None`.

        Raises `CallFailed` where a process cannot be started.
        """
        wanted = min(n, self.settings.max_workers)
        while not self._is_closed:
            fitting = [w for w in self.workers if w.is_alive and w.login == login and w.system in (None, system)]
            ready = [w for w in fitting if w.state is not State.BOOTING]
            if system is not None:
                spares = [w for w in ready if w.state is State.SPARE]
                bound = len(ready) - len(spares)
                await asyncio.gather(*(w.bind_ahead(system) for w in spares[: max(0, wanted - bound)]))
                ready = [w for w in ready if w.system == system]
            if len(ready) >= wanted:
                return
            room = self.settings.max_workers - len(self.workers)
            for _ in range(min(wanted - len(fitting), room)):
                self._boot(login)
            if not any(w.state is State.BOOTING for w in self.workers):
                return
            await self._until_something_changes()

    def stats(self) -> dict[str, Any]:
        """Return `workers` by state, the `queue`'s length, and `calls`, `binds`, `boots`, `characters`, `waited_s`."""
        return {
            "workers": dict(Counter(worker.state.value for worker in self.workers)),
            "queue": len(self._queue),
            "waited_s": self._waited_s,
            **{name: self._counts[name] for name in ("calls", "binds", "boots", "characters")},
        }

    async def aclose(self) -> None:
        """End every process and fail every waiting call. A closed pool takes no more calls."""
        self._is_closed = True
        self._fail(list(self._queue), CallFailed(Failure(kind="lost", text="the pool was closed")))
        if self._housekeeper is not None:
            self._housekeeper.cancel()
            self._housekeeper = None
        await asyncio.gather(*(worker.close() for worker in self.workers), return_exceptions=True)
        await asyncio.gather(*self._closing, return_exceptions=True)

    def disown(self) -> None:
        """In a forked child: let go of the parent's processes, so that they end with the parent."""
        for worker in self.workers:
            worker.disown()

    async def _until_something_changes(self) -> None:
        changed = asyncio.get_running_loop().create_future()
        self._watchers.append(changed)
        failed = await changed
        if failed is not None:
            raise failed

    async def _lease(self, call: Call) -> Turn:
        if self._is_closed:
            raise CallFailed(Failure(kind="lost", text="the pool was closed"))
        waiter = Waiter(call=call, turn=asyncio.get_running_loop().create_future(), since=time.monotonic())
        self._queue.append(waiter)
        self._advance()
        try:
            with anyio.fail_after(call.timeout_s):
                return await waiter.turn
        except TimeoutError:
            self._withdraw(waiter)
            raise timed_out(call.timeout_s) from None
        except asyncio.CancelledError:
            self._withdraw(waiter)
            raise

    def _withdraw(self, waiter: Waiter) -> None:
        """Take a call back: out of the queue, or off the worker it has just been given."""
        if waiter in self._queue:
            self._queue.remove(waiter)
            self._advance()
        elif waiter.turn.done() and not waiter.turn.cancelled() and waiter.turn.exception() is None:
            waiter.turn.result().abandon()

    def _advance(self) -> None:
        """Decide, then act. Acting makes workers report, and a report must not decide within a decision."""
        if self._is_deciding or self._is_closed:
            return
        self._is_deciding = True
        try:
            plan = decide(self.workers, self._queue, settings=self.settings, now=time.monotonic())
            self._act(plan)
        finally:
            self._is_deciding = False
        if self._housekeeper is None and self.workers:
            self._housekeeper = asyncio.create_task(self._keep_house(), name="claude-code-housekeeper")

    def _act(self, plan: Plan) -> None:
        for worker in plan.close:
            self._close(worker)
        for waiter, worker in plan.assign:
            self._queue.remove(waiter)
            self._counts["calls"] += 1
            self._counts["binds"] += worker.system is None
            self._counts["characters"] += waiter.call.size
            self._waited_s += time.monotonic() - waiter.since
            turn = worker.start(waiter.call)
            if waiter.turn.done():
                turn.abandon()
            else:
                waiter.turn.set_result(turn)
        for login in plan.boot:
            self._boot(login)

    def _boot(self, login: Login) -> None:
        try:
            worker = self._make_worker(login, settings=self.settings, on_change=self._changed)
        except Exception as error:
            self._fail([waiter for waiter in self._queue if waiter.login == login], error)
        else:
            self._counts["boots"] += 1
            self.workers.append(worker)

    def _changed(self, worker: Worker) -> None:
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            if not watcher.done():
                watcher.set_result(worker.failure if worker.calls == 0 else None)
        if worker.state is State.CLOSED and worker in self.workers:
            self.workers.remove(worker)
            self._close(worker)
            if worker.failure is not None and worker.calls == 0:
                self._boot_failed(worker.login, worker.failure)
        if self._is_deciding:
            asyncio.get_running_loop().call_soon(self._advance)
        else:
            self._advance()

    def _boot_failed(self, login: Login, failure: CallFailed) -> None:
        waiter = next((waiter for waiter in self._queue if waiter.login == login), None)
        if waiter is None:
            return
        waiter.failed_boots += 1
        if waiter.failed_boots >= _ATTEMPTS:
            self._fail([waiter], failure)

    def _fail(self, waiters: list[Waiter], error: Exception) -> None:
        for waiter in waiters:
            self._queue.remove(waiter)
            if not waiter.turn.done():
                waiter.turn.set_exception(error)

    def _close(self, worker: Worker) -> None:
        closing = asyncio.get_running_loop().create_task(worker.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _keep_house(self) -> None:
        """Look after idle workers, for as long as there are any."""
        while self.workers:
            await asyncio.sleep(_HOUSEKEEPING_EVERY_S)
            self._advance()
        self._housekeeper = None
