"""From a request to its response: timeouts and waits, with events that the test scripts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import litellm
import pytest
from litellm.types.utils import ModelResponse

from litellm_claude_code.answering import answer
from litellm_claude_code.call import Call, ChunkMaker, Request, Waiting
from litellm_claude_code.errors import CallFailed, Failure
from litellm_claude_code.login import Login
from litellm_claude_code.observer import Observer
from litellm_claude_code.settings import Settings

POOL: Any = SimpleNamespace(settings=Settings(self_check=False))
Script = Callable[[Waiting], AsyncGenerator[str, None]]


class Stop(BaseException):
    """What no `except Exception` catches."""


class Recorder(Observer):
    def __init__(self, *, stops: bool = False) -> None:
        self.heard: list[str] = []
        self._stops = stops

    def answered(self, usage: Any) -> None:
        self.heard.append("answered")

    def waits(self, left_s: float) -> None:
        self.heard.append(f"waits {left_s}")
        if self._stops:
            raise Stop

    def failed(self, error: Exception) -> None:
        self.heard.append(type(error).__name__)

    def left(self) -> None:
        self.heard.append("left")


@dataclass(frozen=True, kw_only=True)
class Scripted(Request):
    """A request whose events are those of the scripts, one for each of `n`."""

    scripts: list[Script] = field(default_factory=list)

    def events(self, pool: Any, waiting: Waiting) -> AsyncGenerator[str, None]:
        return self.scripts.pop(0)(waiting)

    def response(self, events: Sequence[str]) -> ModelResponse:
        return ModelResponse()

    def chunks(self) -> ChunkMaker:
        raise NotImplementedError


def request(recorder: Recorder, *scripts: Script) -> Scripted:
    call = Call(model="m", system="", login=Login(payer="subscription"), timeout_s=0.05)
    return Scripted(model="m", call=call, observer=recorder, n=len(scripts), scripts=list(scripts))


async def wait_and_answer(waiting: Waiting) -> AsyncGenerator[str, None]:
    try:
        waiting(3)
        await asyncio.sleep(0.3)  # longer than the timeout
    finally:
        waiting(0)
    yield "answer"


async def hang(waiting: Waiting) -> AsyncGenerator[str, None]:
    await asyncio.Event().wait()
    yield "never"


async def wait_and_hang(waiting: Waiting) -> AsyncGenerator[str, None]:
    async for _ in wait_and_answer(waiting):
        await asyncio.Event().wait()
        yield "never"


async def wait_for_long(waiting: Waiting) -> AsyncGenerator[str, None]:
    try:
        waiting(3)
        await asyncio.Event().wait()
        yield "never"
    finally:
        waiting(0)


async def fail(waiting: Waiting) -> AsyncGenerator[str, None]:
    await asyncio.sleep(0)
    raise CallFailed(Failure(kind="server_error", status=500))
    yield "never"


async def test_a_wait_for_a_reset_does_not_count_towards_the_timeout() -> None:
    recorder = Recorder()
    await answer(request(recorder, wait_and_answer), lambda: POOL)
    assert recorder.heard == ["waits 3", "waits 0", "answered"]


@pytest.mark.parametrize("script", [hang, wait_and_hang])
async def test_the_timeout_counts_before_and_after_a_wait(script: Script) -> None:
    recorder = Recorder()
    with pytest.raises(litellm.Timeout):
        await answer(request(recorder, script), lambda: POOL)
    assert recorder.heard[-1] == "Timeout"


async def test_when_one_of_several_requests_fails_the_waits_of_the_others_end_first() -> None:
    recorder = Recorder()
    with pytest.raises(litellm.InternalServerError):
        await answer(request(recorder, wait_for_long, fail), lambda: POOL)
    assert recorder.heard == ["waits 3", "waits 0", "InternalServerError"]


async def test_what_an_observer_raises_at_a_wait_reaches_the_caller() -> None:
    with pytest.raises(Stop):
        await answer(request(Recorder(stops=True), wait_for_long), lambda: POOL)
