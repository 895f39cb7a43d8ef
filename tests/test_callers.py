"""Callers of every kind (threads, event loops, notebooks) get their own answers and no others."""

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import litellm
import pytest

import litellm_claude_code
from litellm_claude_code.observer import Observer, observed_by
from litellm_claude_code.provider import ClaudeCodeProvider
from litellm_claude_code.settings import Settings
from litellm_claude_code.testing import Answer, StandIn, Text, answer

from .support.requests import user
from .support.waiting import wait_until


def request(stand_in: StandIn, text: str, **more: Any) -> dict[str, Any]:
    where = {"api_base": stand_in.base_url, "api_key": stand_in.api_key}
    return {"model": "claude_code/sonnet", "messages": [user(text)], **where, **more}


def text_of(response: Any) -> str:
    return str(response.choices[0].message.content)


def test_many_threads_each_get_their_own_answer(stand_in: StandIn) -> None:
    def ask(number: int) -> bool:
        system = {"role": "system", "content": f"You are number {number % 3}."}
        messages = [system, user(f"I am {number}")]
        if number % 2:
            chunks = litellm.completion(**{**request(stand_in, ""), "messages": messages}, stream=True)
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        else:
            text = text_of(litellm.completion(**{**request(stand_in, ""), "messages": messages}))
        return text == f"You said: I am {number}"

    with ThreadPoolExecutor(5) as threads:
        assert all(threads.map(ask, range(24)))
    seen = [record.body for record in stand_in.requests]
    assert len(seen) == 24
    for body in seen:
        number = int(body["messages"][0]["content"][0]["text"].removeprefix("I am "))
        assert body["system"][2]["text"] == f"You are number {number % 3}."
        assert len(body["messages"]) == 1


async def test_a_sync_call_works_while_an_event_loop_runs(stand_in: StandIn) -> None:
    assert text_of(litellm.completion(**request(stand_in, "cell"))) == "You said: cell"
    chunks = litellm.completion(**request(stand_in, "cell"), stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "You said: cell"


async def test_async_calls_run_at_the_same_time_and_do_not_block_the_loop(stand_in: StandIn) -> None:
    four_ask = asyncio.Event()

    async def answer_when_four_ask(record: Any) -> Answer:
        if len(stand_in.requests) == 4:
            four_ask.set()
        await asyncio.wait_for(four_ask.wait(), 60)
        return answer(Text(str(record.body["messages"][0]["content"][0]["text"])), delay_s=0.5)

    stand_in.respond = answer_when_four_ask
    where = {"api_base": stand_in.base_url, "api_key": stand_in.api_key}
    await litellm_claude_code.provider.awarm_up("sonnet", "", n=4, **where)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    responses = await asyncio.gather(*(litellm.acompletion(**request(stand_in, f"{n}")) for n in range(4)))
    ticking.cancel()
    assert [text_of(response) for response in responses] == ["0", "1", "2", "3"]
    assert stand_in.max_in_flight == 4
    assert ticks > 5


async def test_an_async_stream_delivers_each_delta_as_it_comes(stand_in: StandIn) -> None:
    stand_in.script(Answer(content=[Text("one two three four")], chunk_chars=4, between_s=0.15))
    seen_before_end, text = 0, ""
    async for chunk in await litellm.acompletion(**request(stand_in, "count"), stream=True):
        text += chunk.choices[0].delta.content or ""
        seen_before_end += bool(chunk.choices[0].delta.content) and not stand_in.requests[0].is_finished
    assert text == "one two three four"
    assert seen_before_end >= 3


def test_several_loops_one_after_the_other_share_the_workers(stand_in: StandIn) -> None:
    for number in range(3):
        assert text_of(asyncio.run(litellm.acompletion(**request(stand_in, f"{number}")))) == f"You said: {number}"


@pytest.mark.parametrize("stream", [False, True])
def test_a_timeout_is_litellms_and_stops_the_request(stand_in: StandIn, stream: bool) -> None:
    litellm.completion(**request(stand_in, "warm up"))
    stand_in.script(Answer(content=[Text("late")], delay_s=60))
    with pytest.raises(Exception, match="no answer within the timeout") as raised:
        list(litellm.completion(**request(stand_in, "hang"), timeout=2, stream=stream, max_retries=0))
    error = getattr(raised.value, "original_exception", None) or raised.value
    assert isinstance(error, litellm.Timeout)
    assert stand_in.wait_for_disconnect(1, timeout_s=90)
    assert text_of(litellm.completion(**request(stand_in, "next"))) == "You said: next"


def test_a_stream_that_stalls_is_a_timeout_too(stand_in: StandIn) -> None:
    litellm.completion(**request(stand_in, "warm up"))
    stand_in.script(Answer(content=[Text("one two three four five six seven")], hang_after=5, chunk_chars=4))
    with pytest.raises(Exception, match="no answer within the timeout") as raised:
        list(litellm.completion(**request(stand_in, "stall"), timeout=2, stream=True, max_retries=0))
    assert isinstance(getattr(raised.value, "original_exception", None) or raised.value, litellm.Timeout)
    assert stand_in.wait_for_disconnect(1, timeout_s=90)


def test_a_timeout_bounds_the_wait_for_a_worker_too(stand_in: StandIn) -> None:
    stand_in.respond = lambda record: Answer(content=[Text("late")], delay_s=60)

    def ask(_: int) -> bool:
        try:
            litellm.completion(**request(stand_in, "hang"), timeout=1.5, max_retries=0)
        except litellm.Timeout:
            return True
        return False

    with ThreadPoolExecutor(24) as threads:
        assert all(threads.map(ask, range(24)))


async def test_cancelling_a_call_stops_its_request(stand_in: StandIn) -> None:
    stand_in.script(Answer(content=[Text("late")], delay_s=60))
    asking = asyncio.create_task(litellm.acompletion(**request(stand_in, "hang")))
    await asyncio.to_thread(stand_in.wait_for, count=1, timeout_s=90)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await asyncio.to_thread(stand_in.wait_for_disconnect, 0, timeout_s=90)
    assert text_of(await litellm.acompletion(**request(stand_in, "next"))) == "You said: next"


async def test_cancelling_at_any_moment_leaves_no_warning(
    stand_in: StandIn, recwarn: pytest.WarningsRecorder, capfd: pytest.CaptureFixture[str]
) -> None:
    for moment in range(12):
        asking = asyncio.create_task(litellm.acompletion(**request(stand_in, f"{moment}")))
        await asyncio.sleep(moment * 0.001)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    gc.collect()
    assert [str(warning.message) for warning in recwarn if "never awaited" in str(warning.message)] == []
    assert "never" not in capfd.readouterr().err


def test_leaving_a_stream_stops_its_request(stand_in: StandIn) -> None:
    stand_in.script(Answer(content=[Text("word " * 5000)], between_s=0.05))
    stream = litellm.completion(**request(stand_in, "long"), stream=True)
    next(stream)
    del stream
    assert stand_in.wait_for_disconnect(0, timeout_s=90)


async def test_leaving_an_async_stream_stops_its_request(stand_in: StandIn) -> None:
    stand_in.script(Answer(content=[Text("word " * 5000)], between_s=0.05))
    stream: Any = await litellm.acompletion(**request(stand_in, "long"), stream=True)
    async for _ in stream:
        break
    await stream.aclose() if hasattr(stream, "aclose") else None
    del stream
    assert await asyncio.to_thread(stand_in.wait_for_disconnect, 0, timeout_s=90)


def test_a_thread_that_ends_leaves_the_workers_alone(stand_in: StandIn) -> None:
    texts: list[str] = []
    for number in range(3):
        one = threading.Thread(
            target=lambda n=number: texts.append(text_of(litellm.completion(**request(stand_in, str(n)))))
        )
        one.start()
        one.join()
    assert texts == ["You said: 0", "You said: 1", "You said: 2"]


def test_a_call_that_begins_while_all_is_closed_starts_nothing(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = ClaudeCodeProvider()
    closing = threading.Thread(target=provider.close)
    is_closing = threading.Event()

    class ClosesMeanwhile(Observer):
        def asked(self, model: str, n: int) -> None:  # on the loop that runs the call, before the call needs a process
            loop = asyncio.get_running_loop()
            schedule = loop.call_soon_threadsafe

            def note(*given: Any, **more: Any) -> Any:  # the clean-up of `close`, which then waits for this loop
                is_closing.set()
                return schedule(*given, **more)

            monkeypatch.setattr(loop, "call_soon_threadsafe", note)
            closing.start()
            assert is_closing.wait(60)

    given = {key: value for key, value in request(stand_in, "Hello").items() if key != "model"}
    with observed_by(ClosesMeanwhile()), pytest.raises(litellm.APIConnectionError, match="the pool was closed"):
        provider.completion(model="sonnet", optional_params={}, **given)
    closing.join()
    assert provider.stats() == {}
    assert stand_in.requests == []


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_that_waits_for_the_self_check_while_all_is_closed_fails_with_a_reason(
    stand_in: StandIn, tmp_path: Path, stream: bool
) -> None:
    cli = tmp_path / "claude"
    cli.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && exec echo "9.9.9 (Claude Code)"\n: > {tmp_path}/began\nexec cat'
    )
    cli.chmod(0o700)
    provider = ClaudeCodeProvider(Settings(cli_path=cli))
    errors: list[BaseException] = []
    given = {key: value for key, value in request(stand_in, "Hello").items() if key != "model"}

    def ask() -> None:
        try:
            if stream:
                list(provider.streaming(model="sonnet", optional_params={}, **given))
            else:
                provider.completion(model="sonnet", optional_params={}, **given)
        except BaseException as error:
            errors.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    wait_until((tmp_path / "began").exists)
    provider.close()
    asking.join()
    [error] = errors
    assert isinstance(error, litellm.APIConnectionError)
    assert "the pool was closed" in str(error)
