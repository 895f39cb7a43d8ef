"""DSPy's optimizers, whole, on the real CLI: they run, halt at once, and resume."""

from __future__ import annotations

import itertools
import logging
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tqdm import tqdm

pytest.importorskip("dspy")

import dspy

import litellm_claude_code
from dspy_adapter import Budget, ClaudeCodeLM, RunHalted, track_run
from litellm_claude_code.testing import Failure, RecordedRequest, StandIn

from .support.dspy_runs import CHOOSE, OPTIMIZERS, THREADS, Router, creative, gepa, is_right, quiet, simba
from .support.limits import limited

BEFORE_THE_LIMIT, BUDGETED = 6, 16
BUDGET = Budget("test_optimizers", max_calls=BUDGETED)

Optimize = Callable[[Any, Any], Any]
optimizers = pytest.mark.parametrize("optimize", OPTIMIZERS, ids=lambda optimize: optimize.__name__)


class NoLock:
    """A lock of tqdm's that Ctrl-C cannot leave held for ever, as it can the real one."""

    def acquire(self, *_: object, **__: object) -> bool:
        return True

    def release(self) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


@pytest.fixture(autouse=True)
def _fresh_dspy() -> Iterator[None]:
    """A cache of this test's own, and no lines from each of a thousand calls."""
    bars: Any = tqdm
    lock = bars.get_lock()
    bars.set_lock(NoLock())
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    logging.getLogger("dspy").setLevel(logging.CRITICAL)
    BUDGET.reset()
    yield
    tqdm.set_lock(lock)
    logging.getLogger("dspy").setLevel(logging.INFO)


@pytest.fixture(scope="module")
def any_key(one_stand_in: StandIn) -> Iterator[StandIn]:
    """A stand-in that takes any key: with a key of its own a test meets no limit of another, and no pool is closed."""
    with StandIn(api_key=None) as stand_in:
        yield stand_in
        litellm_claude_code.close()


@pytest.fixture
def stand_in(any_key: StandIn) -> StandIn:
    any_key.reset()
    any_key.respond = creative
    return any_key


@pytest.fixture
def reach(stand_in: StandIn) -> dict[str, Any]:
    """A gateway, which all tests share, so that its processes stay warm."""
    return {"api_base": stand_in.base_url, "api_key": stand_in.api_key}


@pytest.fixture
def reach_by_login(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A subscription, whose login only this test has."""
    monkeypatch.setenv("CLAUDE_CODE_OAUTH_TOKEN", secrets.token_hex())
    monkeypatch.setenv("LITELLM_CLAUDE_CODE_SEND_LOGIN_TO", stand_in.base_url)
    return {"api_base": stand_in.base_url}


def run(optimize: Optimize, reach: dict[str, Any], **more: Any) -> Any:
    """Optimize with a model for the task and another for prompts, as DSPy's users configure them."""
    task, prompt = ClaudeCodeLM("haiku", **reach, **more), ClaudeCodeLM("opus", **reach, **more)
    with dspy.context(lm=task):
        return optimize(task, prompt)


def interrupted_at(count: int) -> Callable[[RecordedRequest], Any]:
    """Answer every request, and press Ctrl-C at one of them."""
    seen = itertools.count(1)

    def answer(request: RecordedRequest) -> str:
        if next(seen) == count:
            os.kill(os.getpid(), signal.SIGINT)
        return creative(request)

    return answer


def after(count: int, what: Callable[[], Any]) -> Callable[[RecordedRequest], Any]:
    """Answer so many requests, and all others with `what`."""
    answered = iter(range(count))
    return lambda request: what() if next(answered, None) is None else creative(request)


@optimizers
def test_a_run_that_is_halted_goes_on_where_it_was(
    stand_in: StandIn, reach: dict[str, Any], reach_by_login: dict[str, Any], optimize: Optimize
) -> None:
    stand_in.respond = lambda _: Failure(401)
    with pytest.raises(RunHalted, match="Make a new one: `litellm-claude-code claude setup-token`") as halted:
        run(optimize, reach_by_login)
    assert halted.value.reason == "login"
    dead = quiet(stand_in)

    stand_in.respond = after(BEFORE_THE_LIMIT, lambda: limited(3_600))
    with pytest.raises(RunHalted, match="5-hour limit") as halted, track_run() as first:
        run(optimize, reach_by_login)
    assert halted.value.reason == "limit"
    assert halted.value.resets_at is not None
    assert 3_000 < halted.value.resets_at - time.time() < 3_700
    limit = quiet(stand_in)
    assert limit - dead <= BEFORE_THE_LIMIT + THREADS  # those in flight
    answered = first.summary().calls - first.summary().failed

    # The gateway has no limit, as the subscription has none after its reset.
    stand_in.respond = creative
    with pytest.raises(RunHalted, match=f"{BUDGETED} calls") as halted, track_run() as second:
        run(optimize, reach, budget=BUDGET)
    assert halted.value.reason == "budget"
    assert quiet(stand_in) - limit == BUDGET.spent.calls == BUDGETED
    assert second.summary().cached >= answered * 0.9
    # By now each optimizer has scored a program on all examples, but for SIMBA, which scores on batches only.
    best = halted.value.best
    assert isinstance(best, Router if optimize is not simba else type(None))

    stand_in.respond = interrupted_at(1)
    with pytest.raises(KeyboardInterrupt):
        run(optimize, reach)
    quiet(stand_in)

    stand_in.respond = creative
    with track_run() as last:
        program = run(optimize, reach)
    assert last.summary().cached >= (BEFORE_THE_LIMIT + BUDGETED) * 0.9
    assert last.summary().failed == 0
    with dspy.context(lm=ClaudeCodeLM("haiku", **reach)):
        score = dspy.Evaluate(devset=CHOOSE, metric=is_right, num_threads=THREADS, display_progress=False)
        assert score(program).score >= score(best or Router()).score


def test_gepa_returns_its_best_program_when_its_budget_may_not_last(stand_in: StandIn, reach: dict[str, Any]) -> None:
    budget = Budget(BUDGET.name, max_calls=24)
    task, prompt = (ClaudeCodeLM(name, budget=budget, **reach) for name in ("haiku", "opus"))
    with track_run() as run, dspy.context(lm=task):
        program = gepa(task, prompt, gepa_kwargs={"stop_callbacks": [budget.stopper()]})
    assert isinstance(program, Router)
    assert run.summary().failed == 0
    scoring = 2 * len(CHOOSE)
    assert scoring < len(stand_in.requests) == budget.spent.calls <= 24


def test_gepa_goes_on_from_its_log_dir_without_dspys_cache(
    stand_in: StandIn, reach: dict[str, Any], tmp_path: Path
) -> None:
    def optimize(max_calls: int) -> Any:
        budget = Budget(BUDGET.name, max_calls=max_calls)
        task, prompt = (ClaudeCodeLM(name, budget=budget, cache=False, **reach) for name in ("haiku", "opus"))
        with track_run(), dspy.context(lm=task):
            return gepa(task, prompt, log_dir=str(tmp_path))

    with pytest.raises(RunHalted) as halted:
        optimize(30)
    assert halted.value.best is not None
    quiet(stand_in)
    BUDGET.reset()
    assert isinstance(optimize(1_000), Router)
    finished = quiet(stand_in)
    optimize(1_000)
    assert quiet(stand_in) - finished == 2 * len(CHOOSE)  # the program given is scored again; it was finished
