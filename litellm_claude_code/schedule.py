"""Which worker serves which call, what to boot and what to close: a decision without I/O, made of what there is.

`pool.py` asks for it whenever something changes, and carries it out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from .auth import Login
from .settings import Settings
from .worker import State

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
    @property
    def since(self) -> float: ...


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
    seats: Sequence[Seat],
    queue: Sequence[Demand],
    *,
    settings: Settings,
    now: float,
    pace: Pace,
    spares: int,
    others: int = 0,
) -> Plan:
    """Return what to do with the workers there are, for the calls that wait, in order of arrival.

    A call takes an idle worker of its system prompt. Else it waits for one being reset, if its prompt has two workers
    already: a caller who asks again at once has one to use while the other is reset. Else it takes a spare; else it
    waits for whichever is sooner, a worker of its prompt or a new process, for which an idle one makes room (a wait
    that turns out longer than a boot was misjudged). Where nobody lacks a process, spares are booted, up to `spares`.
    `others` are processes that are no seats: an agent's each.
    """
    plan = Plan()
    plan.close += [seat for seat in seats if _is_worn(seat, settings=settings, now=now)]
    live = [seat for seat in seats if seat.state is not State.CLOSED and seat not in plan.close]
    free = [seat for seat in live if seat.state in (State.IDLE, State.SPARE)]
    resetting = [seat for seat in live if seat.state is State.RESETTING]
    booting = [seat for seat in live if seat.state is State.BOOTING]
    room = settings.max_workers - others - len(live)
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
        elif max(wait_s, now - call.since) > pace.booted_in_s(len(plan.boot)):
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
