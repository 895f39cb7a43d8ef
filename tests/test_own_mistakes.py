"""A bug of this package looks like one: it is not taken for a malformed answer, and its traceback is kept."""

from __future__ import annotations

import asyncio
import traceback
from typing import Any

import litellm
import openai
import pytest

from litellm_claude_code import cause_of
from litellm_claude_code.errors import CallFailed, WorkerLost
from litellm_claude_code.observer import Observer, observed_by
from litellm_claude_code.process._sdk import from_sdk
from litellm_claude_code.testing import RawEvents, StandIn

from .support.limits import limited
from .support.requests import ASK

PRIVATE = "the conversation's own words"


class Unreadable:
    """A value that raises an exception when the package looks at it."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __bool__(self) -> bool:
        raise self._error


class Faulty(Observer):
    """An observer that makes the part of the package that looks at limits fail: it reads `on_limit`."""

    def __init__(self, error: Exception) -> None:
        self.on_limit: Any = Unreadable(error)
        self.heard: list[Exception] = []

    def failed(self, error: Exception) -> None:
        self.heard.append(error)


class Impatient(Observer):
    """An observer that does not want to wait for a limit's reset."""

    on_limit: Any = "wait"

    def waits(self, left_s: float) -> None:
        raise LookupError("too long")


def ask(stand_in: StandIn, how: str = "plain", **more: Any) -> Any:
    request = {"model": "claude_code/sonnet", "messages": ASK, "max_retries": 0, "api_base": stand_in.base_url}
    request |= {"api_key": stand_in.api_key, **more}
    match how:
        case "plain":
            return litellm.completion(**request)
        case "async":
            return asyncio.run(litellm.acompletion(**request))
        case "stream":
            return list(litellm.completion(**request, stream=True))
        case _:
            return asyncio.run(read(request))


async def read(request: dict[str, Any]) -> list[Any]:
    return [chunk async for chunk in await litellm.acompletion(**request, stream=True)]


def own(error: BaseException) -> BaseException:
    """Return our exception, which litellm may have wrapped in its own."""
    return getattr(error, "original_exception", None) or error


@pytest.mark.parametrize("how", ["plain", "async", "stream", "async stream"])
@pytest.mark.parametrize("kind", [KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError])
def test_the_error_for_a_bug_has_its_type_and_place_and_not_its_text(
    stand_in: StandIn, how: str, kind: type[Exception]
) -> None:
    observer = Faulty(kind(PRIVATE))
    with observed_by(observer), pytest.raises(openai.OpenAIError) as raised:
        ask(stand_in, how)
    error = own(raised.value)
    assert type(error) is litellm.APIConnectionError
    assert f"an unexpected {kind.__name__} in litellm_claude_code (admission.py, line " in str(error)
    assert "invalid format" not in str(error)
    printed = "".join(traceback.format_exception(raised.value))
    assert "in _wait_for_reset" in printed
    assert PRIVATE not in printed
    assert observer.heard == [error]
    assert stand_in.requests == []


@pytest.mark.parametrize("how", ["plain", "stream"])
def test_a_bug_in_the_translation_of_a_request_gets_the_same_error(stand_in: StandIn, how: str) -> None:
    with pytest.raises(openai.OpenAIError) as raised:
        ask(stand_in, how, extra_body=[PRIVATE])  # neither litellm nor this package expects a list
    error = own(raised.value)
    assert PRIVATE not in "".join(traceback.format_exception(raised.value))
    assert type(error) in (litellm.APIConnectionError, litellm.BadRequestError)


@pytest.mark.parametrize("how", ["plain", "stream"])
def test_what_an_observer_raises_while_a_call_waits_is_no_bug_of_this_package(
    stand_in: StandIn, login: Any, how: str
) -> None:
    stand_in.script(limited(3_600))
    with observed_by(Impatient()), pytest.raises(openai.OpenAIError, match="too long") as raised:
        litellm.completion(
            "claude_code/sonnet", messages=ASK, api_base=stand_in.base_url, max_retries=0, stream=how == "stream"
        )
    assert "litellm_claude_code (" not in str(own(raised.value))


BROKEN: list[dict[str, Any]] = [
    {"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "m",
     "content": [], "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Paris."}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None},
     "usage": {"output_tokens": 3, "cache_read_input_tokens": PRIVATE}},
    {"type": "message_stop"},
]  # fmt: skip


@pytest.mark.parametrize("how", ["plain", "stream"])
def test_an_answer_that_cannot_be_translated_is_still_the_apis_mistake(stand_in: StandIn, how: str) -> None:
    stand_in.script(RawEvents(events=[(str(event["type"]), event) for event in BROKEN]))
    with pytest.raises(openai.OpenAIError, match="the API's response has an invalid format") as raised:
        ask(stand_in, how)
    cause = cause_of(raised.value)
    assert cause is not None
    assert cause.kind == "malformed"
    assert PRIVATE not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize("is_sent", [False, True])
def test_an_internal_error_in_a_worker_keeps_its_traceback_and_loses_its_text(is_sent: bool) -> None:
    try:
        raise KeyError(PRIVATE)
    except KeyError as error:
        failed = from_sdk(error, is_sent=is_sent)
    assert isinstance(failed, CallFailed)
    assert isinstance(failed, WorkerLost) != is_sent
    printed = "".join(traceback.format_exception(failed))
    assert "raise KeyError(PRIVATE)" in printed
    assert PRIVATE not in printed
    assert "unexpected KeyError" in str(failed)
