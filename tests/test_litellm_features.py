"""litellm's own features on top of the provider."""

import asyncio
from typing import Any

import litellm
import pytest

from litellm_claude_code.testing import Failure, StandIn, ToolUse, answer

from .support.requests import ASK, TOOLS
from .support.waiting import wait_until
from .support.wire import assert_same_body, pair


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


def test_callbacks_get_success_and_failure(paris: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_retries_are_made_only_if_the_caller_sets_num_retries(paris: StandIn) -> None:
    paris.script(Failure(500), Failure(500))
    response: Any = litellm.completion("claude_code/sonnet", messages=ASK, num_retries=2, **where(paris))
    assert response.choices[0].message.content == "Paris."
    assert len(paris.requests) == 3


class Hooks(litellm.integrations.custom_logger.CustomLogger):
    """Keeps the arguments of litellm's hooks, except of the calls that litellm adds for `anthropic/`'s coroutines."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, Any]] = []

    def log_pre_api_call(self, model: str, messages: list[Any], kwargs: Any) -> None:
        about = kwargs["additional_args"]
        self.told.append(("before", (model, messages, about["api_base"], about["complete_input_dict"])))

    def log_post_api_call(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        if "complete_input_dict" in kwargs["additional_args"]:
            self.told.append(("after", kwargs["original_response"]))

    def log(self, details: Any) -> None:
        if details["log_event_type"] == "pre_api_call" or "complete_input_dict" in details["additional_args"]:
            self.told.append((details["log_event_type"], None))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
async def test_hooks_around_a_request_get_the_same_values_as_for_anthropic(
    paris: StandIn, monkeypatch: pytest.MonkeyPatch, stream: bool, is_async: bool
) -> None:
    told = {}
    for model in ("claude_code/claude-sonnet-5-5", "anthropic/claude-sonnet-5-5"):
        hooks = Hooks()
        monkeypatch.setattr(litellm, "input_callback", [hooks])
        request: dict[str, Any] = {"model": model, "messages": ASK, "stream": stream, "logger_fn": hooks.log}
        response: Any
        if is_async:
            response = await litellm.acompletion(**request, **where(paris))
            _ = [chunk async for chunk in response] if stream else None
        else:
            response = litellm.completion(**request, **where(paris))
            _ = list(response) if stream else None
        told[model.split("/")[0]] = hooks.told
    ours, theirs = told["claude_code"], told["anthropic"]
    assert [hook for hook, _ in ours] == [hook for hook, _ in theirs]
    (mine,), (other,) = ([about for hook, about in each if hook == "before"] for each in (ours, theirs))
    assert mine[:3] == other[:3]
    assert mine[3] == {key: value for key, value in other[3].items() if key != "stream"}
    (answered,) = (about for hook, about in ours if hook == "after")
    assert stream or "Paris." in answered


def test_a_raw_request_is_returned_and_not_made(paris: StandIn) -> None:
    request = {"model": "claude_code/sonnet", "messages": ASK, "max_tokens": 7, "api_base": paris.base_url}
    raw: Any = litellm.utils.return_raw_request(litellm.types.utils.CallTypes.completion, request)
    assert raw.get("error") is None
    assert raw["raw_request_api_base"] == f"{paris.base_url}/v1/messages"
    assert raw["raw_request_body"]["max_tokens"] == 7
    assert raw["raw_request_body"]["messages"][0]["content"][0]["text"] == ASK[0]["content"]
    assert paris.requests == []


def test_a_system_prompt_alone_is_sent_if_litellm_may_modify_a_request(
    paris: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = [{"role": "system", "content": "Say Paris."}]
    with pytest.raises(litellm.BadRequestError, match="only system messages"):
        litellm.completion("claude_code/sonnet", messages=system, **where(paris))
    monkeypatch.setattr(litellm, "modify_params", True)
    assert_same_body(*pair(paris, {"messages": system}))


async def test_what_claude_cannot_do_is_refused_at_once() -> None:
    words: dict[str, Any] = {"model": "claude_code/sonnet", "input": ["x"], "num_retries": 2}
    picture: dict[str, Any] = {"model": "claude_code/sonnet", "prompt": "a cat"}
    with pytest.raises(litellm.BadRequestError, match="has no embeddings"):
        litellm.embedding(**words)
    with pytest.raises(litellm.BadRequestError, match="has no embeddings"):
        await litellm.aembedding(**words)
    with pytest.raises(litellm.BadRequestError, match="makes no images"):
        litellm.image_generation(**picture)
    with pytest.raises(litellm.BadRequestError, match="makes no images"):
        await litellm.aimage_generation(**picture)


def test_counted_tokens_are_marked_as_an_estimate(paris: StandIn) -> None:
    counted = asyncio.run(litellm.acount_tokens(model="claude_code/sonnet", messages=ASK, **where(paris)))
    assert counted.total_tokens > 0
    assert counted.tokenizer_type == "local_tokenizer"
    assert paris.requests == []
