"""`litellm-claude-code serve`, asked by the clients that people have: each endpoint, streaming and not."""

import base64
import json
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import anthropic
import httpx
import litellm
import openai
import pytest
from pydantic import BaseModel

from litellm_claude_code import models
from litellm_claude_code.testing import Answer, Failure, FoundryStandIn, StandIn, Text, Thinking, ToolUse, answer
from litellm_claude_code.testing.server import echo

from .support.requests import PIXEL
from .support.scripts import Forker
from .support.served import Served, serving
from .support.wire import caller_system

HELLO: Any = [{"role": "user", "content": "Hello there"}]

PLACE = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER: Any = {"type": "function", "function": {"name": "weather", "description": "Tell it", "parameters": PLACE}}


RESULT: Any = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "Sunny"}]}
STREAMED: Any = {"stream": True, "stream_cls": openai.Stream[object]}


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
    assert "".join(piece.choices[0].text for piece in pieces if piece.choices) == "You said: Hello there"
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
    ("status", "kind", "gpt_error", "claude_error"),
    [
        (400, "invalid_request_error", openai.BadRequestError, anthropic.BadRequestError),
        (401, "authentication_error", openai.AuthenticationError, anthropic.AuthenticationError),
        (403, "permission_error", openai.PermissionDeniedError, anthropic.PermissionDeniedError),
        (404, "not_found_error", openai.NotFoundError, anthropic.NotFoundError),
        (413, "request_too_large", openai.APIStatusError, anthropic.APIStatusError),
        (429, "rate_limit_error", openai.RateLimitError, anthropic.RateLimitError),
        (500, "api_error", openai.InternalServerError, anthropic.InternalServerError),
        (529, "overloaded_error", openai.InternalServerError, anthropic.InternalServerError),
    ],
)
def test_a_failure_keeps_its_status_on_every_endpoint_and_other_calls_go_on(
    gpt: openai.OpenAI,
    claude: anthropic.Anthropic,
    stand_in: StandIn,
    status: int,
    kind: str,
    gpt_error: type[openai.APIStatusError],
    claude_error: type[anthropic.APIStatusError],
) -> None:
    def ask_gpt(ask: Callable[[], Any]) -> tuple[int, object, bool]:
        with pytest.raises(gpt_error) as failed:
            list(ask())
        return failed.value.status_code, failed.value.type, failed.value.request_id is not None

    def ask_claude(ask: Callable[[], Any]) -> tuple[int, object, bool]:
        with pytest.raises(claude_error) as failed:
            list(ask())
        body: Any = failed.value.body
        return failed.value.status_code, body["error"]["type"], failed.value.request_id is not None

    told = set()
    with ThreadPoolExecutor(4) as threads:  # at once, because the limiter waits longer after each that was overloaded
        for stream in (False, True):
            stand_in.respond = lambda _request: Failure(status)
            asked = [
                threads.submit(ask, partial(create, stream=stream))
                for ask, create in (
                    (ask_gpt, partial(gpt.chat.completions.create, model="sonnet", messages=HELLO)),
                    (ask_gpt, partial(gpt.completions.create, model="sonnet", prompt="Hello there")),
                    (ask_gpt, partial(gpt.responses.create, model="sonnet", input="Hello there")),
                    (ask_claude, partial(claude.messages.create, model="sonnet", max_tokens=9, messages=HELLO)),
                )
            ]
            told |= {future.result() for future in asked}
            stand_in.respond = echo
            assert gpt.chat.completions.create(model="sonnet", messages=HELLO).choices[0].message.content
    assert told == {(status, kind, True)}


def test_an_overload_in_the_middle_of_a_stream_is_reported(claude: anthropic.Anthropic, stand_in: StandIn) -> None:
    stand_in.respond = lambda _request: Answer(content=[Text("word " * 20)], error_after=(5, Failure(529)))
    with pytest.raises(anthropic.APIStatusError) as failed:
        list(claude.messages.create(model="sonnet", max_tokens=9, messages=HELLO, stream=True))
    body: Any = failed.value.body
    assert body["error"]["type"] == "overloaded_error"
    stand_in.respond = echo
    claude.messages.create(model="sonnet", max_tokens=9, messages=HELLO)


def test_a_model_that_the_server_does_not_have_is_a_404(
    gpt: openai.OpenAI, claude: anthropic.Anthropic, stand_in: StandIn
) -> None:
    with pytest.raises(anthropic.NotFoundError, match="does not have this model"):
        claude.messages.create(model="claude-3-5-sonnet-20241022", max_tokens=9, messages=HELLO)
    with pytest.raises(openai.NotFoundError, match="does not have this model"):
        gpt.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
    assert stand_in.requests == []


def test_a_stream_of_messages_is_as_the_apis(claude: anthropic.Anthropic, stand_in: StandIn) -> None:
    """litellm 1.106.2 counts no tokens at first, doubles the first thinking text, adds an empty text after a call."""
    stand_in.script(
        answer(Thinking("Let me think."), "Let me see.", ToolUse("weather", {"city": "Paris"}, id="toolu_1"))
    )
    tool: Any = {"name": "weather", "input_schema": PLACE}
    with claude.messages.stream(model="sonnet", max_tokens=50, messages=HELLO, tools=[tool]) as stream:
        first: Any = next(event for event in stream if event.type == "message_start")
        assert first.message.usage.input_tokens > 0
        message: Any = stream.get_final_message()
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use"]
    assert message.content[0].thinking == "Let me think."
    assert message.usage.input_tokens > 0
    again: Any = [*HELLO, {"role": "assistant", "content": message.content}, RESULT]
    claude.messages.create(model="sonnet", max_tokens=50, messages=again, tools=[tool])
    said = stand_in.requests[1].body["messages"][1]["content"][0]
    assert {**said, "signature": ""} == {"type": "thinking", "thinking": "Let me think.", "signature": ""}


def test_documents_reach_the_api_or_are_refused(claude: anthropic.Anthropic, stand_in: StandIn) -> None:
    data = base64.b64encode(b"%PDF-1.4").decode()
    pdf: Any = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": data}}
    text: Any = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Grüße"}}
    result: Any = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [pdf, text]}
    call: Any = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
    asked: Any = {"model": "sonnet", "max_tokens": 50, "tools": [{"name": "weather", "input_schema": PLACE}]}
    question: Any = {"type": "text", "text": "What is in it?"}
    claude.messages.create(messages=[{"role": "user", "content": [pdf, text, question]}], **asked)
    turns: Any = [*HELLO, {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    claude.messages.create(messages=turns, **asked)
    first, second = (seen.body["messages"] for seen in stand_in.requests)
    assert first[0]["content"][:2] == [pdf, {"type": "text", "text": "Grüße"}]
    assert second[2]["content"][0]["content"] == [pdf, {"type": "text", "text": "Grüße"}]
    for lost in ({"title": "A"}, {"citations": {"enabled": True}}, {"source": {"type": "url", "url": "https://a.b/c"}}):
        with pytest.raises(anthropic.BadRequestError, match=r"messages\[0\]\.content\[0\]\."):
            claude.messages.create(**asked, messages=said({**pdf, **lost}))


def said(block: Any) -> Any:
    return [{"role": "user", "content": [block]}]


def test_a_beta_without_effect_and_a_thread_are_named(server: Served, stand_in: StandIn) -> None:
    asked: Any = {"model": "sonnet", "max_tokens": 9, "messages": HELLO}
    with httpx.Client(base_url=server.url, headers={"x-api-key": server.key}, timeout=60) as client:
        betas = {"anthropic-beta": "context-1m-2025-08-07, interleaved-thinking-2025-05-14,Not a beta"}
        response = client.post("/v1/messages", json=asked, headers=betas)
        assert response.headers["x-ignored-anthropic-beta"] == "context-1m-2025-08-07"
        assert response.headers["x-request-id"] == response.headers["request-id"]
        assert "x-ignored-anthropic-beta" not in client.post("/v1/messages", json=asked).headers
        # What anthropic-python's tool runner begins with, and the answer after which it goes on without a thread.
        refused = client.post("/v1/messages", json={**asked, "thread": {"type": "create"}})
    details = refused.json()["error"]["details"]
    assert (refused.status_code, details["error_code"]) == (400, "thread_unsupported_request")
    log = server.logged(f" s {refused.headers['x-request-id']}$")
    assert "The beta context-1m-2025-08-07 has no effect" in log
    assert len(stand_in.requests) == 2


def test_codex_calls_tools_in_groups(server: Served, stand_in: StandIn) -> None:
    """What Codex 0.169 sends: groups of tools, a web search without the web, and fields for OpenAI."""
    stand_in.script(answer(ToolUse("agents__close", {"target": "1"}, id="toolu_1")), "Closed.")
    close: Any = {"type": "function", "name": "close", "parameters": {"type": "object", "properties": {}}}
    asked: Any = {
        "model": "sonnet",
        "stream": True,
        "client_metadata": {"session_id": "1"},
        "tools": [
            {"type": "namespace", "name": "agents", "description": "Agents", "tools": [close]},
            {**close, "name": "exec"},
            {"type": "web_search", "external_web_access": False},
        ],
    }
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0) as gpt:
        events = list(gpt.post("/responses", body={**asked, "input": "Close it"}, cast_to=object, **STREAMED))
        done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
        completed = [event["response"] for event in events if event["type"] == "response.completed"]
        [call] = [item for item in done if item["type"] == "function_call"]
        assert (call["namespace"], call["name"]) == ("agents", "close")
        assert call in completed[0]["output"]
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "Done."}
        user: Any = {"role": "user", "content": "Close it"}
        whole: Any = gpt.post(
            "/responses", body={**asked, "stream": False, "input": [user, call, output]}, cast_to=object
        )
    assert whole["output"][0]["content"][0]["text"] == "Closed."
    first, second = (seen.body for seen in stand_in.requests)
    assert [tool["name"] for tool in first["tools"]] == ["agents__close", "exec"]
    assert second["messages"][1]["content"][0]["name"] == "agents__close"


def test_litellm_elsewhere_uses_it_as_its_proxy(server: Served, stand_in: StandIn) -> None:
    request: Any = {"model": "litellm_proxy/claude_code/sonnet", "messages": HELLO, **server.where}
    response = litellm.completion(**request, reasoning_effort="low", response_format=Capital)
    assert Capital.model_validate_json(response.choices[0].message.content)
    assert set(stand_in.requests[0].body["output_config"]) == {"effort", "format"}
    chunks = litellm.completion(**request, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "You said: Hello there"
    with pytest.raises(litellm.AuthenticationError):
        litellm.completion(**{**request, "api_key": "sk-of-somebody-else"})


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


def test_a_server_leaves_out_parameters_for_all_its_clients(
    stand_in: StandIn, server_forks: Forker, tmp_path: Path
) -> None:
    chat: dict[str, Any] = {"model": "sonnet", "messages": HELLO, "temperature": 0, "seed": 7, "logprobs": False}
    anthropic = {"model": "sonnet", "messages": HELLO, "max_tokens": 9, "top_k": 5, "temperature": 0.3}
    with serving(tmp_path, stand_in, "--drop-params", forks=server_forks) as server:
        with httpx.Client(base_url=server.url, headers={"x-api-key": server.key}, timeout=60) as client:
            answers = [
                client.post("/v1/chat/completions", json={**chat, "tools": [WEATHER], "tool_choice": "required"}),
                client.post("/v1/messages", json=anthropic),
            ]
        assert [answer.status_code for answer in answers] == [200, 200]
        log = server.log.read_text()
    assert len(stand_in.requests) == 2
    assert log.count("does not take temperature=0:") == log.count("does not take top_k=5") == 1


def test_a_server_tells_a_client_what_works_there(server: Served, stand_in: StandIn) -> None:
    for refused in ({"seed": 7}, {"temperature": 0}, {"top_k": 5}):
        body = {"model": "sonnet", "messages": HELLO, **refused}
        answered = httpx.post(f"{server.url}/v1/chat/completions", json=body, headers={"x-api-key": server.key})
        assert answered.status_code == 400
        told = answered.json()["error"]["message"]
        assert next(iter(refused)) in told
        assert "drop_params" in told
        assert "allowed_openai_params" not in told
        assert "litellm_settings" not in told
    assert stand_in.requests == []


@pytest.mark.processes
def test_a_server_serves_a_cloud(
    checked_cli: Path, server_forks: Forker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FoundryStandIn() as foundry:
        for name, value in foundry.environment.items():
            monkeypatch.setenv(name, value)
        with (
            serving(tmp_path, None, forks=server_forks) as server,
            openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0) as client,
        ):
            raw = client.chat.completions.with_raw_response.create(model="haiku", messages=HELLO)
        assert raw.parse().choices[0].message.content == "You said: Hello there"
        assert float(raw.headers["x-litellm-response-cost"]) > 0
        assert [record.body["model"] for record in foundry.requests] == ["claude-haiku-4-5"]
