"""A failure is the exception that litellm's `anthropic/` raises for the same answer; so is all that the SDK raises."""

import asyncio
import inspect
import socket
from typing import Any

import claude_agent_sdk
import litellm
import openai
import pytest

import litellm_claude_code
from litellm_claude_code.errors import CallFailed, WorkerLost, to_litellm
from litellm_claude_code.errors import Failure as FailureOfACall
from litellm_claude_code.login import Login
from litellm_claude_code.process._sdk import from_sdk
from litellm_claude_code.testing import Answer, Failure, RawBody, Reply, StandIn, Text

from .support.anthropic_host import AnthropicHost
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
    """Return the exception of a call, or the one inside a stream's wrapper; None if it succeeds."""
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


def calm(stand_in: StandIn, error: Any) -> None:
    """Make a call succeed after an overload error, so that the next call need not wait for recovery."""
    if error.status_code < 429:
        return
    assert litellm.completion(**asked(stand_in, "claude_code", "Well.")).choices[0].message.content == "Well."


@pytest.mark.parametrize("how", ["plain", "stream"])
def test_a_failure_of_the_api_has_the_class_that_anthropic_raises(stand_in: StandIn, how: str) -> None:
    told = {}
    for name, reply in API.items():
        expected = OTHERWISE.get((name, how)) or type(raised(stand_in, "anthropic", how, reply))
        ours = raised(stand_in, "claude_code", how, reply)
        calm(stand_in, ours)
        later = asyncio.run(raised_later(stand_in, how, reply))
        calm(stand_in, later)
        told[name] = (type(ours), type(later), expected)
        for error in (ours, later):
            assert error.llm_provider == "claude_code"
            assert error.model == "claude-sonnet-5-5"
            assert error.status_code >= 400
    assert told == {name: (expected, expected, expected) for name, (_, _, expected) in told.items()}


def test_the_documented_differences_from_anthropic_hold(stand_in: StandIn) -> None:
    for (name, how), ours in OTHERWISE.items():
        assert type(raised(stand_in, "anthropic", how, API[name])) is not ours


def told(**given: Any) -> str:
    with pytest.raises(openai.OpenAIError) as raised:
        litellm.completion("claude_code/sonnet", messages=ASK, max_retries=0, timeout=60, **given)
    return str(raised.value).partition("Claude Code: ")[2]


def test_a_refused_key_is_named(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    host = stand_in.base_url.removeprefix("http://")
    url = f"http://user:SECRET@{host}"
    assert told(api_base=url, api_key="SECRET") == f"The key for {host} was refused (401). Check `api_key=`."
    stand_in.script(Failure(401, message="The key has no budget left."))
    where = {"api_base": stand_in.base_url, "api_key": stand_in.api_key}
    reason = "401: The key has no budget left"
    assert told(**where) == f"The key for {host} was refused ({reason}). Check `api_key=`."
    monkeypatch.setenv("ANTHROPIC_BASE_URL", stand_in.base_url)
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "SECRET")
    assert told() == f"The key for {host} was refused (401). Check ANTHROPIC_AUTH_TOKEN."
    monkeypatch.delenv("ANTHROPIC_AUTH_TOKEN")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "SECRET")
    monkeypatch.setenv("LITELLM_CLAUDE_CODE_AUTH", "api_key")
    litellm_claude_code.close()  # the pool keeps its settings
    assert told() == f"The key for {host} was refused (401). Check ANTHROPIC_API_KEY."
    litellm_claude_code.close()


def test_a_refused_login_is_told_apart_from_a_token(
    default_endpoint: AnthropicHost, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.respond = lambda _: Failure(401, message="OAuth token has expired.")
    assert told() == (
        "The Claude login was refused (401: OAuth token has expired): it is expired or revoked. Log in again: "
        "`litellm-claude-code claude auth login`."
    )
    monkeypatch.setenv("CLAUDE_CODE_OAUTH_TOKEN", "sk-ant-oat01-SECRET")
    assert told() == (
        "The token in CLAUDE_CODE_OAUTH_TOKEN was refused (401): it is expired or revoked. Make a new one: "
        "`litellm-claude-code claude setup-token`."
    )


def test_a_wrong_address_is_named(stand_in: StandIn) -> None:
    with socket.socket() as taken:  # bound, but not listening
        taken.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        assert told(api_base=f"http://user:SECRET@{host}", api_key="SECRET") == (
            f"Cannot connect to http://{host} (ECONNREFUSED). Check the address, and that the service is running."
        )
    secure = stand_in.base_url.replace("http:", "https:")
    assert told(api_base=secure, api_key="SECRET").startswith(f"Cannot connect to {secure} (EPROTO). ")
    url = f"{stand_in.base_url}/v1"
    assert told(api_base=f"{url}/", api_key=stand_in.api_key) == (
        f"404 from {url}/v1/messages. Leave `/v1` off `api_base` (or ANTHROPIC_BASE_URL); if that does not help, the "
        "model does not exist there."
    )
    stand_in.script(Failure(404), Failure(404))  # on a 404 the CLI asks twice
    where = {"api_base": stand_in.base_url, "api_key": stand_in.api_key}
    assert told(**where).startswith("There's an issue with the selected model (claude-sonnet-5-5).")


def test_a_request_that_is_too_large_gets_no_advice_about_claude_codes_own_conversation(stand_in: StandIn) -> None:
    stand_in.script(Failure(413, message="Request exceeds the maximum size"))
    host = stand_in.base_url.removeprefix("http://")
    assert told(api_base=stand_in.base_url, api_key=stand_in.api_key) == (
        f"{host} refused the request because it is too large (413; Anthropic's API takes 32 MB, others may take less). "
        "Send fewer messages or images."
    )


@pytest.mark.parametrize("text", ["Login expired", "Login expired."])
def test_the_error_for_another_login_failure_has_one_full_stop_and_lists_the_ways_to_pay(text: str) -> None:
    failed = CallFailed(FailureOfACall(kind="authentication_failed", reason="api_error", text=text))
    error = to_litellm(failed, model="sonnet", login=Login(payer="subscription"))
    assert str(error).endswith(
        "Claude Code: Login expired. Run `litellm-claude-code claude auth login`. "
        "Other ways to pay: 'Who pays' in the README"
    )


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


def test_every_exception_of_the_sdk_is_translated() -> None:
    assert SDK_ERRORS.keys() == MADE.keys() | NOT_RAISED_HERE.keys(), "add the new exception to process/_sdk.py"
    for error in (*MADE.values(), OSError("SECRET"), TimeoutError("SECRET"), RuntimeError("SECRET")):
        for is_sent in (False, True):
            failed = from_sdk(error, is_sent=is_sent)
            told = to_litellm(failed, model="sonnet", login=Login(payer="subscription"))
            assert isinstance(told, litellm.APIConnectionError)
            assert "SECRET" not in str(told)
            assert isinstance(failed, CallFailed)
            may_repeat = not is_sent and not isinstance(error, claude_agent_sdk.CLINotFoundError)
            assert isinstance(failed, WorkerLost) == may_repeat
    assert "pip install" in str(from_sdk(MADE["CLINotFoundError"], is_sent=False))
