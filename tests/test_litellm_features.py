"""litellm's own features on top of the provider."""

from typing import Any

import litellm
import pytest

from litellm_claude_code.testing import Failure, StandIn, ToolUse, answer

from .support.requests import ASK, TOOLS
from .support.waiting import wait_until


def where(stand_in: StandIn) -> dict[str, Any]:
    return {"api_base": stand_in.base_url, "api_key": stand_in.api_key}


@pytest.fixture
def paris(stand_in: StandIn) -> StandIn:
    stand_in.respond = lambda request: "Paris."
    return stand_in


async def test_router_balances_and_falls_back(paris: StandIn) -> None:
    deployments: Any = [
        {"model_name": "main", "litellm_params": {"model": "claude_code/sonnet", **where(paris)}},
        {"model_name": "backup", "litellm_params": {"model": "claude_code/haiku", **where(paris)}},
    ]
    router = litellm.Router(deployments, fallbacks=[{"main": ["backup"]}], num_retries=0)
    assert (await router.acompletion("main", messages=ASK)).model == "claude-sonnet-5-5"  # type: ignore[arg-type]
    paris.script(Failure(500))
    response: Any = await router.acompletion("main", messages=ASK)  # type: ignore[arg-type]
    assert response.model == "claude-haiku-5-5"
    paris.script(Failure(429))
    stream: Any = await router.acompletion("main", messages=ASK, stream=True)  # type: ignore[call-overload]
    text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text == "Paris."


def test_batch_completion(paris: StandIn) -> None:
    responses = litellm.batch_completion("claude_code/sonnet", [ASK] * 5, **where(paris))
    assert [response.choices[0].message.content for response in responses] == ["Paris."] * 5


def test_text_completion(paris: StandIn) -> None:
    response: Any = litellm.text_completion(
        model="claude_code/sonnet", prompt="The capital of France is", **where(paris)
    )
    assert response.choices[0].text == "Paris."


def test_responses(paris: StandIn) -> None:
    response: Any = litellm.responses(model="claude_code/sonnet", input="Capital of France?", **where(paris))
    assert response.output[0].content[0].text == "Paris."
    stream: Any = litellm.responses(model="claude_code/sonnet", input="Capital?", stream=True, **where(paris))
    *_, last = stream
    assert last.type == "response.completed"


async def test_anthropic_messages(paris: StandIn) -> None:
    request: Any = {"model": "claude_code/sonnet", "messages": ASK, "max_tokens": 50, **where(paris)}
    response: Any = await litellm.anthropic.messages.acreate(**request)
    assert response["content"][0]["text"] == "Paris."
    paris.script(answer(ToolUse("weather", {"city": "Paris"})))
    tools = [{"name": tool["function"]["name"], "input_schema": tool["function"]["parameters"]} for tool in TOOLS]
    response = await litellm.anthropic.messages.acreate(**request, tools=tools)
    assert response["stop_reason"] == "tool_use"
    assert response["content"][-1]["input"] == {"city": "Paris"}


def test_callbacks_are_told_of_success_and_failure(paris: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    class Listener(litellm.integrations.custom_logger.CustomLogger):
        def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
            told.append(f"success {kwargs['custom_llm_provider']} {response_obj.usage.completion_tokens > 0}")

        def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
            told.append(f"failure {type(kwargs['exception']).__name__}")

    monkeypatch.setattr(litellm, "callbacks", [Listener()])
    litellm.completion("claude_code/sonnet", messages=ASK, **where(paris))
    paris.script(Failure(429))
    with pytest.raises(litellm.RateLimitError):
        litellm.completion("claude_code/sonnet", messages=ASK, **where(paris), max_retries=0)
    wait_until(lambda: len(told) == 2)
    assert sorted(told) == ["failure RateLimitError", "success claude_code True"]


def test_num_retries_is_the_callers(paris: StandIn) -> None:
    paris.script(Failure(500), Failure(500))
    response: Any = litellm.completion("claude_code/sonnet", messages=ASK, num_retries=2, **where(paris))
    assert response.choices[0].message.content == "Paris."
    assert len(paris.requests) == 3
