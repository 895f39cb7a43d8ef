"""litellm's own ways around a failure, and its Router's, act on our exceptions."""

from typing import Any

import litellm
import pytest

from litellm_claude_code.testing import Failure, RecordedRequest, Reply, StandIn

from .support.requests import ASK

TOO_LONG = Failure(400, message="prompt is too long: 210000 tokens > 200000 maximum")


def where(stand_in: StandIn) -> dict[str, Any]:
    return {"api_base": stand_in.base_url, "api_key": stand_in.api_key}


def only_haiku(stand_in: StandIn, failure: Failure) -> None:
    """Make every model but haiku fail."""

    def respond(request: RecordedRequest) -> Reply:
        return "From haiku." if "haiku" in request.body["model"] else failure

    stand_in.respond = respond


def models(stand_in: StandIn) -> list[str]:
    return [request.body["model"].split("-")[1] for request in stand_in.requests]


def test_a_failed_call_is_retried_as_often_as_asked(stand_in: StandIn) -> None:
    stand_in.script(Failure(500), Failure(500), "Well.")
    response = litellm.completion("claude_code/sonnet", messages=ASK, num_retries=2, **where(stand_in))
    assert response.choices[0].message.content == "Well."
    assert len(stand_in.requests) == 3


def test_a_failed_call_falls_back_to_another_model(stand_in: StandIn) -> None:
    only_haiku(stand_in, Failure(500))
    more = {"fallbacks": ["claude_code/haiku"], "max_retries": 0, **where(stand_in)}
    response = litellm.completion("claude_code/sonnet", messages=ASK, **more)
    assert response.choices[0].message.content == "From haiku."
    assert models(stand_in) == ["sonnet", "haiku"]


def test_a_prompt_that_is_too_long_goes_to_the_context_window_fallback(stand_in: StandIn) -> None:
    only_haiku(stand_in, TOO_LONG)
    names = {"claude_code/sonnet": "claude_code/haiku"}
    more = {"context_window_fallback_dict": names, "max_retries": 0, **where(stand_in)}
    response = litellm.completion(model="claude_code/sonnet", messages=ASK, **more)
    assert response.choices[0].message.content == "From haiku."
    assert models(stand_in) == ["sonnet", "haiku"]


def router(stand_in: StandIn, groups: dict[str, list[str]], **more: Any) -> litellm.Router:
    deployments = [
        {"model_name": group, "litellm_params": {"model": f"claude_code/{model}", **where(stand_in)}}
        for group, members in groups.items()
        for model in members
    ]
    return litellm.Router(deployments, num_retries=0, **more)


@pytest.mark.parametrize("stream", [False, True])
def test_the_router_sends_a_prompt_that_is_too_long_elsewhere(stand_in: StandIn, stream: bool) -> None:
    only_haiku(stand_in, TOO_LONG)
    groups = {"short": ["sonnet"], "long": ["haiku"]}
    response: Any = router(stand_in, groups, context_window_fallbacks=[{"short": ["long"]}]).completion(
        "short", ASK, stream=stream
    )
    if stream:
        response = litellm.stream_chunk_builder(list(response))
    assert response.choices[0].message.content == "From haiku."


@pytest.mark.parametrize("status", [401, 429])
def test_the_router_lets_a_deployment_that_fails_rest(stand_in: StandIn, status: int) -> None:
    only_haiku(stand_in, Failure(status))
    routed = router(stand_in, {"m": ["sonnet", "haiku"]}, cooldown_time=60)
    failed = sum(fails(routed) for _ in range(20))
    assert models(stand_in).count("sonnet") == failed <= 1
    assert models(stand_in).count("haiku") == 20 - failed


def fails(routed: litellm.Router) -> bool:
    try:
        routed.completion("m", ASK)
    except (litellm.AuthenticationError, litellm.RateLimitError):
        return True
    return False
