"""Which worker serves which call.

The decision (`decide`) is a synchronous function of what there is, and returns what to start and what to close; `Pool`
carries it out. Everything here runs on the background loop's thread, so that nothing needs a lock.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

import anyio
import psutil

from .auth import Login
from .call import ApiEvent, Call
from .errors import CallFailed, Failure, WorkerLost, timed_out
from .settings import Settings
from .worker import State, Turn, Worker

_ATTEMPTS: Final = 3
_FORGETTING: Final = 0.1
"""How much of a running average the latest value makes."""
_HOUSEKEEPING_EVERY_S: Final = 1.0
_PATIENCE_S: Final = 0.1
"""A spare, whose replacement costs 0.4 CPU-seconds, is not spent to save a shorter wait than this."""
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


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast things go here, in seconds: running averages."""

    call_s: float = 1.0
    boot_s: float = 0.5
    cores: int = 2

    def booted_in_s(self, booting: int) -> float:
        """Return when a process would be ready that is started now, besides those that boot already."""
        return self.boot_s * (1 + booting / self.cores)


def decide(
    seats: Sequence[Seat], queue: Sequence[Demand], *, settings: Settings, now: float, pace: Pace, spares: int
) -> Plan:
    """Return what to do with the workers there are, for the calls that wait, in order of arrival.

    A call takes an idle worker of its system prompt. Else it waits for one being reset, if its prompt has two workers
    already: a caller who asks again at once has one to use while the other is reset. Else it takes a spare; else it
    waits for whichever is sooner, a worker of its prompt or a new process, for which an idle one makes room. Where
    nobody lacks a process, spares are booted, up to `spares`.
    """
    plan = Plan()
    plan.close += [seat for seat in seats if _is_worn(seat, settings=settings, now=now)]
    live = [seat for seat in seats if seat.state is not State.CLOSED and seat not in plan.close]
    free = [seat for seat in live if seat.state in (State.IDLE, State.SPARE)]
    resetting = [seat for seat in live if seat.state is State.RESETTING]
    booting = [seat for seat in live if seat.state is State.BOOTING]
    room = settings.max_workers - len(live)
    waiting: Counter[tuple[Login, str]] = Counter()
    serving = Counter((seat.login, seat.system) for seat in live if seat.system is not None)
    is_short = False

    for call in queue:
        key = (call.login, call.system)
        idle = _latest(s for s in free if s.state is State.IDLE and _fits(s, call))
        if idle is not None:
            free.remove(idle)
            plan.assign.append((call, idle))
            continue
        soon = next((seat for seat in resetting if _fits(seat, call)), None)
        if soon is not None and serving[key] >= 2:
            resetting.remove(soon)
            continue
        wait_s = (waiting[key] // serving[key] + 0.5) * pace.call_s if serving[key] else math.inf
        spare = _latest(s for s in free if s.state is State.SPARE and s.login == call.login)
        if spare is not None and wait_s > _PATIENCE_S:
            free.remove(spare)
            plan.assign.append((call, spare))
            serving[key] += 1
            continue
        waiting[key] += 1
        is_short = is_short or wait_s > _PATIENCE_S
        if soon is not None:
            resetting.remove(soon)
        elif on_its_way := next((seat for seat in booting if seat.login == call.login), None):
            booting.remove(on_its_way)
            serving[key] += 1
        elif wait_s > pace.booted_in_s(len(plan.boot)):
            room += _make_room(plan, free) if room <= 0 else 0
            if room > 0:
                plan.boot.append(call.login)
                serving[key] += 1
                room -= 1

    if not is_short:
        _keep_spares(plan, live, free, room=room, spares=spares, now=now)
    return plan


def _latest(seats: Iterable[Seat]) -> Seat | None:
    return max(seats, key=lambda seat: seat.used_at, default=None)


def _make_room(plan: Plan, free: list[Seat], *, unused_since: float = math.inf) -> int:
    """Close the free worker that is missed least, if there is one; return how many places that makes.

    It is the longest unused of the prompt that has the most of them: a prompt's only worker stays.
    """
    crowd = Counter((seat.login, seat.system) for seat in free)
    stale = [seat for seat in free if seat.used_at < unused_since]
    if not stale:
        return 0
    chosen = max(stale, key=lambda seat: (crowd[(seat.login, seat.system)], -seat.used_at))
    free.remove(chosen)
    plan.close.append(chosen)
    return 1


def _fits(seat: Seat, call: Demand) -> bool:
    return seat.login == call.login and seat.system in (None, call.system)


def _is_worn(seat: Seat, *, settings: Settings, now: float) -> bool:
    has_served_long = seat.calls >= settings.max_calls_per_worker or seat.growth_mib > settings.max_worker_growth_mib
    if seat.state is State.IDLE and has_served_long:
        return True
    return seat.state in (State.IDLE, State.SPARE) and now - seat.used_at > settings.idle_timeout_s


def _keep_spares(plan: Plan, live: Sequence[Seat], free: list[Seat], *, room: int, spares: int, now: float) -> None:
    """Have as many spares as are wanted, of each login in use; a worker unused for a while makes room for one."""
    taken = [seat for _, seat in plan.assign]
    in_use = {s.login for s in live if s.state is not State.SPARE or s in taken}
    for login in in_use:
        unbound = [s for s in live if s.login == login and s.state in (State.BOOTING, State.SPARE) and s not in taken]
        bound_and_free = [s for s in free if s.state is State.IDLE]
        for _ in range(spares - len(unbound)):
            room += _make_room(plan, bound_and_free, unused_since=now - _MAKE_ROOM_AFTER_S) if room <= 0 else 0
            if room <= 0:
                return
            plan.boot.append(login)
            room -= 1


def _average(so_far: float, latest: float) -> float:
    return so_far + _FORGETTING * (latest - so_far)


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
        self._pace = Pace(cores=psutil.cpu_count() or 1)
        self._shortage = 0
        self._boots: dict[Worker, tuple[float, float]] = {}
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
            started = time.monotonic()
            try:
                async for event in turn:
                    yield event
                took_s = time.monotonic() - started
                self._pace = replace(self._pace, call_s=_average(self._pace.call_s, took_s))
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
        for worker in list(self.workers):
            self._close(worker)
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
            plan = decide(
                self.workers,
                self._queue,
                settings=self.settings,
                now=time.monotonic(),
                pace=self._pace,
                spares=self._spares_wanted(),
            )
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
        if self._queue:
            self._shortage = max(self._shortage, len(plan.boot))

    def _spares_wanted(self) -> int:
        """Return as many spares as the last change of prompts was short of, within half of all workers."""
        return max(self.settings.spare_workers, min(self._shortage, self.settings.max_workers // 2))

    def _boot(self, login: Login) -> None:
        try:
            worker = self._make_worker(login, settings=self.settings, on_change=self._changed)
        except Exception as error:
            self._fail([waiter for waiter in self._queue if waiter.login == login], error)
        else:
            self._counts["boots"] += 1
            others = sum(other.state is State.BOOTING for other in self.workers)
            self._boots[worker] = (time.monotonic(), 1 + others / self._pace.cores)
            self.workers.append(worker)

    def _changed(self, worker: Worker) -> None:
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            if not watcher.done():
                watcher.set_result(worker.failure if worker.calls == 0 else None)
        boot = self._boots.pop(worker, None)
        if boot is not None and worker.state is State.SPARE:
            started, crowding = boot
            alone_s = (time.monotonic() - started) / crowding
            self._pace = replace(self._pace, boot_s=_average(self._pace.boot_s, alone_s))
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
        closing = worker.close()
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _keep_house(self) -> None:
        """Look after idle workers, for as long as there are any."""
        while self.workers:
            await asyncio.sleep(_HOUSEKEEPING_EVERY_S)
            self._advance()
        self._housekeeper = None
