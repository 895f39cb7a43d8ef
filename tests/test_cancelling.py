"""Abandoned calls on real processes: the request stops, and the worker serves the next caller."""

import asyncio
import contextvars
import gc
import itertools
import json
import os
import random
import signal
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import litellm
import psutil
import pytest

from litellm_claude_code.call import PlainCall
from litellm_claude_code.errors import CallFailed
from litellm_claude_code.install import find_cli
from litellm_claude_code.login import Login
from litellm_claude_code.pool.pool import Pool
from litellm_claude_code.process.worker import State
from litellm_claude_code.settings import Settings
from litellm_claude_code.testing import Answer, Failure, StandIn, Text

from .support.cli_frames import BETWEEN
from .support.processes import claude_processes
from .support.waiting import wait_until_async


def call(stand_in: StandIn, text: str, system: str = "", timeout_s: float = 60) -> PlainCall:
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": 100}
    login = Login(payer="gateway", base_url=stand_in.base_url, secrets=(("ANTHROPIC_API_KEY", str(stand_in.api_key)),))
    return PlainCall(
        model="claude-sonnet-5-5",
        system=system,
        extra_body=json.dumps(body),
        prompt=text,
        timeout_s=timeout_s,
        login=login,
    )


# A `change` for `BETWEEN`: the first process is killed before it gets this control request.
KILLED_ONCE = """if subtype == {step!r}:
        import os
        try:
            with open({killed!r}, "x") as file:
                file.write(f"{{cli.pid}} {{os.getpid()}}")
        except FileExistsError:
            pass
        else:
            cli.kill()
            os.kill(os.getpid(), 9)"""


@pytest.fixture
async def pool(stand_in: StandIn) -> AsyncIterator[Pool]:
    pool = Pool(Settings(max_workers=2))  # few: each takes longer to start than to answer a test's calls
    yield pool
    await pool.aclose()
    assert repr(pool) == "<Pool: no workers of 2; 0 waiting>"


async def text_of(pool: Pool, made: PlainCall) -> str:
    events = [event async for event in pool.events(made)]
    return "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")


def slow(record: Any) -> Answer:
    text = record.body["messages"][0]["content"]
    return (
        Answer(content=[Text(f"{text} " * 400)], between_s=0.02, delay_s=0.01, hang_after=20)
        if "slow" in text
        else Answer(content=[Text(f"answer to {text}")])
    )


async def settled(pool: Pool) -> None:
    """Wait until no worker is busy, resetting or booting."""
    under_way = {"busy", "resetting", "booting"}
    await wait_until_async(lambda: not under_way & pool.stats()["workers"].keys(), pool.stats)


@pytest.mark.parametrize("idle_s", [0, 1.2])
async def test_a_call_cancelled_at_any_moment_leaves_the_worker_usable(
    stand_in: StandIn, pool: Pool, idle_s: float
) -> None:
    stand_in.respond = slow
    await text_of(pool, call(stand_in, "first"))
    for attempt in range(14 if idle_s == 0 else 6):
        await asyncio.sleep(idle_s)
        asking = asyncio.create_task(text_of(pool, call(stand_in, f"slow {attempt}")))
        await asyncio.sleep(attempt * (0.004 if idle_s == 0 else 0.01))
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert asking.cancelled()
        assert await text_of(pool, call(stand_in, f"next {attempt}")) == f"answer to next {attempt}"
    left = [record for record in stand_in.requests if "slow" in str(record.body["messages"])]
    await wait_until_async(lambda: all(record.closed_early for record in left), lambda: left)


async def test_cancelling_on_a_busy_pool_does_not_affect_other_calls(stand_in: StandIn, pool: Pool) -> None:
    stand_in.respond = slow
    dice = random.Random(7)

    async def ask(number: int) -> None:
        if dice.random() < 0.5:
            assert await text_of(pool, call(stand_in, f"plain {number}")) == f"answer to plain {number}"
            return
        asking = asyncio.create_task(text_of(pool, call(stand_in, f"slow {number}", system=f"{number % 3}")))
        await asyncio.sleep(dice.random() * 0.05)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    await asyncio.gather(*(ask(number) for number in range(24)))
    await wait_until_async(lambda: stand_in.in_flight == 0, lambda: stand_in.in_flight)
    await settled(pool)
    for number in range(8):
        assert await text_of(pool, call(stand_in, f"after {number}")) == f"answer to after {number}"


async def test_most_cancelled_workers_are_used_again(stand_in: StandIn, pool: Pool) -> None:
    stand_in.respond = slow
    await text_of(pool, call(stand_in, "first"))
    for attempt in range(10):
        asking = asyncio.create_task(text_of(pool, call(stand_in, f"slow {attempt}")))
        await asyncio.to_thread(stand_in.wait_for, count=attempt + 2, timeout_s=90)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await settled(pool)
    assert pool.stats()["boots"] <= 4


async def test_a_waiting_call_that_is_cancelled_leaves_the_queue(stand_in: StandIn, pool: Pool) -> None:
    held_back = threading.Event()
    stand_in.respond = lambda record: "late" if held_back.wait(60) else Failure(500)
    asking = [asyncio.create_task(text_of(pool, call(stand_in, f"{number}"))) for number in range(4)]
    await asyncio.to_thread(stand_in.wait_for, count=2, timeout_s=90)
    assert pool.stats()["queue"] == 2
    asking[2].cancel()
    await wait_until_async(lambda: pool.stats()["queue"] == 1, pool.stats)
    held_back.set()
    results = await asyncio.gather(*asking, return_exceptions=True)
    assert [result == "late" for result in results] == [True, True, False, True]


async def test_processes_do_not_go_on_booting_for_calls_that_have_left(stand_in: StandIn, pool: Pool) -> None:
    calls = [asyncio.create_task(text_of(pool, call(stand_in, str(number)))) for number in range(100)]
    await wait_until_async(lambda: sum(worker.state is State.BOOTING for worker in pool.workers) > 1)
    booting = list(pool.workers)
    for each in calls:
        each.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    [worker] = pool.workers
    left = [each for each in booting if each is not worker]
    boots = pool.stats()["boots"]
    await wait_until_async(
        lambda: worker.state is State.IDLE and not any(each.pid in claude_processes() for each in left)
    )
    assert (pool.workers, pool.stats()["boots"]) == ([worker], boots)
    assert await text_of(pool, call(stand_in, "the next")) == "You said: the next"
    assert worker.calls == 1


async def test_a_waiting_call_that_times_out_leaves_the_queue(stand_in: StandIn, pool: Pool) -> None:
    held_back = threading.Event()
    stand_in.respond = lambda record: "late" if held_back.wait(60) else Failure(500)
    asking = [asyncio.create_task(text_of(pool, call(stand_in, f"{number}"))) for number in range(2)]
    await asyncio.to_thread(stand_in.wait_for, count=2, timeout_s=90)
    with pytest.raises(Exception, match="no answer within the timeout"):
        await text_of(pool, call(stand_in, "5", timeout_s=0.2))
    assert pool.stats()["queue"] == 0
    held_back.set()
    await asyncio.gather(*asking)


async def test_a_process_that_is_killed_when_idle_is_replaced(stand_in: StandIn, pool: Pool) -> None:
    await text_of(pool, call(stand_in, "first"))
    await settled(pool)
    for worker in list(pool.workers):
        os.kill(worker.pid or 0, signal.SIGKILL)
    assert await text_of(pool, call(stand_in, "second")) == "You said: second"
    assert State.CLOSED not in {worker.state for worker in pool.workers}


@pytest.mark.parametrize("step", ["apply_flag_settings", "get_settings", "initialize"])
async def test_a_process_that_is_killed_while_it_boots_is_replaced_silently(
    stand_in: StandIn, tmp_path: Path, step: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    killed = tmp_path / "killed"
    cli = tmp_path / "claude"
    change = KILLED_ONCE.format(step=step, killed=str(killed))
    cli.write_text(f"#!{sys.executable}\n{BETWEEN.format(cli=str(find_cli()), change=change)}")
    cli.chmod(0o700)
    pool = Pool(Settings(max_workers=1, cli_path=cli, self_check=False))
    assert await text_of(pool, call(stand_in, "first")) == "You said: first"
    assert killed.exists()
    assert (pool.stats()["boots"], len(stand_in.requests)) == (2, 1)
    await pool.aclose()
    await wait_until_async(lambda: not set(map(int, killed.read_text().split())) & set(psutil.pids()))
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("claude-code")]
    gc.collect()  # asyncio reports a task's or a transport's error when it is collected
    assert (capfd.readouterr().err, caplog.records) == ("", [])


async def test_a_process_that_is_killed_in_a_call_fails_that_call_only(stand_in: StandIn, pool: Pool) -> None:
    stand_in.respond = slow
    asking = asyncio.create_task(text_of(pool, call(stand_in, "slow")))
    await asyncio.to_thread(stand_in.wait_for, count=1, timeout_s=90)
    busy = next(worker for worker in pool.workers if worker.state is State.BUSY)
    os.kill(busy.pid or 0, signal.SIGKILL)
    with pytest.raises(Exception, match="the process ended"):
        await asking
    assert len(stand_in.requests) == 1
    assert await text_of(pool, call(stand_in, "next")) == "answer to next"


async def test_a_stream_without_references_stops(stand_in: StandIn) -> None:
    stand_in.respond = slow
    where = {"api_base": stand_in.base_url, "api_key": stand_in.api_key}
    message = [{"role": "user", "content": "slow"}]
    stand_in.respond = lambda record: Answer(content=[Text("word " * 2000)], between_s=0.05)
    stream = litellm.completion("claude_code/sonnet", messages=message, stream=True, **where)
    next(stream)
    del stream
    gc.collect()
    assert await asyncio.to_thread(stand_in.wait_for_disconnect, 0, timeout_s=90)


def test_a_stream_whose_loop_was_closed_stops(stand_in: StandIn) -> None:
    where = {"api_base": stand_in.base_url, "api_key": stand_in.api_key}
    stand_in.respond = lambda record: Answer(content=[Text("word " * 2000)], between_s=0.05)
    kept: list[Any] = []

    async def begin() -> None:
        message = [{"role": "user", "content": "slow"}]
        stream: Any = await litellm.acompletion("claude_code/sonnet", messages=message, stream=True, **where)
        await stream.__anext__()
        kept.append(stream)

    asyncio.run(begin())
    kept.clear()
    gc.collect()
    assert stand_in.wait_for_disconnect(0, timeout_s=90)


@pytest.mark.parametrize("chunks", [1, 1000], ids=["left", "read"])
async def test_a_stream_that_is_collected_as_garbage_sets_no_context_variable(stand_in: StandIn, chunks: int) -> None:
    """Before 3.12, Python crashes if garbage collection sets a context variable while another one is being set."""
    message = [{"role": "user", "content": "Hi"}]
    where = {"api_base": stand_in.base_url, "api_key": stand_in.api_key}
    context = contextvars.Context()
    gc.disable()
    try:
        synchronous: Any = litellm.completion("claude_code/sonnet", messages=message, stream=True, **where)
        asynchronous: Any = await litellm.acompletion("claude_code/sonnet", messages=message, stream=True, **where)
        assert len(list(itertools.islice(synchronous, chunks))) > 0
        for _ in range(chunks):
            if await anext(asynchronous, None) is None:
                break
        garbage: list[Any] = [synchronous, asynchronous]
        garbage.append(garbage)
        kept = [weakref.ref(synchronous), weakref.ref(asynchronous)]
        del synchronous, asynchronous, garbage
        until = time.monotonic() + 30
        while any(stream() is not None for stream in kept):  # litellm's tasks hold them for a moment
            assert time.monotonic() < until
            await asyncio.sleep(0.01)
            context.run(gc.collect)
    finally:
        gc.enable()
    assert dict(context) == {}


async def test_a_pool_may_be_closed_twice_and_takes_no_more_calls(stand_in: StandIn) -> None:
    pool = Pool(Settings(max_workers=2))
    await text_of(pool, call(stand_in, "first"))
    pids = {worker.pid for worker in pool.workers}
    await pool.aclose()
    await pool.aclose()
    assert not pids & set(claude_processes())
    with pytest.raises(CallFailed, match="the pool was closed"):
        await text_of(pool, call(stand_in, "again"))
    assert len(stand_in.requests) == 1


async def test_closing_in_the_middle_of_a_call_fails_it_at_once(stand_in: StandIn) -> None:
    stand_in.respond = lambda record: Answer(content=[Text("late")], delay_s=60)
    pool = Pool(Settings(max_workers=1))
    asking = [asyncio.create_task(text_of(pool, call(stand_in, f"{number}"))) for number in range(2)]
    await asyncio.to_thread(stand_in.wait_for, count=1, timeout_s=90)
    await pool.aclose()
    for task in asking:
        with pytest.raises(Exception, match="was closed"):
            await asyncio.wait_for(task, 30)
