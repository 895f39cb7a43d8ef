"""The stand-in of the Messages API, seen by Anthropic's own client and by a plain HTTP client."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anthropic
import httpx
import pytest

from litellm_claude_code.testing import (
    Answer,
    Block,
    Failure,
    RawBody,
    RawEvents,
    RecordedRequest,
    RedactedThinking,
    Reply,
    StandIn,
    Text,
    Thinking,
    ToolUse,
    Usage,
    answer,
)

from .support.scripts import Forker
from .support.waiting import wait_until

HELLO: Any = {"model": "claude-sonnet-5-5", "max_tokens": 64, "messages": [{"role": "user", "content": "hello"}]}
STREAMED: Any = {**HELLO, "stream": True}
IMPATIENT = httpx.Timeout(60, read=0.5)


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with StandIn() as running:
        yield running


@pytest.fixture
def claude(stand_in: StandIn) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=stand_in.base_url, api_key=stand_in.api_key, max_retries=0) as client:
        yield client


@pytest.fixture
def http(stand_in: StandIn) -> Iterator[httpx.Client]:
    with _http(stand_in) as client:
        yield client


def _http(stand_in: StandIn) -> httpx.Client:
    return httpx.Client(base_url=stand_in.base_url, headers={"x-api-key": stand_in.api_key}, trust_env=False)


def _ask(client: httpx.Client, body: Any = HELLO) -> httpx.Response:
    return client.post("/v1/messages", json=body)


def _receive(client: httpx.Client, into: bytearray, **options: Any) -> None:
    with client.stream("POST", "/v1/messages", json=STREAMED, **options) as response:
        for part in response.iter_raw():
            into += part


def _events(response: httpx.Response) -> list[tuple[str, Any]]:
    found = re.findall(r"event: (.*)\ndata: (.*)\n\n", response.text)
    return [(name, json.loads(data)) for name, data in found]


def _text(response: httpx.Response) -> str:
    return "".join(data["delta"].get("text", "") for name, data in _events(response) if name == "content_block_delta")


EVERYTHING: list[Block] = [
    Thinking("Let me think about this for a while.", signature="c2ln"),
    RedactedThinking("b3BhcXVl"),
    Text('Here is an answer longer than one delta: déjà vu, 日本語, 🦉, "quotes"\n and lines.'),
    ToolUse("search", {"query": "a rather long query", "limit": 3, "nested": {"list": [1, None, "ü"]}}),
    ToolUse("now"),
]


@pytest.mark.parametrize(
    "reply",
    [
        answer("hello"),
        answer(*EVERYTHING),
        answer(*EVERYTHING, chunk_chars=1),
        answer(*EVERYTHING, between_s=0.001),
        answer(),
        answer(""),
        answer("no", stop_reason="refusal"),
        answer("cut of", stop_reason="max_tokens"),
        answer("later", stop_reason="pause_turn"),
        answer("too long", stop_reason="model_context_window_exceeded"),
        answer("stopped", stop_sequence="END"),
        answer("x", model="claude-other", id="msg_mine", usage=Usage(input_tokens=7, output_tokens=9)),
        answer("free", reports_usage=False),
    ],
    ids=repr,
)
def test_a_streamed_answer_adds_up_to_the_plain_one(
    stand_in: StandIn, claude: anthropic.Anthropic, reply: Answer
) -> None:
    reply = Answer(**{**vars(reply), "id": "msg_same"})
    stand_in.script(reply, reply)
    plain = claude.messages.create(**HELLO)
    with claude.messages.stream(**HELLO) as stream:
        streamed = stream.get_final_message()
    assert _comparable(streamed) == _comparable(plain)


def _comparable(message: Any) -> Any:
    shown = message.model_dump(mode="json", exclude_none=True)
    for block in shown["content"]:
        block.pop("parsed_output", None)  # the client's stream helper adds it
    return shown


def test_the_stream_has_the_events_of_the_real_api_in_their_order(stand_in: StandIn, http: httpx.Client) -> None:
    stand_in.script(
        answer(Thinking("Hm.", signature="c2ln"), "Yes, it is so, twenty-five", ToolUse("add", {"a": 1}, id="toolu_1"))
    )
    response = _ask(http, STREAMED)
    events = _events(response)
    assert [name for name, _ in events] == [
        "message_start",
        "ping",
        *("content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"),
        *("content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"),
        *("content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"),
        "message_delta",
        "message_stop",
    ]
    assert all(data["type"] == name for name, data in events)
    assert [data["content_block"] for name, data in events if name == "content_block_start"] == [
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "text", "text": ""},
        {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {}},
    ]
    assert [data["delta"] for name, data in events if name == "content_block_delta"] == [
        {"type": "thinking_delta", "thinking": "Hm."},
        {"type": "signature_delta", "signature": "c2ln"},
        {"type": "text_delta", "text": "Yes, it is so, twent"},
        {"type": "text_delta", "text": "y-five"},
        {"type": "input_json_delta", "partial_json": ""},
        {"type": "input_json_delta", "partial_json": '{"a":1}'},
    ]
    assert events[-2][1]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["request-id"].startswith("req_")


def test_a_redacted_thinking_block_comes_whole_in_its_start(stand_in: StandIn, http: httpx.Client) -> None:
    stand_in.script(answer(RedactedThinking("b3BhcXVl")))
    blocks = [data for name, data in _events(_ask(http, STREAMED)) if name.startswith("content_block")]
    assert [data["type"] for data in blocks] == ["content_block_start", "content_block_stop"]
    assert blocks[0]["content_block"] == {"type": "redacted_thinking", "data": "b3BhcXVl"}


def test_usage_comes_in_part_with_the_start_and_cumulative_with_the_end(stand_in: StandIn, http: httpx.Client) -> None:
    usage = Usage(
        input_tokens=10,
        output_tokens=20,
        cache_creation_input_tokens=30,
        cache_read_input_tokens=40,
        cache_creation={"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
        server_tool_use={"web_search_requests": 2},
        output_tokens_details={"thinking_tokens": 5},
    )
    stand_in.script(answer("x", usage=usage))
    events = dict(_events(_ask(http, STREAMED)))
    assert events["message_start"]["message"]["usage"] == {
        "input_tokens": 10,
        "cache_creation_input_tokens": 30,
        "cache_read_input_tokens": 40,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
        "output_tokens": 1,
        "service_tier": "standard",
    }
    assert events["message_delta"]["usage"] == {
        "input_tokens": 10,
        "cache_creation_input_tokens": 30,
        "cache_read_input_tokens": 40,
        "output_tokens": 20,
        "server_tool_use": {"web_search_requests": 2},
        "output_tokens_details": {"thinking_tokens": 5},
    }


def test_usage_that_is_not_given_is_estimated_alike_every_time(claude: anthropic.Anthropic) -> None:
    first, second = (claude.messages.create(**HELLO).usage for _ in range(2))
    assert first == second
    assert first.input_tokens >= 1
    assert first.output_tokens == len("You said: hello") // 4


def test_a_gateway_that_reports_no_usage_reports_zeros(stand_in: StandIn, http: httpx.Client) -> None:
    stand_in.script(answer("x", usage=Usage(input_tokens=7, output_tokens=9), reports_usage=False))
    events = dict(_events(_ask(http, STREAMED)))
    assert events["message_start"]["message"]["usage"]["output_tokens"] == 0
    assert set(events["message_delta"]["usage"].values()) == {0}


def test_a_refusal_can_say_why(stand_in: StandIn, claude: anthropic.Anthropic) -> None:
    why = {"type": "refusal", "category": "cyber", "explanation": "No."}
    stand_in.script(answer(stop_reason="refusal", stop_details=why))
    with claude.messages.stream(**HELLO) as stream:
        message = stream.get_final_message()
    assert message.stop_reason == "refusal"
    assert message.stop_details is not None
    assert message.stop_details.model_dump() == why


def test_answers_are_used_in_order_and_then_the_function_is_asked() -> None:
    with StandIn(["one", answer("two")], respond=lambda request: f"number {request.index}") as stand_in:
        stand_in.script("three")
        with _http(stand_in) as http:
            texts = [_ask(http).json()["content"][0]["text"] for _ in range(5)]
    assert texts == ["one", "two", "three", "number 3", "number 4"]


def test_every_message_and_request_has_an_id_of_its_own(http: httpx.Client) -> None:
    responses = [_ask(http) for _ in range(20)]
    assert len({response.json()["id"] for response in responses}) == 20
    assert len({response.headers["request-id"] for response in responses}) == 20


def test_unscripted_the_last_user_message_is_echoed(http: httpx.Client) -> None:
    turns = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "said"},
        {"role": "user", "content": [{"type": "text", "text": "se"}, {"type": "text", "text": "cond"}]},
        {"role": "assistant", "content": "prefill"},
    ]
    assert _text(_ask(http, {**STREAMED, "messages": turns})) == "You said: second"


@pytest.mark.parametrize("text", ["\ud800 alone", "🦉\u2028\x00", "a" * 100_000])
def test_any_text_survives_the_echo(http: httpx.Client, text: str) -> None:
    # Written here with escapes: a lone surrogate has no UTF-8 form.
    content = json.dumps({**STREAMED, "messages": [{"role": "user", "content": text}]}).encode()
    assert _text(http.post("/v1/messages", content=content)) == f"You said: {text}"


async def _respond_later(request: RecordedRequest) -> Reply:
    await asyncio.sleep(0.01)
    return f"later: {request.body['model']}"


@pytest.mark.parametrize(
    "respond", [_respond_later, lambda request: _respond_later(request), lambda request: "later: claude-sonnet-5-5"]
)
def test_the_function_may_be_plain_or_asynchronous(respond: Any) -> None:
    with StandIn(respond=respond) as stand_in, _http(stand_in) as http:
        assert _ask(http).json()["content"][0]["text"] == "later: claude-sonnet-5-5"


def test_a_plain_function_may_wait_for_other_requests() -> None:
    together = threading.Barrier(24)

    def respond(request: RecordedRequest) -> str:
        together.wait(10)
        return "met"

    with StandIn(respond=respond) as stand_in, _http(stand_in) as http, ThreadPoolExecutor(24) as threads:
        responses = list(threads.map(lambda _: _ask(http), range(24)))
        assert {response.json()["content"][0]["text"] for response in responses} == {"met"}
        assert stand_in.max_in_flight == 24


def test_a_function_that_raises_answers_500_with_the_reason() -> None:
    def respond(request: RecordedRequest) -> str:
        raise AssertionError("not what the test expected")

    with StandIn(respond=respond) as stand_in, _http(stand_in) as http:
        response = _ask(http)
    assert response.status_code == 500
    assert "not what the test expected" in response.json()["error"]["message"]


def test_a_function_that_returns_no_answer_answers_500_with_the_reason() -> None:
    def respond(request: RecordedRequest) -> Any:
        return None

    with StandIn(respond=respond) as stand_in, _http(stand_in) as http:
        response = _ask(http)
    assert response.status_code == 500
    assert "returned None" in response.json()["error"]["message"]


def test_a_request_is_recorded_as_it_was_sent(stand_in: StandIn, http: httpx.Client) -> None:
    before = time.monotonic()
    http.post("/v1/messages?beta=true", json=HELLO, headers={"Anthropic-Beta": "one"})
    (seen,) = stand_in.requests
    assert (seen.index, seen.method, seen.path, seen.query) == (0, "POST", "/v1/messages", {"beta": "true"})
    assert seen.body == HELLO
    assert seen.headers["anthropic-beta"] == "one"
    assert before <= seen.received_at <= time.monotonic()
    assert seen.is_finished
    assert not seen.closed_early


def test_a_recorded_request_does_not_show_its_key(stand_in: StandIn, http: httpx.Client) -> None:
    _ask(http)
    assert stand_in.api_key not in repr(stand_in.requests)


def test_a_body_of_ten_megabytes_is_accepted(stand_in: StandIn, http: httpx.Client) -> None:
    text = "x" * (10 << 20)
    assert _ask(http, {**HELLO, "messages": [{"role": "user", "content": text}]}).status_code == 200
    assert stand_in.requests[0].body["messages"][0]["content"] == text


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (418, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ],
)
def test_a_failure_comes_in_the_envelope_of_the_api(
    stand_in: StandIn, claude: anthropic.Anthropic, status: int, kind: str
) -> None:
    stand_in.script(Failure(status, message="as told", headers={"retry-after": "7"}))
    with pytest.raises(anthropic.APIStatusError) as caught:
        claude.messages.create(**HELLO)
    assert caught.value.status_code == status
    assert caught.value.body == {
        "type": "error",
        "error": {"type": kind, "message": "as told"},
        "request_id": caught.value.request_id,
    }
    assert caught.value.response.headers["retry-after"] == "7"


def test_the_type_of_a_failure_can_be_given(stand_in: StandIn, http: httpx.Client) -> None:
    stand_in.script(Failure(400, type="billing_error"))
    assert _ask(http).json()["error"]["type"] == "billing_error"


def test_a_failure_within_a_stream_is_an_error_event(stand_in: StandIn, claude: anthropic.Anthropic) -> None:
    stand_in.script(answer("Never said to the end, alas", error_after=(4, Failure(529, message="too busy"))))
    texts: list[str] = []
    with pytest.raises(anthropic.APIStatusError, match="too busy"), claude.messages.stream(**HELLO) as stream:
        texts.extend(stream.text_stream)
    assert texts == ["Never said to the en"]


def test_a_failure_within_a_stream_is_the_whole_answer_to_a_plain_request(
    stand_in: StandIn, http: httpx.Client
) -> None:
    stand_in.script(answer("x", error_after=(4, Failure(529))))
    assert _ask(http).status_code == 529


@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_cut_stream_is_an_incomplete_read(stand_in: StandIn, http: httpx.Client, count: int) -> None:
    stand_in.script(answer("a" * 200, cut_after=count))
    received = bytearray()
    with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
        _receive(http, received)
    assert received.count(b"event: ") == count
    assert _ask(http).status_code == 200, "the stand-in goes on"
    assert not stand_in.requests[0].closed_early


def test_a_cut_plain_answer_is_an_incomplete_read(stand_in: StandIn, http: httpx.Client) -> None:
    stand_in.script(answer("a" * 200, cut_after=3))
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        _ask(http)


def test_a_hanging_stream_sends_its_events_and_then_nothing(stand_in: StandIn, http: httpx.Client) -> None:
    stand_in.script(answer("a" * 200, hang_after=4))
    received = bytearray()
    with pytest.raises(httpx.ReadTimeout):
        _receive(http, received, timeout=IMPATIENT)
    assert received.count(b"event: ") == 4
    assert stand_in.wait_for_disconnect(0).closed_early


@pytest.mark.parametrize(
    "reply",
    [
        answer("late", delay_s=60),
        answer("slow " * 20, between_s=60),
        answer("hung", hang_after=0),
        Failure(500, delay_s=60),
        RawEvents(events=[("ping", "{}"), ("ping", "{}")], between_s=60),
        RawBody(200, b"late", delay_s=60),
    ],
    ids=lambda reply: type(reply).__name__,
)
def test_a_client_that_leaves_is_noticed(stand_in: StandIn, http: httpx.Client, reply: Reply) -> None:
    stand_in.script(reply)
    with pytest.raises(httpx.ReadTimeout):
        http.post("/v1/messages", json=STREAMED, timeout=IMPATIENT)
    assert stand_in.wait_for_disconnect().closed_early
    assert stand_in.requests[0].is_finished
    assert stand_in.in_flight == 0


def test_a_client_that_leaves_while_the_function_thinks_is_noticed(stand_in: StandIn, http: httpx.Client) -> None:
    cancelled = threading.Event()

    async def respond(request: RecordedRequest) -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return "late"

    stand_in.respond = respond
    with pytest.raises(httpx.ReadTimeout):
        http.post("/v1/messages", json=HELLO, timeout=IMPATIENT)
    stand_in.wait_for_disconnect(0)
    assert cancelled.wait(60)


def test_a_client_that_leaves_in_the_middle_of_its_request_is_not_recorded(stand_in: StandIn) -> None:
    with socket.create_connection(("127.0.0.1", int(stand_in.base_url.rpartition(":")[2]))) as connection:
        connection.sendall(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{")
    with _http(stand_in) as http:
        _ask(http)
    assert len(stand_in.requests) == 1


@pytest.mark.parametrize("reply", [answer("x", delay_s=0.2), Failure(500, delay_s=0.2), RawBody(200, b"", delay_s=0.2)])
def test_a_delay_is_the_time_to_the_first_byte(stand_in: StandIn, http: httpx.Client, reply: Reply) -> None:
    stand_in.script(reply)
    started = time.monotonic()
    with http.stream("POST", "/v1/messages", json=STREAMED) as response:
        assert time.monotonic() - started >= 0.2
        response.read()


def test_deltas_come_one_by_one_when_there_is_time_between_them(stand_in: StandIn, http: httpx.Client) -> None:
    stand_in.script(answer("one two three", chunk_chars=4, between_s=0.05))
    with http.stream("POST", "/v1/messages", json=STREAMED) as response:
        arrivals = [(time.monotonic(), part) for part in response.iter_raw()]
    assert sum(part.count(b"content_block_delta") // 2 for _, part in arrivals) == 4
    assert len(arrivals) > 2  # a slow machine may read two of them at once
    assert arrivals[-1][0] - arrivals[0][0] >= 0.19


def test_raw_events_are_sent_untouched(stand_in: StandIn, http: httpx.Client) -> None:
    stand_in.script(RawEvents(events=[("message_stop", {"type": "message_stop"}), ("nonsense", "{not json")]))
    assert (
        _ask(http).text == 'event: message_stop\ndata: {"type":"message_stop"}\n\nevent: nonsense\ndata: {not json\n\n'
    )


def test_raw_events_can_be_cut(stand_in: StandIn, http: httpx.Client) -> None:
    stand_in.script(RawEvents(events=[("ping", {"type": "ping"})], cut=True))
    with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
        _ask(http)


def test_a_raw_body_is_sent_untouched(stand_in: StandIn, http: httpx.Client) -> None:
    stand_in.script(RawBody(502, b"<html>Bad gateway</html>"))
    response = _ask(http)
    assert (response.status_code, response.content) == (502, b"<html>Bad gateway</html>")
    assert response.headers["content-type"] == "text/html"


@pytest.mark.parametrize(
    "early", [{"cut_after": 1, "hang_after": 2}, {"cut_after": 1, "error_after": (1, Failure(500))}]
)
def test_an_answer_cannot_end_early_in_two_ways(early: Any) -> None:
    with pytest.raises(ValueError, match="only one of"):
        answer("x", **early)


def test_deltas_of_no_characters_are_refused() -> None:
    with pytest.raises(ValueError, match="chunk_chars"):
        answer("x", chunk_chars=0)


@pytest.mark.parametrize(
    "headers", [{}, {"x-api-key": "wrong"}, {"authorization": "Bearer wrong"}, {"authorization": "stand-in-key"}]
)
def test_a_request_without_the_key_is_refused_and_recorded(stand_in: StandIn, headers: dict[str, str]) -> None:
    stand_in.script("still there")
    response = httpx.post(f"{stand_in.base_url}/v1/messages", json=HELLO, headers=headers, trust_env=False)
    assert response.status_code == 401
    assert response.json()["error"]["type"] == "authentication_error"
    assert len(stand_in.requests) == 1
    with _http(stand_in) as http:
        assert _ask(http).json()["content"][0]["text"] == "still there", "a refused request uses up no answer"


def test_the_key_may_come_as_a_bearer_token(stand_in: StandIn) -> None:
    with anthropic.Anthropic(base_url=stand_in.base_url, auth_token=stand_in.api_key, api_key=None) as claude:
        assert claude.messages.create(**HELLO).stop_reason == "end_turn"


def test_a_stand_in_without_a_key_accepts_any() -> None:
    with StandIn(api_key=None) as stand_in:
        for headers in ({}, {"x-api-key": stand_in.api_key}):
            response = httpx.post(f"{stand_in.base_url}/v1/messages", json=HELLO, headers=headers, trust_env=False)
            assert response.status_code == 200


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"model": None}, "model: Field required"),
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"messages": None}, "messages: Field required"),
        ({"max_tokens": 0}, "max_tokens: Input should be"),
        ({"max_tokens": "9"}, "max_tokens: Input should be"),
        ({"messages": "hello"}, "messages: Input should be"),
        ({"messages": []}, "at least one message"),
        ({"messages": ["hello"]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 'must use the "user" role'),
    ],
)
def test_a_body_the_api_would_refuse_is_refused(
    stand_in: StandIn, http: httpx.Client, change: dict[str, Any], complaint: str
) -> None:
    body = {key: value for key, value in {**HELLO, **change}.items() if value is not None}
    response = _ask(http, body)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert complaint in response.json()["error"]["message"]
    assert stand_in.requests[0].body == body


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_body_that_is_no_json_object_is_refused(http: httpx.Client, content: bytes) -> None:
    assert http.post("/v1/messages", content=content).status_code == 400


def test_the_check_of_bodies_can_be_switched_off() -> None:
    with StandIn(validate=False) as stand_in, _http(stand_in) as http:
        assert _ask(http, {}).json()["content"][0]["text"] == "You said: "


def test_tokens_can_be_counted(stand_in: StandIn, claude: anthropic.Anthropic) -> None:
    assert claude.messages.count_tokens(model=HELLO["model"], messages=HELLO["messages"]).input_tokens > 0
    assert stand_in.requests == []
    assert [seen.path for seen in stand_in.other_requests] == ["/v1/messages/count_tokens"]


def test_counting_tokens_needs_the_key(stand_in: StandIn) -> None:
    assert httpx.post(f"{stand_in.base_url}/v1/messages/count_tokens", json=HELLO, trust_env=False).status_code == 401


def test_everything_else_is_not_found_and_recorded_apart(stand_in: StandIn, http: httpx.Client) -> None:
    asked = [
        ("HEAD", "/"),
        ("GET", "/"),
        ("GET", "/v1/messages"),
        ("POST", "/v1/complete"),
        ("PUT", "/a/b"),
        ("GET", "/v1/models"),
    ]
    for method, path in asked:
        response = http.request(method, path)
        assert response.status_code == 404
        if method != "HEAD":
            assert response.json()["error"] == {"type": "not_found_error", "message": "Not found"}
    assert [(seen.method, seen.path) for seen in stand_in.other_requests] == asked
    assert stand_in.requests == []


def test_one_call_is_one_request_and_nothing_else(stand_in: StandIn, claude: anthropic.Anthropic) -> None:
    claude.messages.create(**HELLO)
    assert (len(stand_in.requests), stand_in.other_requests) == (1, [])


def test_many_threads_are_each_answered_with_their_own_words(stand_in: StandIn, http: httpx.Client) -> None:
    def ask(number: int) -> tuple[str, str]:
        body = {**HELLO, "stream": bool(number % 2), "messages": [{"role": "user", "content": f"number {number}"}]}
        response = _ask(http, body)
        return f"You said: number {number}", _text(response) or response.json()["content"][0]["text"]

    with ThreadPoolExecutor(16) as threads:
        for expected, said in threads.map(ask, range(200)):
            assert said == expected
    assert [seen.index for seen in stand_in.requests] == list(range(200))
    assert {seen.body["messages"][0]["content"] for seen in stand_in.requests} == {f"number {n}" for n in range(200)}
    assert stand_in.in_flight == 0


def test_the_script_is_shared_out_among_threads_without_loss_or_repetition(
    stand_in: StandIn, http: httpx.Client
) -> None:
    stand_in.script(*(f"answer {number}" for number in range(100)))
    with ThreadPoolExecutor(16) as threads:
        responses = list(threads.map(lambda _: _ask(http), range(100)))
    assert {r.json()["content"][0]["text"] for r in responses} == {f"answer {number}" for number in range(100)}


def test_requests_in_flight_are_counted(stand_in: StandIn, http: httpx.Client) -> None:
    stand_in.respond = lambda request: answer("x", delay_s=0.3)
    with ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(_ask, http) for _ in range(8)]
        stand_in.wait_for(8)
        assert stand_in.in_flight == 8
        assert all(call.result().status_code == 200 for call in calls)
    assert (stand_in.in_flight, stand_in.max_in_flight) == (0, 8)


def test_whoever_has_its_answer_finds_the_request_finished(stand_in: StandIn, http: httpx.Client) -> None:
    for index in range(300):
        _ask(http, STREAMED)
        assert stand_in.in_flight == 0
        assert stand_in.requests[index].is_finished


def test_the_snapshot_of_requests_does_not_grow(stand_in: StandIn, http: httpx.Client) -> None:
    before = stand_in.requests
    _ask(http)
    assert before == []
    assert len(stand_in.requests) == 1


def test_waiting_for_requests_that_do_not_come_times_out(stand_in: StandIn, http: httpx.Client) -> None:
    _ask(http)
    assert len(stand_in.wait_for(1)) == 1
    with pytest.raises(TimeoutError, match="saw 1 of 2"):
        stand_in.wait_for(2, timeout_s=0.05)
    with pytest.raises(TimeoutError, match="no client left request 0"):
        stand_in.wait_for_disconnect(0, timeout_s=0.05)


def test_a_reset_forgets_requests_and_answers(stand_in: StandIn, http: httpx.Client) -> None:
    stand_in.script("one", "two")
    _ask(http)
    http.get("/")
    stand_in.reset()
    assert (stand_in.requests, stand_in.other_requests, stand_in.max_in_flight) == ([], [], 0)
    assert _ask(http).json()["content"][0]["text"] == "You said: hello"
    assert stand_in.requests[0].index == 0


def test_what_was_asked_can_be_had_over_http(stand_in: StandIn, http: httpx.Client) -> None:
    for number in range(3):
        _ask(http, {**HELLO, "max_tokens": number + 1})
    answered = http.get("/_stand_in/requests", params={"since": 1}).json()
    assert answered["count"] == 3
    assert [body["max_tokens"] for body in answered["bodies"]] == [2, 3]
    assert http.post("/_stand_in/reset").status_code == 200
    assert http.get("/_stand_in/requests").json() == {"count": 0, "bodies": []}
    assert stand_in.other_requests == []


def test_what_was_asked_is_told_to_holders_of_the_key_only(stand_in: StandIn, http: httpx.Client) -> None:
    _ask(http)
    for method, path in [("GET", "/_stand_in/requests"), ("POST", "/_stand_in/reset")]:
        assert httpx.request(method, stand_in.base_url + path, trust_env=False).status_code == 401
    assert len(stand_in.requests) == 1


def test_what_the_stand_in_does_not_tell_of_itself_is_not_found(stand_in: StandIn, http: httpx.Client) -> None:
    assert http.get("/_stand_in/reset").status_code == 404
    assert http.post("/_stand_in/nonsense").status_code == 404
    assert stand_in.other_requests == []


def test_start_and_stop_may_be_repeated() -> None:
    stand_in = StandIn()
    stand_in.stop()
    stand_in.start()
    stand_in.start()
    with _http(stand_in) as http:
        assert _ask(http).status_code == 200
    stand_in.stop()
    stand_in.stop()
    with pytest.raises(httpx.ConnectError), _http(stand_in) as http:
        _ask(http)


def test_a_stand_in_comes_back_at_the_same_address_and_with_its_record() -> None:
    stand_in = StandIn()
    with stand_in, _http(stand_in) as http:
        _ask(http)
        address = stand_in.base_url
    with stand_in, _http(stand_in) as http:
        assert stand_in.base_url == address
        _ask(http)
    assert len(stand_in.requests) == 2


def test_before_the_first_start_there_is_no_address() -> None:
    with pytest.raises(RuntimeError, match="no address yet"):
        _ = StandIn().base_url


def test_a_port_in_use_is_named_in_the_error(stand_in: StandIn) -> None:
    port = int(stand_in.base_url.rpartition(":")[2])
    second = StandIn(port=port)
    with pytest.raises(RuntimeError, match=f"cannot listen on 127.0.0.1:{port}"):
        second.start()
    second.stop()


def test_stopping_drops_open_connections_at_once_and_leaves_nothing() -> None:
    threads = threading.active_count()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stand_in = StandIn([answer("hung", hang_after=3), answer("late", delay_s=60)])
        stand_in.start()
        with _http(stand_in) as http, ThreadPoolExecutor(3) as callers:
            calls = [callers.submit(_ask, http, STREAMED) for _ in range(2)]
            stand_in.wait_for(2)
            _ask(http)  # leaves an idle connection
            started = time.monotonic()
            stand_in.stop()
            assert time.monotonic() - started < 30
            assert all(isinstance(call.exception(30), httpx.TransportError) for call in calls)
    assert threading.active_count() == threads
    assert stand_in.in_flight == 0
    assert [seen.closed_early for seen in stand_in.requests] == [False] * 3, "it was not the client who left"


def test_starting_and_stopping_take_little_time() -> None:
    started = time.monotonic()
    for _ in range(5):
        with StandIn():
            pass
    assert time.monotonic() - started < 30


@pytest.mark.processes
def test_the_stand_in_leaves_no_resource_warning_in_an_interpreter_of_its_own() -> None:
    program = """
import logging
import httpx
from litellm_claude_code.testing import StandIn, answer
logging.getLogger("asyncio").setLevel(logging.ERROR)  # development mode tells of slow callbacks, on a slow machine
with StandIn([answer("hung", hang_after=2)], respond=lambda request: "plain") as stand_in:
    client = httpx.Client(base_url=stand_in.base_url, headers={"x-api-key": stand_in.api_key}, trust_env=False)
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}
    try:
        client.post("/v1/messages", json=body, timeout=0.5)
    except httpx.ReadTimeout:
        pass
    client.post("/v1/messages", json=body)
client.close()
"""
    ran = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def _misbehave(stand_in: StandIn) -> None:
    stand_in.script(answer("cut", cut_after=2), RawEvents(events=[], cut=True), answer("hung", hang_after=0))
    with _http(stand_in) as http:
        for _ in range(2):
            with pytest.raises(httpx.RemoteProtocolError):
                _ask(http, STREAMED)
        with pytest.raises(httpx.ReadTimeout):
            http.post("/v1/messages", json=STREAMED, timeout=IMPATIENT)
        assert _ask(http).status_code == 200
    with socket.create_connection(("127.0.0.1", int(stand_in.base_url.rpartition(":")[2]))) as connection:
        connection.sendall(b"this is not HTTP\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400")


def _state_of_logging() -> list[object]:
    loggers = (logging.getLogger(name) for name in (None, "uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"))
    return [
        (log.name, log.level, log.propagate, log.disabled, list(log.handlers), list(log.filters)) for log in loggers
    ]


def test_the_logging_of_the_process_is_neither_used_nor_changed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    before = _state_of_logging()
    with StandIn() as stand_in:
        _misbehave(stand_in)
    assert _state_of_logging() == before
    assert [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore", "asyncio"))] == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.processes
def test_nothing_is_printed_where_logging_is_not_set_up(forks: Forker, tmp_path: Path) -> None:
    program = """
import sys, tempfile
sys.path.insert(0, sys.argv[1])
tempfile.tempdir = sys.argv[2]  # the tests' helpers make a home folder
from tests.test_stand_in import StandIn, _misbehave
with StandIn() as stand_in:
    _misbehave(stand_in)
"""
    root = str(Path(__file__).parents[1])
    ran = forks.start(program, root, str(tmp_path), home=tmp_path)
    assert ran.wait() == ("", "")
    assert ran.program.wait() == 0


@pytest.mark.processes
def test_the_pytest_fixture_gives_each_test_a_fresh_stand_in(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["litellm_claude_code.testing.plugin"]')
    (tmp_path / "test_it.py").write_text(
        """
import httpx, pytest

@pytest.mark.parametrize("number", [1, 2])
def test_it(claude_stand_in, number):
    assert claude_stand_in.other_requests == []
    assert httpx.get(claude_stand_in.base_url, trust_env=False).status_code == 404
    assert len(claude_stand_in.other_requests) == 1
"""
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-q",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # no plugin but the one conftest.py names
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert "2 passed" in ran.stdout, ran.stdout + ran.stderr


@pytest.mark.processes
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_served_from_the_command_line_it_answers_records_and_ends(
    forks: Forker, tmp_path: Path, ending: signal.Signals
) -> None:
    record, out = tmp_path / "seen.jsonl", tmp_path / "out"
    program = "import runpy; runpy.run_module('litellm_claude_code.testing', run_name='__main__')"
    arguments = ("--text", "as told", "--delay-s", "0.1", "--record", str(record))
    served = forks.start(program, *arguments, home=tmp_path)
    try:
        told = wait_until(lambda: served.program.poll() is not None or out.read_text().endswith("\n"))
        assert told, (tmp_path / "errors").read_text()
        where = json.loads(out.read_text())
        started = time.monotonic()
        with httpx.Client(base_url=where["base_url"], headers={"x-api-key": where["api_key"]}, trust_env=False) as http:
            assert _ask(http).json()["content"][0]["text"] == "as told"
            assert time.monotonic() - started >= 0.1
            assert http.get("/_stand_in/requests").json() == {"count": 1, "bodies": [HELLO]}
        served.program.send_signal(ending)
        assert served.wait() == (json.dumps(where) + "\n", "")
        assert served.program.wait() == 0
    finally:
        served.kill_its_session()
    assert [json.loads(line) for line in record.read_text().splitlines()] == [HELLO]


async def test_asynchronous_clients_are_served_from_the_same_process(stand_in: StandIn) -> None:
    async with anthropic.AsyncAnthropic(base_url=stand_in.base_url, api_key=stand_in.api_key) as claude:
        replies = await asyncio.gather(*(claude.messages.create(**HELLO) for _ in range(8)))
    assert len(await asyncio.to_thread(stand_in.wait_for, 8)) == 8
    assert len({reply.id for reply in replies}) == 8
