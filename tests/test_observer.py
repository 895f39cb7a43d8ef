"""An observer is told of every call of its context, and may refuse it: on the real CLI."""

import asyncio
import os
import signal
from contextlib import suppress
from typing import Any

import litellm
import pytest

import litellm_claude_code
from litellm_claude_code.observer import Observer, Waits, observed_by
from litellm_claude_code.testing import Failure, StandIn, Usage, answer

from .support.limits import limited
from .support.processes import claude_processes
from .support.requests import ASK


class Stop(BaseException):
    """What no `except Exception` catches."""


class Recorder(Observer):
    """Records its notifications, and raises at the one that it is given."""

    def __init__(self, stop_at: str = "") -> None:
        self.heard: list[str] = []
        self.tokens: list[int] = []
        self.left_s: list[float] = []
        self.requests = 0
        self._stop_at = stop_at

    def _hear(self, what: str) -> None:
        self.heard.append(what)
        if what == self._stop_at:
            raise Stop(what)

    def asked(self, model: str, n: int) -> None:
        self._hear("asked")

    def waits(self, left_s: float) -> None:
        self.left_s.append(left_s)

    def requested(self, count: int) -> None:
        self.requests += count

    def answered(self, usage: Any) -> None:
        self.tokens.append(usage.completion_tokens)
        self._hear("answered")

    def failed(self, error: Exception) -> None:
        self._hear(f"failed: {type(error).__name__}")

    def left(self) -> None:
        self._hear("left")


def request(stand_in: StandIn) -> dict[str, Any]:
    where = {"api_base": stand_in.base_url, "api_key": stand_in.api_key}
    return {"model": "claude_code/sonnet", "messages": ASK, "max_retries": 0, **where}


def plain(stand_in: StandIn) -> None:
    litellm.completion(**request(stand_in))


def stream(stand_in: StandIn) -> None:
    list(litellm.completion(**request(stand_in), stream=True))


def from_a_loop(stand_in: StandIn) -> None:
    asyncio.run(litellm.acompletion(**request(stand_in)))


def stream_from_a_loop(stand_in: StandIn) -> None:
    async def run() -> None:
        async for _ in await litellm.acompletion(**request(stand_in), stream=True):
            pass

    asyncio.run(run())


CALLERS = [plain, stream, from_a_loop, stream_from_a_loop]


@pytest.mark.parametrize("call", CALLERS)
def test_an_observer_is_notified_of_the_call_and_its_usage(stand_in: StandIn, call: Any) -> None:
    stand_in.script(answer("Paris.", usage=Usage(input_tokens=5, output_tokens=9)), Failure(500), Failure(401))
    recorder = Recorder()
    with observed_by(recorder):
        call(stand_in)
        # litellm calls what fails an asynchronous stream a `MidStreamFallbackError`
        server_error = (litellm.InternalServerError, litellm.exceptions.MidStreamFallbackError)
        for error in (server_error, litellm.AuthenticationError):
            with pytest.raises(error):
                call(stand_in)
    assert recorder.requests == len(stand_in.requests) == 3
    call(stand_in)
    assert recorder.heard == [
        *("asked", "answered"),
        *("asked", "failed: InternalServerError"),
        *("asked", "failed: AuthenticationError"),
    ]
    assert recorder.tokens == [9]


@pytest.mark.parametrize("call", CALLERS)
def test_what_an_observer_raises_reaches_the_caller_through_all_of_litellm(stand_in: StandIn, call: Any) -> None:
    with observed_by(Recorder("asked")), pytest.raises(Stop):
        call(stand_in)
    assert stand_in.requests == []
    stand_in.script(Failure(401))
    with observed_by(Recorder("failed: AuthenticationError")), pytest.raises(Stop):
        call(stand_in)
    assert len(stand_in.requests) == 1


def test_an_observer_is_notified_when_a_caller_leaves(stand_in: StandIn) -> None:
    stand_in.script(answer("one two three", chunk_chars=1, between_s=0.05))
    recorder = Recorder()
    with observed_by(recorder):
        chunks = litellm.completion(**request(stand_in), stream=True)
        next(iter(chunks))
        chunks.completion_stream.close()
    litellm_claude_code.close()  # ends what is under way
    assert recorder.heard == ["asked", "left"]


@pytest.mark.parametrize("has_stream", [False, True])
def test_an_observer_may_have_a_call_wait_for_the_reset(stand_in: StandIn, login: Any, has_stream: bool) -> None:
    asked = request(stand_in) | {"api_key": None}
    litellm.completion(**asked)  # so that the time limit below is not that of a boot
    stand_in.script(limited(5), answer("Paris."))
    recorder = Recorder()
    recorder.on_limit = "wait"
    with observed_by(recorder):
        answered = litellm.completion(**asked | {"timeout": 3}, stream=has_stream)
        text = "".join(c.choices[0].delta.content or "" for c in answered) if has_stream else None
    assert (text or answered.choices[0].message.content) == "Paris."
    assert recorder.heard == ["asked", "answered"]
    assert len(stand_in.requests) == 1 + recorder.requests == 3  # the first was not observed
    *counting, last = recorder.left_s
    assert last == 0
    assert counting == sorted(counting, reverse=True)
    assert 0 < counting[-1] <= counting[0] <= 5


def test_the_requests_of_one_call_wait_for_the_reset_as_one(stand_in: StandIn, login: Any) -> None:
    asked = request(stand_in) | {"api_key": None}
    litellm.completion(**asked)  # so that the time limit below is not that of a boot
    stand_in.script(limited(5), answer("Paris."), answer("Paris."))
    recorder = Recorder()
    recorder.on_limit = "wait"
    with observed_by(recorder):
        answered = litellm.completion(**asked | {"timeout": 3}, n=2)
    assert [choice.message.content for choice in answered.choices] == ["Paris.", "Paris."]
    assert recorder.heard == ["asked", "answered"]
    assert len(stand_in.requests) == 1 + recorder.requests == 4  # an answer that came before the limit is kept
    *counting, last = recorder.left_s
    assert last == 0
    assert counting == sorted(counting, reverse=True)
    assert counting[-1] > 0


def test_an_observer_is_notified_of_the_requests_that_reach_the_api(stand_in: StandIn, login: Any) -> None:
    class Killing(Recorder):
        """Ends the processes that a call would have used."""

        def asked(self, model: str, n: int) -> None:
            for pid in claude_processes():
                with suppress(ProcessLookupError):  # it has ended just now
                    os.kill(pid, signal.SIGKILL)

    asked = request(stand_in) | {"api_key": None}
    litellm.completion(**asked)
    recorder = Killing()
    with observed_by(recorder):
        for _ in range(2):
            with suppress(litellm.APIConnectionError):
                litellm.completion(**asked)
        assert recorder.requests == len(stand_in.requests) - 1
        for failure in (Failure(404), Failure(401)):  # for these the CLI asks twice
            stand_in.script(failure, failure)
            with pytest.raises((litellm.NotFoundError, litellm.AuthenticationError)):
                litellm.completion(**asked)
            assert recorder.requests == len(stand_in.requests) - 1
        stand_in.script(Failure(401))
        litellm.completion(**asked)
        login.delenv("CLAUDE_CODE_OAUTH_TOKEN")
        with pytest.raises(litellm.AuthenticationError):
            litellm.completion(**asked)
    assert recorder.requests == len(stand_in.requests) - 1


def test_an_observer_gets_one_report_a_second_while_several_requests_wait_and_one_at_the_end() -> None:
    recorder = Recorder()
    waits = Waits(recorder)
    told = [waits.note(number, left_s) for number, left_s in [(0, 2), (1, 2), (0, 1), (1, 1), (0, 0), (1, 0.5), (1, 0)]]
    assert recorder.left_s == [2, 1, 0.5, 0]
    assert told == [True] * 6 + [False]
