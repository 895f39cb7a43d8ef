"""Answers on the real CLI: what they contain, and that a stream adds up to the plain answer."""

import asyncio
from typing import Any

import litellm
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import litellm_claude_code
from litellm_claude_code.testing import (
    Answer,
    Failure,
    RedactedThinking,
    StandIn,
    Text,
    Thinking,
    ToolUse,
    Usage,
    answer,
)

from .support.calls import ask
from .support.generated import examples
from .support.requests import ASK, TOOLS, Capital
from .support.waiting import wait_until


def folded(stream: Any) -> Any:
    return litellm.stream_chunk_builder(list(stream), messages=ASK)


WEATHER = ToolUse("weather", {"city": "Paris", "days": 2}, id="toolu_1")
BASH = ToolUse("Bash", {"command": "touch /tmp/never; echo '$HOME'"}, id="toolu_2")
SEEN = Usage(
    input_tokens=11,
    output_tokens=30,
    cache_creation_input_tokens=200,
    cache_read_input_tokens=3_000,
    cache_creation={"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 0},
)


def test_an_answer_names_the_model_that_gave_it_and_counts_its_tokens(stand_in: StandIn) -> None:
    stand_in.script(Answer(content=[Text("Paris.")], model="claude-sonnet-5-5-20260901", usage=SEEN))
    response = ask(stand_in)
    assert response.choices[0].message.content == "Paris."
    assert response.choices[0].finish_reason == "stop"
    assert response.model == "claude-sonnet-5-5-20260901"
    usage = response.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (3_211, 30, 3_241)
    assert usage.cache_creation_input_tokens == 200
    assert usage.cache_read_input_tokens == 3_000
    assert usage.prompt_tokens_details.cached_tokens == 3_000


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason"),
    [("end_turn", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length"), ("refusal", "content_filter")],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_reason_becomes_litellms_finish_reason(
    stand_in: StandIn, stop_reason: Any, finish_reason: str, stream: bool
) -> None:
    stand_in.script(Answer(content=[Text("Par")], stop_reason=stop_reason))
    response = folded(ask(stand_in, stream=True)) if stream else ask(stand_in)
    assert response.choices[0].finish_reason == finish_reason
    assert response.choices[0].message.content == "Par"
    assert len(stand_in.requests) == 1


def test_cost_is_litellms_own_for_the_same_answer_of_anthropic(stand_in: StandIn) -> None:
    costs = []
    for model in ("claude_code/sonnet", "anthropic/claude-sonnet-5-5"):
        stand_in.script(Answer(content=[Text("Paris.")], usage=SEEN))
        costs.append(ask(stand_in, model=model)._hidden_params["response_cost"])
    assert costs[0] == costs[1] > 0


def test_callbacks_get_the_cost_of_a_stream(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []
    counted = [{"role": "user", "content": "What does this cost?"}]

    class Listener(litellm.integrations.custom_logger.CustomLogger):
        def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
            if kwargs["messages"] == counted:  # others' may still be on their way
                told.append(kwargs["response_cost"])

    monkeypatch.setattr(litellm, "callbacks", [Listener()])
    stand_in.script(Answer(content=[Text("Paris.")], usage=SEEN), Answer(content=[Text("Paris.")], usage=SEEN))
    plain = ask(stand_in, messages=counted)
    list(ask(stand_in, messages=counted, stream=True))
    wait_until(lambda: len(told) == 2)
    assert told == [plain._hidden_params["response_cost"]] * 2


def test_usage_comes_with_the_last_chunk_if_it_is_requested(stand_in: StandIn) -> None:
    stand_in.script(Answer(content=[Text("Paris.")], usage=SEEN))
    chunks = list(ask(stand_in, stream=True, stream_options={"include_usage": True}))
    usages = [chunk.usage for chunk in chunks if getattr(chunk, "usage", None)]
    assert [(usage.prompt_tokens, usage.completion_tokens) for usage in usages] == [(3_211, 30)]
    assert usages[0].cache_read_input_tokens == 3_000


def test_thinking_comes_as_reasoning_with_its_signature(stand_in: StandIn) -> None:
    script = Answer(content=[Thinking("Easy.", signature="c2ln"), RedactedThinking("eHk="), Text("Paris.")])
    stand_in.script(script, script)
    for response in (ask(stand_in), folded(ask(stand_in, stream=True))):
        message = response.choices[0].message
        assert message.content == "Paris."
        assert message.reasoning_content == "Easy."
        assert [dict(block) for block in message.thinking_blocks] == [
            {"type": "thinking", "thinking": "Easy.", "signature": "c2ln"},
            {"type": "redacted_thinking", "data": "eHk="},
        ]


def test_tool_calls_come_back_and_are_not_run(stand_in: StandIn) -> None:
    script = Answer(content=[Text("Let me see."), WEATHER, BASH])
    stand_in.script(script, script)
    for response in (ask(stand_in, tools=TOOLS), folded(ask(stand_in, tools=TOOLS, stream=True))):
        assert response.choices[0].finish_reason == "tool_calls"
        assert response.choices[0].message.content == "Let me see."
        calls = response.choices[0].message.tool_calls
        assert [(call.id, call.function.name) for call in calls] == [("toolu_1", "weather"), ("toolu_2", "Bash")]
        assert [call.function.arguments for call in calls] == [
            '{"city":"Paris","days":2}',
            '{"command":"touch /tmp/never; echo \'$HOME\'"}',
        ]
    assert len(stand_in.requests) == 2


def test_a_call_that_is_cut_short_keeps_the_arguments_that_came(stand_in: StandIn) -> None:
    script = Answer(content=[ToolUse("weather", {"city": "Paris"}, id="toolu_1")], stop_reason="max_tokens")
    stand_in.script(script, script)
    plain, stream = ask(stand_in, tools=TOOLS), folded(ask(stand_in, tools=TOOLS, stream=True))
    for response in (plain, stream):
        (call,) = response.choices[0].message.tool_calls
        assert (call.id, call.function.name, call.function.arguments) == ("toolu_1", "weather", '{"city":"Paris"}')
        assert response.choices[0].finish_reason == "length"


def test_a_tool_gets_its_own_name_back(stand_in: StandIn) -> None:
    tool = {"type": "function", "function": {"name": "files/read", "parameters": {"type": "object", "properties": {}}}}
    stand_in.respond = lambda request: answer(ToolUse(request.body["tools"][0]["name"], {}))
    for response in (ask(stand_in, tools=[tool]), folded(ask(stand_in, tools=[tool], stream=True))):
        assert response.choices[0].message.tool_calls[0].function.name == "files/read"
        assert response.choices[0].message.tool_calls[0].function.arguments == "{}"


def test_structured_output_parses(stand_in: StandIn) -> None:
    stand_in.respond = lambda request: '{"city": "Paris", "population": 2100000}'
    response = ask(stand_in, response_format=Capital)
    assert Capital.model_validate_json(response.choices[0].message.content).city == "Paris"
    assert stand_in.requests[0].body["output_config"]["format"]["type"] == "json_schema"


def test_a_prefilled_answer_keeps_its_start(stand_in: StandIn) -> None:
    stand_in.respond = lambda request: " Paris."
    messages = [*ASK, {"role": "assistant", "content": "It is", "prefix": True}]
    assert ask(stand_in, messages=messages).choices[0].message.content == "It is Paris."


def test_several_answers_are_several_requests_at_once(stand_in: StandIn) -> None:
    litellm_claude_code.warm_up("sonnet", "", n=3, api_base=stand_in.base_url, api_key=stand_in.api_key)
    three_ask, cities = asyncio.Event(), iter(("Paris", "Lyon", "Nice"))

    async def answer_when_three_ask(record: Any) -> Answer:
        if len(stand_in.requests) == 3:
            three_ask.set()
        await asyncio.wait_for(three_ask.wait(), 60)
        return Answer(content=[Text(next(cities))], usage=SEEN)

    stand_in.respond = answer_when_three_ask
    response = ask(stand_in, n=3)
    assert sorted(choice.message.content for choice in response.choices) == ["Lyon", "Nice", "Paris"]
    assert [choice.index for choice in response.choices] == [0, 1, 2]
    assert response.usage.completion_tokens == 90
    assert response.usage.cache_read_input_tokens == 9_000
    assert response.usage.prompt_tokens_details.cached_tokens == 9_000
    assert stand_in.max_in_flight == 3
    assert response._hidden_params["response_cost"] > 0


def test_if_one_of_several_answers_fails_the_others_stop(stand_in: StandIn) -> None:
    ask(stand_in, n=2)
    stand_in.script(Failure(500), Answer(content=[Text("late")], delay_s=60))
    with pytest.raises(litellm.InternalServerError):
        ask(stand_in, n=2, max_retries=0)
    wait_until(lambda: not stand_in.in_flight)


def test_several_answers_cannot_be_streamed(stand_in: StandIn) -> None:
    with pytest.raises(litellm.UnsupportedParamsError, match="Streaming does not support n>1"):
        ask(stand_in, n=2, stream=True)


def test_a_stream_delivers_each_delta_as_it_comes(stand_in: StandIn) -> None:
    stand_in.script(Answer(content=[Text("one two three four")], chunk_chars=4, hang_after=6))
    deltas = (chunk.choices[0].delta.content for chunk in ask(stand_in, stream=True))
    assert [delta for _, delta in zip(range(3), filter(None, deltas), strict=False)] == ["one ", "two ", "thre"]
    assert not stand_in.requests[0].is_finished


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
BLOCKS = st.one_of(
    st.builds(Text, TEXTS),
    st.builds(
        ToolUse, st.just("weather"), st.dictionaries(st.text("abc", min_size=1), TEXTS | st.integers(), max_size=3)
    ),
)


@settings(max_examples=examples(15))
@given(
    blocks=st.lists(BLOCKS, max_size=4),
    thinking=st.none() | st.text("abc é\n", min_size=1, max_size=50),
    chunk_chars=st.integers(1, 30),
)
def test_a_stream_folds_into_the_plain_answer(
    stand_in: StandIn, blocks: list[Any], thinking: str | None, chunk_chars: int
) -> None:
    content = [*([Thinking(thinking, signature="c2ln")] if thinking else []), *blocks]
    script = Answer(content=content, chunk_chars=chunk_chars, usage=SEEN)
    stand_in.script(script, script)
    plain, stream = ask(stand_in, tools=TOOLS), folded(ask(stand_in, tools=TOOLS, stream=True))
    one, other = plain.choices[0], stream.choices[0]
    assert (one.message.content or "") == (other.message.content or "")
    assert (one.message.reasoning_content if thinking else None) == (
        other.message.reasoning_content if thinking else None
    )
    calls = [[(c.function.name, c.function.arguments) for c in m.message.tool_calls or []] for m in (one, other)]
    assert calls[0] == calls[1]
    assert one.finish_reason == other.finish_reason
    counted = [
        {k: v for k, v in r.usage.model_dump(exclude_none=True).items() if "token" in k} for r in (plain, stream)
    ]
    assert counted[0] == counted[1]
    assert plain.model == stream.model
