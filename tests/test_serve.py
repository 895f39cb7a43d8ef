"""`litellm-claude-code serve`, asked by the clients that people have: each endpoint, streaming and not."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import litellm
import openai
import pytest
from pydantic import BaseModel

from litellm_claude_code import models
from litellm_claude_code.testing import Failure, StandIn, Thinking, ToolUse, answer
from litellm_claude_code.testing.server import echo

from .support.requests import PIXEL
from .support.scripts import Forker
from .support.served import Served
from .support.wire import caller_system

HELLO: Any = [{"role": "user", "content": "Hello there"}]

PLACE = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER: Any = {"type": "function", "function": {"name": "weather", "description": "Tell it", "parameters": PLACE}}


class Capital(BaseModel):
    city: str


@pytest.fixture
def gpt(server: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0) as client:
        yield client


@pytest.fixture
def claude(server: Served) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key=server.key, max_retries=0) as client:
        yield client


def test_the_openai_client_gets_an_answer_with_usage_and_cost(gpt: openai.OpenAI, stand_in: StandIn) -> None:
    raw = gpt.chat.completions.with_raw_response.create(
        model="sonnet", messages=[{"role": "system", "content": "Be brief."}, *HELLO], stop=["END"], max_tokens=50
    )
    response = raw.parse()
    assert response.choices[0].message.content == "You said: Hello there"
    assert response.choices[0].finish_reason == "stop"
    assert response.usage is not None
    assert response.usage.total_tokens > 0
    assert float(raw.headers["x-litellm-response-cost"]) > 0
    [seen] = stand_in.requests
    assert (seen.body["max_tokens"], seen.body["stop_sequences"]) == (50, ["END"])
    assert caller_system(seen.body["system"]) == "Be brief."


def test_the_openai_client_streams(gpt: openai.OpenAI) -> None:
    stream = gpt.chat.completions.create(
        model="sonnet", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "You said: Hello there"
    assert "stop" in [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert [chunk.usage.total_tokens > 0 for chunk in chunks if chunk.usage] == [True]


@pytest.mark.parametrize("streams", [False, True])
def test_tools_come_back_to_the_openai_client(gpt: openai.OpenAI, stand_in: StandIn, streams: bool) -> None:
    stand_in.script(answer("Let me see.", ToolUse("weather", {"city": "Paris"}, id="toolu_1")))
    if streams:
        chunks = list(gpt.chat.completions.create(model="haiku", messages=HELLO, tools=[WEATHER], stream=True))
        parts = [part.function for chunk in chunks for part in chunk.choices[0].delta.tool_calls or []]
        name = "".join(part.name or "" for part in parts if part)
        arguments = "".join(part.arguments or "" for part in parts if part)
        reason = chunks[-1].choices[0].finish_reason
    else:
        choice = gpt.chat.completions.create(model="haiku", messages=HELLO, tools=[WEATHER]).choices[0]
        call: Any = (choice.message.tool_calls or [])[0]
        name, arguments, reason = call.function.name, call.function.arguments, choice.finish_reason
    assert (name, json.loads(arguments), reason) == ("weather", {"city": "Paris"}, "tool_calls")
    assert stand_in.requests[0].body["tools"][0]["name"] == "weather"


def test_schema_image_and_effort_reach_the_api(gpt: openai.OpenAI, stand_in: StandIn) -> None:
    stand_in.script('{"city": "Paris"}')
    picture: Any = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
    ]
    parsed = gpt.chat.completions.parse(
        model="sonnet",
        messages=[{"role": "user", "content": picture}],
        response_format=Capital,
        reasoning_effort="low",
    )
    assert parsed.choices[0].message.parsed == Capital(city="Paris")
    body = stand_in.requests[0].body
    assert body["output_config"]["format"]["schema"]["required"] == ["city"]
    assert body["output_config"]["effort"] == "low"
    assert [block["type"] for block in body["messages"][0]["content"]] == ["text", "image"]


def test_the_openai_client_thinks(gpt: openai.OpenAI, stand_in: StandIn) -> None:
    stand_in.script(answer(Thinking("Hm."), "Four."))
    budget = {"type": "enabled", "budget_tokens": 1024}
    message: Any = gpt.chat.completions.create(
        model="claude-haiku-4-5", messages=HELLO, max_tokens=3000, extra_body={"thinking": budget}
    ).choices[0].message  # fmt: skip
    assert (message.content, message.reasoning_content) == ("Four.", "Hm.")
    assert stand_in.requests[0].body["thinking"] == budget


def test_responses_and_completions_of_the_openai_client(gpt: openai.OpenAI, stand_in: StandIn) -> None:
    response = gpt.responses.create(
        model="sonnet", input="Hello there", instructions="Be brief.", reasoning={"effort": "low"}
    )
    assert response.output_text == "You said: Hello there"
    assert stand_in.requests[0].body["output_config"] == {"effort": "low"}
    with gpt.responses.create(model="sonnet", input="Hello there", stream=True) as events:
        done = [event for event in events if event.type == "response.completed"]
    assert done[0].response.output_text == "You said: Hello there"
    completion = gpt.completions.create(model="sonnet", prompt="Hello there")
    assert completion.choices[0].text == "You said: Hello there"
    pieces = list(gpt.completions.create(model="sonnet", prompt="Hello there", stream=True))
    assert "".join(piece.choices[0].text or "" for piece in pieces if piece.choices) == "You said: Hello there"
    assert len(stand_in.requests) == 4


def test_the_anthropic_client_answers_streams_thinks_and_counts(claude: anthropic.Anthropic, stand_in: StandIn) -> None:
    message: Any = claude.messages.create(model="sonnet", max_tokens=50, system="Be brief.", messages=HELLO)
    assert (message.content[0].text, message.stop_reason) == ("You said: Hello there", "end_turn")
    assert message.usage.input_tokens > 0
    assert caller_system(stand_in.requests[0].body["system"]) == "Be brief."
    with claude.messages.stream(model="sonnet", max_tokens=50, messages=HELLO) as stream:
        assert "".join(stream.text_stream) == "You said: Hello there"
        assert stream.get_final_message().usage.output_tokens > 0
    stand_in.script(answer(Thinking("Hm."), "Four."))
    thought: Any = claude.messages.create(
        model="claude-haiku-4-5", max_tokens=3000, messages=HELLO, thinking={"type": "enabled", "budget_tokens": 1024}
    )
    assert [block.type for block in thought.content] == ["thinking", "text"]
    asked = len(stand_in.requests)
    assert claude.messages.count_tokens(model="sonnet", messages=HELLO).input_tokens > 0
    assert len(stand_in.requests) == asked == 3


@pytest.mark.parametrize("streams", [False, True])
def test_tools_come_back_to_the_anthropic_client(claude: anthropic.Anthropic, stand_in: StandIn, streams: bool) -> None:
    stand_in.script(answer(ToolUse("weather", {"city": "Paris"})))
    asked: Any = {
        "model": "haiku",
        "max_tokens": 500,
        "messages": HELLO,
        "tools": [{"name": "weather", "description": "Tell it", "input_schema": PLACE}],
    }
    if streams:
        with claude.messages.stream(**asked) as stream:
            message: Any = stream.get_final_message()
    else:
        message = claude.messages.create(**asked)
    call = message.content[0]
    assert (call.type, call.name, call.input, message.stop_reason) == (
        "tool_use",
        "weather",
        {"city": "Paris"},
        "tool_use",
    )


def test_every_name_is_listed_and_answers(gpt: openai.OpenAI, claude: anthropic.Anthropic, stand_in: StandIn) -> None:
    listed = [model.id for model in gpt.models.list()]
    assert listed == [model.id for model in claude.models.list()] == models.names()
    assert gpt.models.retrieve("claude_code/sonnet").id == "sonnet"
    for name in listed:
        gpt.chat.completions.create(model=f"claude_code/{name}", messages=HELLO)
    assert [seen.body["model"] for seen in stand_in.requests] == [models.resolve(name) for name in listed]


@pytest.mark.parametrize(
    ("failure", "gpt_error", "claude_error"),
    [
        (Failure(400), openai.BadRequestError, anthropic.BadRequestError),
        (Failure(401), openai.AuthenticationError, anthropic.AuthenticationError),
        (Failure(403), openai.PermissionDeniedError, anthropic.PermissionDeniedError),
        (Failure(404), openai.NotFoundError, anthropic.NotFoundError),
        (Failure(429), openai.RateLimitError, anthropic.RateLimitError),
        (Failure(500), openai.InternalServerError, anthropic.InternalServerError),
        (Failure(529), openai.InternalServerError, anthropic.InternalServerError),
    ],
)
def test_a_failure_keeps_its_status_and_blinds_nobody(
    gpt: openai.OpenAI,
    claude: anthropic.Anthropic,
    stand_in: StandIn,
    failure: Failure,
    gpt_error: type[Exception],
    claude_error: type[Exception],
) -> None:
    stand_in.respond = lambda _request: failure
    with pytest.raises(gpt_error):
        gpt.chat.completions.create(model="sonnet", messages=HELLO)
    with pytest.raises(gpt_error):
        list(gpt.chat.completions.create(model="sonnet", messages=HELLO, stream=True))
    with pytest.raises(claude_error):
        claude.messages.create(model="sonnet", max_tokens=9, messages=HELLO)
    stand_in.respond = echo
    assert gpt.chat.completions.create(model="sonnet", messages=HELLO).choices[0].message.content


def test_litellm_elsewhere_uses_it_as_its_proxy(server: Served, stand_in: StandIn) -> None:
    request: Any = {"model": "litellm_proxy/claude_code/sonnet", "messages": HELLO, **server.where}
    response = litellm.completion(**request, reasoning_effort="low", response_format=Capital)
    assert response.choices[0].message.content == "You said: Hello there"
    assert set(stand_in.requests[0].body["output_config"]) == {"effort", "format"}
    chunks = litellm.completion(**request, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "You said: Hello there"
    with pytest.raises(litellm.AuthenticationError):
        litellm.completion(**{**request, "api_key": "sk-of-somebody-else"})


def test_dspy_in_another_process_uses_it(server: Served, stand_in: StandIn, forks: Forker, tmp_path: Path) -> None:
    pytest.importorskip("dspy")
    stand_in.script("[[ ## answer ## ]]\nParis\n\n[[ ## completed ## ]]")
    program = """
import dspy, os
dspy.configure(lm=dspy.LM("litellm_proxy/claude_code/haiku", api_base=os.environ["URL"], api_key=os.environ["KEY"]))
print(dspy.Predict("question -> answer")(question="Capital of France?").answer, dspy.settings.lm.history[-1]["usage"])
"""
    out, errors = forks.start(program, home=tmp_path, URL=server.url, KEY=server.key).wait()
    assert out.startswith("Paris {'"), errors
    assert stand_in.requests[0].body["model"] == models.resolve("haiku")


def test_health_asks_a_model_only_when_told_to(server: Served, stand_in: StandIn) -> None:
    assert get(server, "/health/liveliness", key=None) == "I'm alive!"
    assert get(server, "/health")["status"] == "healthy"
    assert stand_in.requests == []
    assert get(server, "/health?model=haiku")["healthy_count"] == 1
    assert len(stand_in.requests) == 1


def get(server: Served, path: str, key: str | None = "") -> Any:
    headers = {} if key is None else {"authorization": f"Bearer {key or server.key}"}
    with urllib.request.urlopen(urllib.request.Request(server.url + path, headers=headers)) as response:
        return json.load(response)
