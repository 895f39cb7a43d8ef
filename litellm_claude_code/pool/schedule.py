"""Decide which worker serves which call, which processes to boot and which to close. No I/O.

`pool.py` calls `decide` whenever something changes, and carries out the plan.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

from ..login import Login
from ..process.worker import State
from ..settings import Settings, cores

_PATIENCE_S: Final = 0.1
"""If a call would wait longer, boot a process: that costs 0.4 CPU-seconds, and the process serves hundreds of calls."""
_BOOTS_WITHIN_S: Final = 2.0
"""How long a boot counts as keeping a core busy. One that takes longer is waiting for something else."""
_FORGETTING: Final = 0.1
"""The weight of the latest value in a running average."""
_MAKE_ROOM_AFTER_S: Final = 2.0
"""An idle worker that was unused for this long may be closed to make room for a missing spare."""


class CallTimings:
    """Running averages of how long calls take. Only calls that were answered count."""

    def __init__(self) -> None:
        self._api_s: float | None = None
        self._own_s = 0.0

    def note(self, *, api_s: float, own_s: float) -> None:
        """Add a call to the averages: `api_s` is its wait for the API, `own_s` all other time it held its worker."""
        if self._api_s is None:
            self._api_s, self._own_s = api_s, own_s
        self._api_s += _FORGETTING * (api_s - self._api_s)
        self._own_s += _FORGETTING * (own_s - self._own_s)

    @property
    def call_s(self) -> float:
        """Return how many seconds a call holds a worker; 1.0 before any call was answered."""
        return 1.0 if self._api_s is None else self._api_s + self._own_s

    def useful_workers(self, waits_s: Sequence[float]) -> float:
        """Return how many workers keep the machine's cores busy. More would only compete for them.

        Measured on two cores with an API that responds at once: 40 calls a second on two workers, 25 on nine, because
        each process compiles its own code. `waits_s` are the waits so far of the calls in flight: if the API has become
        slower, their mean exceeds the average of past calls.
        """
        if self._api_s is None or not self._own_s:
            return math.inf
        api_s = max(self._api_s, sum(waits_s) / len(waits_s)) if waits_s else self._api_s
        return cores() * (1 + api_s / self._own_s)


class WorkerView(Protocol):
    """The attributes of a worker that the decision uses."""

    state: State
    login: Login
    system: str
    calls: int
    growth_mib: float
    used_at: float

    @property
    def asked_at(self) -> float | None: ...


S = TypeVar("S", bound=WorkerView)


class WaitingCall(Protocol):
    """The attributes of a waiting call that the decision uses."""

    @property
    def login(self) -> Login: ...
    @property
    def system(self) -> str: ...
    @property
    def since(self) -> float: ...


@dataclass(kw_only=True)
class Plan:
    """What to do now: (call, worker) pairs to assign, logins to boot a process for, and workers to close."""

    assign: list[tuple[Any, Any]] = field(default_factory=list)
    boot: list[Login] = field(default_factory=list)
    close: list[Any] = field(default_factory=list)


def fits(worker: WorkerView, login: Login, system: str) -> bool:
    """Return whether a worker can serve such a call, now or later.

    A worker that once had a system prompt cannot serve a call without one: the CLI cannot remove it.
    """
    return worker.login == login and (bool(system) or not worker.system)


def decide(
    workers: Sequence[WorkerView],
    queue: Sequence[WaitingCall],
    *,
    settings: Settings,
    now: float,
    timings: CallTimings,
    others: int = 0,
) -> Plan:
    """Return what to do for the waiting calls, in order of arrival.

    A call takes an idle worker. If there is none, it waits for a worker that is being reset or booted and is not yet
    expected by an earlier call. Otherwise boot a process, evicting an idle one that cannot serve the call, unless a
    running call should finish within `_PATIENCE_S`. When no call lacks a worker, boot missing spares.

    A boot keeps a core busy, so there are never more boots at once than cores, nor more workers than keep the cores
    busy. A call that no worker fits may boot one beyond the latter. `others` is the number of agents: each has a
    process that is not a worker.
    """
    plan = Plan()
    plan.close += [worker for worker in workers if _is_worn(worker, settings=settings, now=now)]
    live = [worker for worker in workers if worker.state is not State.CLOSED and worker not in plan.close]
    idle = [worker for worker in live if worker.state is State.IDLE]
    coming = [worker for state in (State.RESETTING, State.BOOTING) for worker in live if worker.state is state]
    room = settings.max_workers - others - len(live)
    free_cores = cores() - sum(
        worker.state is State.BOOTING and now - worker.used_at < _BOOTS_WITHIN_S for worker in live
    )
    useful = timings.useful_workers([now - worker.asked_at for worker in live if worker.asked_at is not None])
    waiting: Counter[tuple[Login, bool]] = Counter()
    is_short = False

    for call in queue:
        if (chosen := _best(idle, call)) is not None:
            idle.remove(chosen)
            plan.assign.append((call, chosen))
            continue
        is_short = True
        if (soon := next((worker for worker in coming if fits(worker, call.login, call.system)), None)) is not None:
            coming.remove(soon)
            continue
        kind = (call.login, bool(call.system))
        serving = sum(fits(worker, call.login, call.system) for worker in live) + plan.boot.count(call.login)
        wait_s = (waiting[kind] // serving + 0.5) * timings.call_s if serving else math.inf
        working = len(live) - len(idle) + len(plan.boot)
        is_of_use = free_cores > len(plan.boot) and (not serving or working < useful)
        if is_of_use and max(wait_s, now - call.since) > _PATIENCE_S:
            room += _make_room(plan, idle) if room <= 0 else 0
            if room > 0:
                plan.boot.append(call.login)
                room -= 1
                continue
        waiting[kind] += 1

    if not is_short and free_cores > 0 and len(live) - len(idle) < useful:
        _keep_spares(plan, live, idle, coming, room=room, spares=settings.spare_workers, now=now)
    return plan


def unneeded_boots(workers: Sequence[S], queue: Sequence[WaitingCall], *, login: Login, spares: int) -> list[S]:
    """Return the booting workers of a login to close after a call has left the queue without a response.

    A worker stays if a waiting call can use it, or if it is one of the `spares`. The login's only worker stays, too:
    otherwise each call with a timeout shorter than a boot would start a process, and no call would ever get one.
    """
    live = [worker for worker in workers if worker.login == login and worker.state is not State.CLOSED]
    order = (State.IDLE, State.RESETTING, State.BOOTING)
    free = [worker for state in order for worker in live if worker.state is state]
    for call in queue:
        usable = next((worker for worker in free if fits(worker, call.login, call.system)), None)
        if usable is not None:
            free.remove(usable)
    latest_first = sorted(
        (worker for worker in free if worker.state is State.BOOTING), key=lambda worker: worker.used_at, reverse=True
    )
    return latest_first[: max(0, min(len(free) - spares, len(live) - 1))]


def _best(idle: Sequence[WorkerView], call: WaitingCall) -> WorkerView | None:
    """Return the idle worker to use: preferably one with the same system prompt, then one with any, then the latest.

    A worker without a system prompt is taken last: only such a worker can serve calls without one.
    """
    fitting = [worker for worker in idle if fits(worker, call.login, call.system)]
    return max(
        fitting, key=lambda worker: (worker.system == call.system, bool(worker.system), worker.used_at), default=None
    )


def _make_room(plan: Plan, idle: list[WorkerView], *, unused_since: float = math.inf) -> int:
    """Plan to close the least useful idle worker, and return how many places that frees (0 or 1).

    That is the longest unused one of the login with the most idle workers. Only workers last used before `unused_since`
    count.
    """
    crowd = Counter(worker.login for worker in idle)
    stale = [worker for worker in idle if worker.used_at < unused_since]
    if not stale:
        return 0
    chosen = max(stale, key=lambda worker: (crowd[worker.login], -worker.used_at))
    idle.remove(chosen)
    plan.close.append(chosen)
    return 1


def _is_worn(worker: WorkerView, *, settings: Settings, now: float) -> bool:
    if worker.state is not State.IDLE:
        return False
    has_served_long = (
        worker.calls >= settings.max_calls_per_worker or worker.growth_mib > settings.max_worker_growth_mib
    )
    return has_served_long or now - worker.used_at > settings.idle_timeout_s


def _keep_spares(
    plan: Plan,
    live: Sequence[WorkerView],
    idle: list[WorkerView],
    coming: list[WorkerView],
    *,
    room: int,
    spares: int,
    now: float,
) -> None:
    """Plan boots until each login in use has `spares` workers that are idle, resetting or booting.

    If there is no room, an idle worker that was unused for `_MAKE_ROOM_AFTER_S` is closed.
    """
    taken = [worker for _, worker in plan.assign]
    for login in {worker.login for worker in live if worker.state is State.BUSY or worker in taken}:
        free = sum(worker.login == login for worker in (*idle, *coming))
        for _ in range(spares - free):
            room += _make_room(plan, idle, unused_since=now - _MAKE_ROOM_AFTER_S) if room <= 0 else 0
            if room <= 0:
                return
            plan.boot.append(login)
            room -= 1
