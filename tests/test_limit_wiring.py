"""What a reached subscription limit, and an overloaded service, do to the calls that follow: on the real CLI."""

import asyncio
import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import litellm
import openai
import pytest

import litellm_claude_code
from litellm_claude_code import Cause, cause_of
from litellm_claude_code.testing import Answer, Failure, StandIn, Text

from .support.examples import DOCS, run_page
from .support.limits import limited
from .support.requests import ASK
from .support.waiting import wait_until


def ask(stand_in: StandIn, model: str = "sonnet", **more: Any) -> Any:
    return litellm.completion(f"claude_code/{model}", messages=ASK, api_base=stand_in.base_url, max_retries=0, **more)


def test_the_login_is_sent(stand_in: StandIn, login: Any) -> None:
    ask(stand_in)
    assert stand_in.requests[0].headers["authorization"] == f"Bearer {stand_in.api_key}"
    assert "x-api-key" not in stand_in.requests[0].headers


def test_a_reached_limit_fails_the_calls_that_follow_at_once(stand_in: StandIn, login: Any) -> None:
    stand_in.script(limited(3_600))
    with pytest.raises(litellm.RateLimitError) as first:
        ask(stand_in)
    boots = litellm_claude_code.stats()["boots"]
    with pytest.raises(litellm.RateLimitError, match="5-hour limit") as second:
        ask(stand_in)
    for raised in (first, second):
        assert 3_500 < float(raised.value.response.headers["retry-after"]) <= 3_600
    for _ in range(20):
        with pytest.raises(litellm.RateLimitError):
            ask(stand_in)
    assert len(stand_in.requests) == 1
    assert litellm_claude_code.stats()["boots"] <= boots + 1
    status = str(litellm_claude_code.rate_limit_status())
    assert "five_hour" in status
    assert "rejected" in status


def call(stand_in: StandIn, how: str) -> None:
    """Make a call in one of the ways that litellm has."""
    request: dict[str, Any] = {"messages": ASK, "api_base": stand_in.base_url, "max_retries": 0}
    match how:
        case "plain":
            litellm.completion("claude_code/sonnet", **request)
        case "async":
            asyncio.run(litellm.acompletion("claude_code/sonnet", **request))
        case "stream":
            list(litellm.completion("claude_code/sonnet", stream=True, **request))
        case "async stream":
            asyncio.run(read_stream(request))
        case "router":
            deployment = {"model": "claude_code/sonnet", "api_base": stand_in.base_url}
            router = litellm.Router([{"model_name": "m", "litellm_params": deployment}], num_retries=0)
            router.completion("m", ASK)


async def read_stream(request: dict[str, Any]) -> None:
    async for _ in await litellm.acompletion("claude_code/sonnet", stream=True, **request):
        pass


def cause_of_failing(stand_in: StandIn, how: str, *replies: Failure) -> Cause:
    stand_in.script(*replies)
    with pytest.raises(openai.OpenAIError) as raised:
        call(stand_in, how)
    cause = cause_of(raised.value)
    assert cause is not None
    return cause


@pytest.mark.parametrize("how", ["plain", "async", "stream", "async stream", "router"])
def test_a_reached_limit_and_a_busy_service_and_a_dead_login_can_be_told_apart(
    stand_in: StandIn, login: Any, how: str
) -> None:
    busy = cause_of_failing(stand_in, how, Failure(429))
    assert (busy.kind, busy.limit, busy.is_dead_login) == ("rate_limit", None, False)
    dead = cause_of_failing(stand_in, how, Failure(401), Failure(401))  # the CLI reads the login anew, and asks again
    assert (dead.limit, dead.is_dead_login) == (None, True)
    met, followed = cause_of_failing(stand_in, how, limited(3_600)), cause_of_failing(stand_in, how)
    for cause in (met, followed):
        assert cause.limit is not None
        assert (cause.limit.window, cause.is_dead_login) == ("five_hour", False)
        assert 3_500 < (cause.limit.resets_at or 0) - time.time() <= 3_600


def test_the_documented_way_to_tell_them_apart_works(
    stand_in: StandIn, login: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    login.setenv("ANTHROPIC_BASE_URL", stand_in.base_url)
    stand_in.script(Failure(429), Failure(401), Failure(401), limited(3_600))
    printed = ""
    for _ in range(3):
        run_page(DOCS / "limits.md", capsys)
        printed += capsys.readouterr().out
    assert printed.splitlines() == [
        "the service is busy: try again",
        "log in again",
        "five_hour: go on in 1.0 h",
    ]


def test_a_refused_key_does_not_count_as_a_dead_login(stand_in: StandIn) -> None:
    stand_in.script(Failure(401))
    with pytest.raises(litellm.AuthenticationError) as raised:
        ask(stand_in, api_key=stand_in.api_key)
    cause = cause_of(raised.value)
    assert cause is not None
    assert (cause.payer, cause.is_dead_login) == ("gateway", False)
    assert cause_of(ValueError()) is None


def test_after_the_reset_calls_go_through(stand_in: StandIn, login: Any) -> None:
    ask(stand_in)  # boots the process, so that the limit is reported before its reset
    stand_in.script(limited(4))
    with pytest.raises(litellm.RateLimitError):
        ask(stand_in)

    def is_answered() -> bool:
        with contextlib.suppress(litellm.RateLimitError):
            return bool(ask(stand_in).choices[0].message.content)
        return False

    wait_until(is_answered)
    assert len(stand_in.requests) == 3  # what is refused before the reset is not sent


def test_a_call_can_wait_for_the_reset_the_one_that_met_the_limit_too(stand_in: StandIn, login: Any) -> None:
    login.setenv("LITELLM_CLAUDE_CODE_ON_LIMIT", "wait")
    assert ask(stand_in).choices[0].message.content
    stand_in.script(limited(7))
    assert ask(stand_in, timeout=5).choices[0].message.content  # the wait is not part of the call's own time
    assert len(stand_in.requests) == 3


def test_a_wait_longer_than_the_setting_allows_is_an_error(stand_in: StandIn, login: Any) -> None:
    login.setenv("LITELLM_CLAUDE_CODE_ON_LIMIT", "wait")
    login.setenv("LITELLM_CLAUDE_CODE_MAX_LIMIT_WAIT_S", "60")
    stand_in.script(limited(3_600))
    for _ in range(2):
        with pytest.raises(litellm.RateLimitError):
            ask(stand_in)


def test_one_models_limit_leaves_the_others_alone(stand_in: StandIn, login: Any) -> None:
    stand_in.script(limited(3_600, claim="seven_day_opus"))
    with pytest.raises(litellm.RateLimitError):
        ask(stand_in, "opus")
    assert ask(stand_in, "sonnet").choices[0].message.content
    with pytest.raises(litellm.RateLimitError):
        ask(stand_in, "opus")
    assert len(stand_in.requests) == 2


def test_an_overloaded_service_gets_fewer_requests(stand_in: StandIn, login: Any) -> None:
    def respond(record: Any) -> Any:
        return Failure(529) if stand_in.in_flight > 2 else Answer(content=[Text("ok")], delay_s=0.2)

    stand_in.respond = respond

    def one(_: int) -> bool:
        try:
            ask(stand_in)
        except litellm.InternalServerError:
            return False
        return True

    with ThreadPoolExecutor(5) as threads:
        answered = list(threads.map(one, range(28)))
    late = answered[14:]
    assert late.count(False) <= 4, answered
