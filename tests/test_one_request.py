"""One call makes one request and nothing else, however it ends, and a failed call never looks like an answer."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import litellm
import pytest

import litellm_claude_code
from litellm_claude_code.testing import Answer, Failure, RawBody, RawEvents, StandIn, Text, ToolUse, answer

from .support.calls import ask
from .support.requests import ASK, TOOLS, user

ENDINGS: dict[str, Answer] = {
    "a plain answer": answer("Paris."),
    "max_tokens": Answer(content=[Text("Par")], stop_reason="max_tokens"),
    "a refusal": Answer(content=[Text("No.")], stop_reason="refusal"),
    "an empty refusal": Answer(content=[], stop_reason="refusal"),
    "an empty answer": Answer(content=[]),
    "an empty text": answer(""),
    "a tool call": answer(ToolUse("Bash", {"command": "id"})),
    "a pause": Answer(content=[Text("Wait")], stop_reason="pause_turn"),
    "a full context": Answer(content=[Text("Par")], stop_reason="model_context_window_exceeded"),
}
FAILURES: dict[str, tuple[Any, type[Exception]]] = {
    "400": (Failure(400), litellm.BadRequestError),
    "400 too long": (Failure(400, message="prompt is too long: 9 tokens > 8"), litellm.ContextWindowExceededError),
    "401": (Failure(401), litellm.AuthenticationError),
    "402": (Failure(402), litellm.exceptions.PaymentRequiredError),
    "403": (Failure(403), litellm.PermissionDeniedError),
    "404": (Failure(404), litellm.NotFoundError),
    "413": (Failure(413), litellm.BadRequestError),
    "429": (Failure(429), litellm.RateLimitError),
    "500": (Failure(500), litellm.InternalServerError),
    "502": (Failure(502), litellm.BadGatewayError),
    "503": (Failure(503), litellm.ServiceUnavailableError),
    "529": (Failure(529), litellm.InternalServerError),
    "HTML": (RawBody(200, b"<html>Hello</html>", "text/html"), litellm.APIConnectionError),
    "a cut before anything": (Answer(content=[Text("Paris")], cut_after=0), litellm.APIConnectionError),
    "a cut after the start": (Answer(content=[Text("Paris")], cut_after=1), litellm.APIConnectionError),
    "a cut in the text": (
        Answer(content=[Text("Paris, of course, in France")], cut_after=4),
        litellm.APIConnectionError,
    ),
    "a cut in a tool call": (
        Answer(content=[ToolUse("Bash", {"command": "rm -rf / # long enough"})], cut_after=4),
        litellm.APIConnectionError,
    ),
    "overloaded in the stream": (
        Answer(content=[Text("Paris, of course")], error_after=(4, Failure(529))),
        litellm.InternalServerError,
    ),
    "an empty stream": (RawEvents(events=[]), litellm.APIConnectionError),
}


@pytest.fixture(params=["plain", "stream"])
def stream(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "stream")


def read(stand_in: StandIn, *, stream: bool, **more: Any) -> Any:
    if not stream:
        return ask(stand_in, **more)
    return litellm.stream_chunk_builder(list(ask(stand_in, stream=True, **more)), messages=ASK)


def read_then_next(stand_in: StandIn, answer: Answer, *, stream: bool) -> None:
    """Make two calls: the first gets `answer` and nothing of a second response, the next one gets its own."""
    stand_in.script(answer)
    stand_in.respond = lambda request: "a second answer, which nobody asked for"
    response = read(stand_in, stream=stream, tools=TOOLS)
    text = "".join(block.text for block in answer.content if isinstance(block, Text))
    assert (response.choices[0].message.content or "") == text
    assert [call.function.name for call in response.choices[0].message.tool_calls or []] == [
        block.name for block in answer.content if isinstance(block, ToolUse)
    ]
    stand_in.respond = lambda request: "next"
    assert read(stand_in, stream=stream).choices[0].message.content == "next"
    assert stand_in.other_requests == []


@pytest.mark.parametrize("name", ENDINGS)
def test_an_answer_is_one_request_however_it_ends(stand_in: StandIn, name: str, stream: bool) -> None:
    read_then_next(stand_in, ENDINGS[name], stream=stream)
    assert len(stand_in.requests) == 2


@pytest.mark.parametrize("name", ENDINGS)
def test_a_caller_gets_the_first_answer_if_it_comes_in_one_piece_and_without_usage(
    stand_in: StandIn, name: str, stream: bool
) -> None:
    """Whether a second request goes out is a race (docs/limits.md). test_guard.py tests slower answers."""
    read_then_next(stand_in, dataclasses.replace(ENDINGS[name], reports_usage=False), stream=stream)


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_has_the_right_exception_class(stand_in: StandIn, name: str, stream: bool) -> None:
    script, expected = FAILURES[name]
    posts = 2 if name == "404" else 1  # the CLI asks twice where the model is not found (facts, CLI 2.1.327)
    stand_in.script(*[script] * posts)
    stand_in.respond = lambda request: "a second answer, which nobody asked for"
    with pytest.raises(Exception) as raised:  # noqa: PT011 - the class is what is compared
        read(stand_in, stream=stream)
    error = getattr(raised.value, "original_exception", None) or raised.value
    assert type(error) is expected
    assert getattr(error, "llm_provider", None) == "claude_code"
    assert len(stand_in.requests) == posts
    assert stand_in.other_requests == []
    assert ask(stand_in, messages=[user("next")]).choices[0].message.content.startswith("a second")


def test_a_call_starts_no_program(stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CLI would ask git twice a call: 10 ms, and the request would be in the environment of another program."""
    started = tmp_path / "started"
    git = tmp_path / "git"
    git.write_text(f'#!/bin/sh\necho "$@" >> {started}\nexit 128\n')
    git.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    litellm_claude_code.close()  # a worker has the environment that was there when it was booted
    for text in ("one", "two"):
        ask(stand_in, messages=[user(text)])
    litellm_claude_code.close()
    assert not started.exists()


def test_a_refused_connection_is_a_connection_error() -> None:
    with pytest.raises(litellm.APIConnectionError):
        litellm.completion(
            "claude_code/sonnet", messages=ASK, api_base="http://127.0.0.1:9", api_key="none", num_retries=0
        )
