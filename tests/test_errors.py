"""A failure is the exception that litellm's `anthropic/` raises for the same answer; so is all that the SDK raises."""

import asyncio
import inspect
from typing import Any

import claude_agent_sdk
import litellm
import openai
import pytest

from litellm_claude_code.errors import CallFailed, WorkerLost, to_litellm
from litellm_claude_code.process._sdk import from_sdk
from litellm_claude_code.testing import Answer, Failure, RawBody, Reply, StandIn, Text

from .support.requests import ASK

API: dict[str, Reply] = {
    "400": Failure(400),
    "400 too long": Failure(400, message="prompt is too long: 210000 tokens > 200000 maximum"),
    "400 of content": Failure(400, message="Output blocked by content filtering policy"),
    "400 of credit": Failure(400, message="Your credit balance is too low to access the Anthropic API."),
    **{str(status): Failure(status) for status in (401, 402, 403, 404, 413, 422, 429, 500, 502, 504, 529)},
    "503": Failure(503, type="api_error"),
    "503 overloaded": Failure(503, type="overloaded_error"),
    "a page of a proxy's": RawBody(502, b"<html>Bad gateway</html>"),
    "a page instead of an answer": RawBody(200, b"<html>Hello</html>"),
    "a stream cut": Answer(content=[Text("It goes on and on")], cut_after=4),
    "a stream that fails": Answer(content=[Text("It goes on and on")], error_after=(4, Failure(529))),
    "a stream that fails at once": Answer(content=[Text("It")], error_after=(0, Failure(529))),
}
# What is told otherwise than by `anthropic/`, and why.
OTHERWISE: dict[tuple[str, str], type[Exception] | None] = {
    # Claude Code does not hand on the type `overloaded_error`; the status says as much.
    ("503 overloaded", "plain"): litellm.ServiceUnavailableError,
    ("503 overloaded", "stream"): litellm.ServiceUnavailableError,
    # `anthropic/` answers a page of HTML in a stream with nothing at all.
    ("a page instead of an answer", "stream"): litellm.APIConnectionError,
    # Ours is a stream either way; half a body is another failure there.
    ("a stream cut", "plain"): litellm.APIConnectionError,
}


def asked(stand_in: StandIn, provider: str, reply: Reply) -> dict[str, Any]:
    stand_in.reset()
    stand_in.script(reply, reply)  # on a 404 the CLI asks twice
    where = {"api_base": stand_in.base_url, "api_key": stand_in.api_key}
    return {"model": f"{provider}/claude-sonnet-5-5", "messages": ASK, **where, "max_retries": 0, "timeout": 60}


def raised(stand_in: StandIn, provider: str, how: str, reply: Reply) -> Any:
    """Return what a call raises, and what a stream's exception is wrapped around; None where it answers."""
    request = asked(stand_in, provider, reply)
    try:
        list(litellm.completion(stream=True, **request)) if how == "stream" else litellm.completion(**request)
    except openai.OpenAIError as error:
        return getattr(error, "original_exception", None) or error
    return None


async def raised_later(stand_in: StandIn, how: str, reply: Reply) -> Any:
    request = asked(stand_in, "claude_code", reply)
    try:
        if how == "stream":
            async for _ in await litellm.acompletion(stream=True, **request):
                pass
        else:
            await litellm.acompletion(**request)
    except openai.OpenAIError as error:
        return getattr(error, "original_exception", None) or error
    return None


def calm(stand_in: StandIn) -> None:
    """Have a call succeed, so that the next does not wait for an overloaded service to recover."""
    assert litellm.completion(**asked(stand_in, "claude_code", "Well.")).choices[0].message.content == "Well."


@pytest.mark.parametrize("how", ["plain", "stream"])
def test_a_failure_of_the_api_is_of_the_class_that_anthropic_has_for_it(stand_in: StandIn, how: str) -> None:
    told = {}
    for name, reply in API.items():
        expected = OTHERWISE.get((name, how)) or type(raised(stand_in, "anthropic", how, reply))
        ours = raised(stand_in, "claude_code", how, reply)
        calm(stand_in)
        later = asyncio.run(raised_later(stand_in, how, reply))
        calm(stand_in)
        told[name] = (type(ours), type(later), expected)
        for error in (ours, later):
            assert error.llm_provider == "claude_code"
            assert error.model == "claude-sonnet-5-5"
            assert error.status_code >= 400
    assert told == {name: (expected, expected, expected) for name, (_, _, expected) in told.items()}


def test_what_differs_does_differ(stand_in: StandIn) -> None:
    for (name, how), ours in OTHERWISE.items():
        assert type(raised(stand_in, "anthropic", how, API[name])) is not ours


SDK_ERRORS = {
    name: kind
    for name in claude_agent_sdk.__all__
    if inspect.isclass(kind := getattr(claude_agent_sdk, name)) and issubclass(kind, Exception)
}
MADE: dict[str, Exception] = {
    "CLINotFoundError": claude_agent_sdk.CLINotFoundError("SECRET"),
    "CLIConnectionError": claude_agent_sdk.CLIConnectionError("SECRET"),
    "CLIJSONDecodeError": claude_agent_sdk.CLIJSONDecodeError("SECRET", ValueError("SECRET")),
    "ClaudeSDKError": claude_agent_sdk.ClaudeSDKError("SECRET"),
    "ProcessError": claude_agent_sdk.ProcessError("SECRET", exit_code=1, stderr="SECRET"),
}
NOT_RAISED_HERE = {
    "ResultError": "raised by `query()` only, whose results are read here instead; a ProcessError",
    "CanUseToolShadowedWarning": "a warning about tools, which there are none of",
}


def test_every_exception_of_the_sdk_is_told() -> None:
    assert SDK_ERRORS.keys() == MADE.keys() | NOT_RAISED_HERE.keys(), "add the new exception to process/_sdk.py"
    for error in (*MADE.values(), OSError("SECRET"), TimeoutError("SECRET"), RuntimeError("SECRET")):
        for is_sent in (False, True):
            failed = from_sdk(error, is_sent=is_sent)
            told = to_litellm(failed, model="sonnet", payer="subscription")
            assert isinstance(told, litellm.APIConnectionError)
            assert "SECRET" not in str(told)
            assert isinstance(failed, CallFailed)
            may_repeat = not is_sent and not isinstance(error, claude_agent_sdk.CLINotFoundError)
            assert isinstance(failed, WorkerLost) == may_repeat
    assert "pip install" in str(from_sdk(MADE["CLINotFoundError"], is_sent=False))
