"""The pool's rules hold whatever happens, in any order: a state machine over the pool with scripted workers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from claude_agent_sdk import CLINotFoundError
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from litellm_claude_code.call import PlainCall
from litellm_claude_code.errors import CallFailed, Failure, WorkerLost
from litellm_claude_code.login import Login
from litellm_claude_code.pool.pool import Pool
from litellm_claude_code.pool.schedule import fits
from litellm_claude_code.process.lease import Lease
from litellm_claude_code.process.worker import CallTiming, State
from litellm_claude_code.settings import Settings

SYSTEMS = ("", "A", "B")
LOGINS = (Login(payer="subscription"), Login(payer="gateway", base_url="http://127.0.0.1:1"))


class ScriptedWorker:
    """A worker that does what the test says, through the same states as a real one."""

    def __init__(self, login: Login, *, settings: Settings, on_change: Callable[[Any], None]) -> None:
        self.login, self.system, self.state = login, "", State.BOOTING
        self.calls, self.growth_mib, self.used_at = 0, 0.0, time.monotonic()
        self.failure: CallFailed | None = None
        self.last_timing: CallTiming | None = None
        self.asked_at: float | None = None
        self.lease: Lease | None = None
        self.is_closing_allowed = False
        self._on_change = on_change

    @property
    def is_alive(self) -> bool:
        return self.state is not State.CLOSED

    def start(self, call: PlainCall) -> Lease:
        assert self.state is State.IDLE
        assert call.system or not self.system
        assert self.login == call.login
        self.system, self.state = call.system, State.BUSY
        self.calls += 1
        self.lease = Lease(call, wake=lambda: None)
        return self.lease

    def ask_usage(self, tell: Callable[[dict[str, Any]], None]) -> None:
        assert self.state is State.IDLE
        assert self.login.is_metered
        self.state = State.RESETTING

    def become(self, state: State) -> None:
        self.state = state
        self._on_change(self)

    def fail(self) -> None:
        self.failure = WorkerLost(Failure(kind="lost", text="the process ended"))
        if self.lease is not None:
            self.lease.end(self.failure)
        self.become(State.CLOSED)

    def close(self) -> asyncio.Task[None]:
        if self.is_alive:
            assert self.state is not State.BUSY or self.is_closing_allowed
            if self.lease is not None:
                self.lease.end(CallFailed(Failure(kind="lost", text="the process was closed")))
            self.become(State.CLOSED)
        return asyncio.ensure_future(asyncio.sleep(0))


class PoolMachine(RuleBasedStateMachine):
    leases = Bundle("leases")

    @initialize(
        most=st.integers(1, 5), spares=st.integers(0, 2), calls=st.integers(1, 6), every_s=st.sampled_from([60, 1e-9])
    )
    def begin(self, most: int, spares: int, calls: int, every_s: float) -> None:
        self.loop = asyncio.new_event_loop()
        self.made: list[ScriptedWorker] = []
        given = Settings(
            max_workers=most,
            spare_workers=spares,
            max_calls_per_worker=calls,
            usage_every_s=every_s,
            self_check=False,
        )
        self.pool = self.do(self._pool(given))
        self.asked: dict[asyncio.Task[Any], PlainCall] = {}

    async def _pool(self, given: Settings) -> Pool:
        def make(login: Login, **more: Any) -> Any:
            self.made.append(ScriptedWorker(login, **more))
            return self.made[-1]

        return Pool(given, make_worker=make)

    def do(self, work: Any) -> Any:
        async def and_let_others_run() -> Any:
            result = await work
            for _ in range(6):
                await asyncio.sleep(0)
            return result

        return self.loop.run_until_complete(and_let_others_run())

    def on_the_loop(self, act: Callable[..., None], *arguments: Any) -> None:
        async def acting() -> None:
            act(*arguments)

        self.do(acting())

    async def _read(self, made: PlainCall) -> list[Any]:
        return [event async for event in self.pool.events(made)]

    def _begin(self, login: Login, system: str) -> asyncio.Task[Any]:
        made = PlainCall(model="m", system=system, extra_body="{}", prompt="p", login=login)
        task = asyncio.ensure_future(self._read(made))
        self.asked[task] = made
        return task

    def waiting(self) -> list[PlainCall]:
        """Return the calls that have no worker, which are those in the pool's queue."""
        served = {
            id(worker.lease.call) for worker in self.made if worker.lease is not None and not worker.lease.is_over
        }
        return [call for task, call in self.asked.items() if not task.done() and id(call) not in served]

    def workers(self, *states: State) -> list[ScriptedWorker]:
        return [worker for worker in self.made if worker.state in states]

    @rule(target=leases, login=st.sampled_from(LOGINS), system=st.sampled_from(SYSTEMS))
    def ask(self, login: Login, system: str) -> Any:
        async def begin() -> asyncio.Task[Any]:
            return self._begin(login, system)

        return self.do(begin())

    @rule(
        asked=st.lists(st.tuples(st.sampled_from(LOGINS), st.sampled_from(SYSTEMS)), min_size=2, max_size=6),
    )
    def ask_at_once(self, asked: list[tuple[Login, str]]) -> None:
        async def begin() -> None:
            for login, system in asked:
                self._begin(login, system)

        self.do(begin())

    @rule(task=consumes(leases))
    def cancel(self, task: asyncio.Task[Any]) -> None:
        before = self.waiting()
        task.cancel()
        self.do(asyncio.sleep(0))
        still = self.waiting()
        for left in (call for call in before if not any(call is each for each in still)):
            needed = sum(call.login == left.login for call in still) + self.pool.settings.spare_workers
            booting = [worker for worker in self.workers(State.BOOTING) if worker.login == left.login]
            assert len(booting) <= max(1, needed)

    def _pick(self, data: Any, *states: State) -> ScriptedWorker | None:
        choice = self.workers(*states)
        return data.draw(st.sampled_from(choice)) if choice else None

    @rule(data=st.data())
    def boot_ends(self, data: Any) -> None:
        if worker := self._pick(data, State.BOOTING):
            self.on_the_loop(worker.become, State.IDLE)

    @rule(data=st.data())
    def call_ends(self, data: Any) -> None:
        worker = self._pick(data, State.BUSY)
        if worker and worker.lease is not None:
            worker.lease.is_sent = True
            self.on_the_loop(worker.lease.end)
            self.on_the_loop(worker.become, State.RESETTING)

    @rule(data=st.data(), api_s=st.sampled_from([0.0, 0.1, 10.0]))
    def reset_ends(self, data: Any, api_s: float) -> None:
        if worker := self._pick(data, State.RESETTING):
            worker.last_timing = CallTiming(api_s=api_s, own_s=0.1)
            self.on_the_loop(worker.become, State.IDLE)

    @rule(data=st.data(), is_sent=st.booleans())
    def process_dies(self, data: Any, is_sent: bool) -> None:
        if worker := self._pick(data, *(state for state in State if state is not State.CLOSED)):
            if worker.lease is not None:
                worker.lease.is_sent = is_sent
            self.on_the_loop(worker.fail)

    @rule(data=st.data())
    def process_grows(self, data: Any) -> None:
        if worker := self._pick(data, State.IDLE):
            worker.growth_mib = 10_000
            self.on_the_loop(worker.become, State.IDLE)

    @rule(data=st.data())
    def time_passes(self, data: Any) -> None:
        if worker := self._pick(data, State.IDLE):
            worker.used_at = -1e9
            self.on_the_loop(worker.become, worker.state)

    @rule()
    def close(self) -> None:
        for worker in self.made:
            worker.is_closing_allowed = True
        self.do(self.pool.aclose())
        assert not self.workers(*(state for state in State if state is not State.CLOSED))
        assert all(task.done() for task in self.asked)
        self.pool = self.do(self._pool(self.pool.settings))
        self.made.clear()

    @invariant()
    def never_more_than_the_limit(self) -> None:
        live = [worker for worker in self.made if worker.is_alive]
        assert len(live) <= self.pool.settings.max_workers
        assert set(map(id, live)) == set(map(id, self.pool.workers))

    @invariant()
    def nobody_waits_while_a_fitting_worker_is_idle(self) -> None:
        for call in self.waiting():
            for worker in self.workers(State.IDLE):
                assert not fits(worker, call.login, call.system)

    @invariant()
    def whoever_waits_has_something_to_wait_for(self) -> None:
        if self.pool.stats()["queue"]:
            assert self.workers(State.BOOTING, State.BUSY, State.RESETTING)

    @invariant()
    def every_busy_worker_has_one_turn_of_its_own(self) -> None:
        leases = [id(worker.lease) for worker in self.workers(State.BUSY)]
        assert len(leases) == len(set(leases))

    @invariant()
    def calls_are_neither_lost_nor_served_twice(self) -> None:
        open_calls = sum(not task.done() for task in self.asked)
        served = sum(worker.lease is not None and not worker.lease.is_over for worker in self.workers(State.BUSY))
        abandoned = sum(
            worker.lease is not None and worker.lease.is_abandoned and not worker.lease.is_over
            for worker in self.workers(State.BUSY)
        )
        assert open_calls == self.pool.stats()["queue"] + served - abandoned
        assert len(self.waiting()) == self.pool.stats()["queue"]

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        for worker in self.made:
            worker.is_closing_allowed = True
        self.do(self.pool.aclose())
        for task in self.asked:
            task.cancel()
        self.do(self._all_asked())
        self.loop.close()

    async def _all_asked(self) -> None:
        await asyncio.gather(*self.asked, return_exceptions=True)


PoolMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
test_the_pools_rules_hold = PoolMachine.TestCase


async def test_without_a_cli_a_call_and_a_warm_up_say_how_to_get_one() -> None:
    def make(login: Login, **more: Any) -> Any:
        raise CLINotFoundError

    pool = Pool(Settings(self_check=False), make_worker=make)
    with pytest.raises(CallFailed, match="pip install"):
        await anext(pool.events(PlainCall(model="m", system="", extra_body="{}", prompt="p", login=LOGINS[0])))
    with pytest.raises(CallFailed, match="pip install"):
        await pool.warm_up(LOGINS[0], system=None, n=1)


async def test_a_warm_up_fails_with_its_own_process_only_and_a_closed_pool_takes_no_agent() -> None:
    made: list[ScriptedWorker] = []

    def make(login: Login, **more: Any) -> Any:
        made.append(ScriptedWorker(login, **more))
        return made[-1]

    pool = Pool(Settings(max_workers=2, self_check=False), make_worker=make)
    first, second = (asyncio.ensure_future(pool.warm_up(login, system=None, n=1)) for login in LOGINS)
    await asyncio.sleep(0)
    made[0].fail()
    with pytest.raises(CallFailed, match="the process ended"):
        await first
    made[1].become(State.IDLE)
    await second
    await pool.aclose()
    with pytest.raises(CallFailed, match="closed"):
        await pool.agent_slots.reserve().__aenter__()
