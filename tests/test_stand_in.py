"""The stand-in of the Messages API, seen by Anthropic's own client and by a plain HTTP client.

What it refuses and the JSON it answers: test_stand_in_checks.py. Those of the clouds: test_stand_in_clouds.py.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
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
VERSION = {"anthropic-version": "2023-06-01"}


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[StandIn, httpx.Client]]:
    with StandIn() as running, client_of(running) as http:
        yield running, http


@pytest.fixture
def standing(shared: tuple[StandIn, httpx.Client]) -> Iterator[StandIn]:
    running, _ = shared
    running.reset()
    respond = running.respond
    yield running
    running.respond = respond


@pytest.fixture
def http(shared: tuple[StandIn, httpx.Client]) -> httpx.Client:
    return shared[1]


@pytest.fixture
def claude(standing: StandIn) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=standing.base_url, api_key=standing.api_key, max_retries=0) as client:
        yield client


def client_of(stand_in: StandIn, headers: dict[str, str] | None = None) -> httpx.Client:
    headers = {"x-api-key": stand_in.api_key} if headers is None else headers
    return httpx.Client(base_url=stand_in.base_url, headers={**VERSION, **headers}, trust_env=False)


def ask(client: httpx.Client, body: Any = HELLO, **options: Any) -> httpx.Response:
    return client.post("/v1/messages", json=body, **options)


def said(response: httpx.Response) -> str:
    if response.headers["content-type"] == "application/json":
        return str(response.json()["content"][0]["text"])
    deltas = [data["delta"] for name, data in events_of(response) if name == "content_block_delta"]
    return "".join(delta.get("text", "") for delta in deltas)


def events_of(response: httpx.Response) -> list[tuple[str, Any]]:
    return [(name, json.loads(data)) for name, data in re.findall(r"event: (.*)\ndata: (.*)\n\n", response.text)]


def receive(client: httpx.Client, into: bytearray, body: Any = STREAMED, **options: Any) -> None:
    with client.stream("POST", "/v1/messages", json=body, **options) as response:
        for part in response.iter_raw():
            into += part


# What an answer looks like on the wire

EVERYTHING: list[Block] = [
    Thinking("Let me think about this for a while.", signature="c2ln"),
    RedactedThinking("b3BhcXVl"),
    Text('Here is an answer longer than one delta: déjà vu, 日本語, 🦉, "quotes"\n and lines.'),
    ToolUse("search", {"query": "a rather long query", "limit": 3, "nested": {"list": [1, None, "ü"]}}),
    ToolUse("now"),
]
REFUSAL = {"type": "refusal", "category": "cyber", "explanation": "No."}
USAGE = Usage(
    input_tokens=10, output_tokens=20, cache_creation_input_tokens=30, cache_read_input_tokens=40,
    cache_creation={"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
    server_tool_use={"web_search_requests": 2}, output_tokens_details={"thinking_tokens": 5},
)  # fmt: skip


@pytest.mark.parametrize(
    ("reply", "stop_reason"),
    [
        (answer(*EVERYTHING), "tool_use"),
        (answer(*EVERYTHING, chunk_chars=1, between_s=0.001), "tool_use"),
        (answer(), "end_turn"),
        (answer(""), "end_turn"),
        (answer("no", stop_reason="refusal", stop_details=REFUSAL), "refusal"),
        (answer("stopped", stop_sequence="END"), "stop_sequence"),
        (answer("x", model="claude-other", id="msg_mine", usage=USAGE), "end_turn"),
        (answer("free", reports_usage=False), "end_turn"),
    ],
    ids=repr,
)
def test_a_streamed_answer_adds_up_to_the_plain_one(
    standing: StandIn, claude: anthropic.Anthropic, reply: Answer, stop_reason: str
) -> None:
    reply = Answer(**{**vars(reply), "id": "msg_same"})
    standing.script(reply, reply)
    plain = claude.messages.create(**HELLO).model_dump(mode="json", exclude_none=True)
    with claude.messages.stream(**HELLO) as stream:
        streamed = stream.get_final_message().model_dump(mode="json", exclude_none=True)
    for block in streamed["content"]:
        block.pop("parsed_output", None)  # the client's stream helper adds it
    assert streamed == plain
    assert plain["stop_reason"] == stop_reason
    assert plain.get("stop_details") == reply.stop_details


def test_the_stream_has_the_events_of_the_real_api_in_their_order(standing: StandIn, http: httpx.Client) -> None:
    blocks = (Thinking("Hm.", signature="c2ln"), RedactedThinking("b3Bh"), "Yes, it is so, twenty-five")
    standing.script(answer(*blocks, ToolUse("add", {"a": 1}, id="toolu_1"), usage=USAGE))
    response = ask(http, STREAMED)
    events = events_of(response)
    two_deltas = ("content_block_start", "content_block_delta", "content_block_delta", "content_block_stop")
    redacted = ("content_block_start", "content_block_stop")
    names = [name for name, _ in events]
    assert names == [
        *("message_start", "ping", *two_deltas, *redacted, *two_deltas, *two_deltas, "message_delta", "message_stop")
    ]
    assert all(data["type"] == name for name, data in events)
    assert [data["content_block"] for name, data in events if name == "content_block_start"] == [
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "redacted_thinking", "data": "b3Bh"},
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
    # The start has the input's usage, and the end the cumulative one.
    both = {"input_tokens": 10, "cache_creation_input_tokens": 30, "cache_read_input_tokens": 40}
    assert events[0][1]["message"]["usage"] == {
        **both,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
        "output_tokens": 1,
        "service_tier": "standard",
    }
    assert events[-2][1]["usage"] == {
        **both,
        "output_tokens": 20,
        "server_tool_use": {"web_search_requests": 2},
        "output_tokens_details": {"thinking_tokens": 5},
    }
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["request-id"].startswith("req_")


def test_usage_is_estimated_alike_every_time_or_zero_and_ids_are_unique(standing: StandIn, http: httpx.Client) -> None:
    responses = [ask(http) for _ in range(2)]
    first, second = (response.json()["usage"] for response in responses)
    assert first == second
    assert len({response.json()["id"] for response in responses}) == 2
    assert len({response.headers["request-id"] for response in responses}) == 2
    assert first["input_tokens"] >= 1
    assert first["output_tokens"] == len("You said: hello") // 4
    standing.script(answer("x", usage=USAGE, reports_usage=False))
    events = dict(events_of(ask(http, STREAMED)))
    assert events["message_start"]["message"]["usage"]["output_tokens"] == 0
    assert set(events["message_delta"]["usage"].values()) == {0}


# Which answer a request gets


def test_answers_are_used_in_order_and_then_the_function_is_asked() -> None:
    with StandIn(["one", answer("two")], respond=lambda request: f"number {request.index}") as stand_in:
        stand_in.script("three")
        with client_of(stand_in) as http:
            assert [said(ask(http)) for _ in range(5)] == ["one", "two", "three", "number 3", "number 4"]


def test_unscripted_the_last_user_message_is_echoed(http: httpx.Client) -> None:
    turns = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "said"},
        {"role": "user", "content": [{"type": "text", "text": "se"}, {"type": "text", "text": "cond"}]},
        {"role": "assistant", "content": "prefill"},
    ]
    assert said(ask(http, {**STREAMED, "messages": turns})) == "You said: second"


async def respond_later(request: RecordedRequest) -> Reply:
    await asyncio.sleep(0.01)
    return f"later: {request.body['model']}"


def raising(request: RecordedRequest) -> str:
    raise AssertionError("not what the test expected")


@pytest.mark.parametrize(
    ("respond", "status", "expected"),
    [
        (respond_later, 200, "later: claude-sonnet-5-5"),
        (lambda request: "later: claude-sonnet-5-5", 200, "later: claude-sonnet-5-5"),
        (raising, 500, "not what the test expected"),
        (lambda request: None, 500, "returned None"),
    ],
    ids=["asynchronous", "plain", "raises", "no answer"],
)
def test_the_function_may_be_sync_or_async_and_its_errors_are_reported(
    standing: StandIn, http: httpx.Client, respond: Any, status: int, expected: str
) -> None:
    standing.respond = respond
    response = ask(http)
    assert response.status_code == status
    assert expected in response.text


def test_a_plain_function_may_wait_for_other_requests_which_are_counted(standing: StandIn, http: httpx.Client) -> None:
    together, may_end = threading.Barrier(24), threading.Event()

    def respond(request: RecordedRequest) -> str:
        together.wait(10)
        return "met" if may_end.wait(60) else "late"

    standing.respond = respond
    with ThreadPoolExecutor(24) as threads:
        calls = [threads.submit(ask, http) for _ in range(24)]
        standing.wait_for(24)
        assert standing.in_flight == 24
        may_end.set()
        assert {said(call.result()) for call in calls} == {"met"}
    assert (standing.in_flight, standing.max_in_flight) == (0, 24)


def test_each_of_many_threads_is_answered_and_a_script_is_shared_out(standing: StandIn, http: httpx.Client) -> None:
    def ask_for(number: int) -> tuple[str, str]:
        turns = [{"role": "user", "content": f"number {number}"}]
        return f"You said: number {number}", said(ask(http, {**HELLO, "stream": bool(number % 2), "messages": turns}))

    with ThreadPoolExecutor(16) as threads:
        for expected, heard in threads.map(ask_for, range(100)):
            assert heard == expected
        assert [seen.index for seen in standing.requests] == list(range(100))
        standing.script(*(f"answer {number}" for number in range(100)))
        heard_all = {said(response) for response in threads.map(lambda _: ask(http), range(100))}
    assert heard_all == {f"answer {number}" for number in range(100)}


# Failures, cuts and delays


KINDS = {400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error",
         404: "not_found_error", 413: "request_too_large", 418: "invalid_request_error", 429: "rate_limit_error",
         500: "api_error", 502: "api_error", 503: "overloaded_error", 504: "timeout_error",
         529: "overloaded_error"}  # fmt: skip


def test_a_failure_comes_in_the_envelope_of_the_api(standing: StandIn, http: httpx.Client) -> None:
    standing.script(*(Failure(status, message="as told", headers={"retry-after": "7"}) for status in KINDS))
    for status, kind in KINDS.items():
        response = ask(http)
        error = {"type": kind, "message": "as told"}
        assert response.json() == {"type": "error", "error": error, "request_id": response.headers["request-id"]}
        assert (response.status_code, response.headers["retry-after"]) == (status, "7")


def test_a_failure_may_have_another_type_and_come_within_a_stream(
    standing: StandIn, claude: anthropic.Anthropic, http: httpx.Client
) -> None:
    standing.script(Failure(400, type="billing_error"))
    assert ask(http).json()["error"]["type"] == "billing_error"
    broken = answer("Never said to the end, alas", error_after=(4, Failure(529, message="too busy")))
    standing.script(broken, broken)
    texts: list[str] = []
    with pytest.raises(anthropic.APIStatusError, match="too busy"), claude.messages.stream(**HELLO) as stream:
        texts.extend(stream.text_stream)
    assert texts == ["Never said to the en"]
    assert ask(http).status_code == 529, "for a plain request it is the whole answer"


@pytest.mark.parametrize(
    ("reply", "body", "events"),
    [
        (answer("a" * 200, cut_after=0), STREAMED, 0),
        (answer("a" * 200, cut_after=1), STREAMED, 1),
        (answer("a" * 200, cut_after=5), STREAMED, 5),
        (answer("a" * 200, cut_after=3), HELLO, 0),
        (RawEvents(events=[("ping", {"type": "ping"})], cut=True), HELLO, 1),
    ],
    ids=["at once", "one event", "five events", "plain", "raw"],
)
def test_a_cut_answer_is_an_incomplete_read(
    standing: StandIn, http: httpx.Client, reply: Reply, body: Any, events: int
) -> None:
    standing.script(reply)
    received = bytearray()
    with pytest.raises(httpx.RemoteProtocolError, match=r"incomplete|without sending complete message body"):
        receive(http, received, body)
    assert received.count(b"event: ") == events
    assert ask(http).status_code == 200, "the stand-in goes on"
    assert not standing.requests[0].closed_early


def test_a_hanging_stream_sends_its_events_and_then_nothing(standing: StandIn, http: httpx.Client) -> None:
    standing.script(answer("a" * 200, hang_after=4))
    received = bytearray()
    with pytest.raises(httpx.ReadTimeout):
        receive(http, received, timeout=IMPATIENT)
    assert received.count(b"event: ") == 4
    assert standing.wait_for_disconnect(0).closed_early


def test_a_client_that_leaves_is_noticed(standing: StandIn, http: httpx.Client) -> None:
    cancelled = threading.Event()

    async def think(request: RecordedRequest) -> str:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()
        return "late"

    standing.respond = think
    standing.script(
        answer("late", delay_s=60),
        answer("slow " * 20, between_s=60),
        answer("hung", hang_after=0),
        Failure(500, delay_s=60),
        RawEvents(events=[("ping", "{}"), ("ping", "{}")], between_s=60),
        RawBody(200, b"late", delay_s=60),
    )
    for index in range(7):  # the last one asks the function
        with pytest.raises(httpx.ReadTimeout):
            ask(http, STREAMED, timeout=IMPATIENT)
        assert standing.wait_for_disconnect(index).is_finished
    assert cancelled.wait(60)
    assert standing.in_flight == 0


def test_a_request_that_is_incomplete_or_not_json_is_not_recorded(standing: StandIn, http: httpx.Client) -> None:
    assert {http.post("/v1/messages", content=content).status_code for content in (b"", b"{", b"[]", b"\xff")} == {400}
    before = len(standing.requests)
    with socket.create_connection(("127.0.0.1", int(standing.base_url.rpartition(":")[2]))) as connection:
        connection.sendall(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{")
    ask(http)
    assert len(standing.requests) == before + 1


def test_a_delay_is_the_time_to_the_first_byte_and_then_deltas_may_come_one_by_one(
    standing: StandIn, http: httpx.Client
) -> None:
    for reply in (answer("x", delay_s=0.1), Failure(500, delay_s=0.1), RawBody(200, b"", delay_s=0.1)):
        standing.script(reply)
        started = time.monotonic()
        with http.stream("POST", "/v1/messages", json=STREAMED) as response:
            assert time.monotonic() - started >= 0.1
            response.read()
    standing.script(answer("one two three", chunk_chars=4, between_s=0.05))
    with http.stream("POST", "/v1/messages", json=STREAMED) as response:
        arrivals = [(time.monotonic(), part) for part in response.iter_raw()]
    assert sum(part.count(b"content_block_delta") // 2 for _, part in arrivals) == 4
    assert len(arrivals) > 2  # a slow machine may read two of them at once
    assert arrivals[-1][0] - arrivals[0][0] >= 0.19


def test_raw_answers_are_sent_untouched(standing: StandIn, http: httpx.Client) -> None:
    standing.script(RawEvents(events=[("message_stop", {"type": "message_stop"}), ("nonsense", "{not json")]))
    untouched = 'event: message_stop\ndata: {"type":"message_stop"}\n\nevent: nonsense\ndata: {not json\n\n'
    assert ask(http).text == untouched
    standing.script(RawBody(502, b"<html>Bad gateway</html>"))
    response = ask(http)
    assert (response.status_code, response.content) == (502, b"<html>Bad gateway</html>")
    assert response.headers["content-type"] == "text/html"


def test_an_impossible_answer_is_refused() -> None:
    for options in ({"cut_after": 1, "hang_after": 2}, {"cut_after": 1, "error_after": (1, Failure(500))}):
        with pytest.raises(ValueError, match="only one of"):
            answer("x", **options)
    with pytest.raises(ValueError, match="chunk_chars"):
        answer("x", chunk_chars=0)


# Keys, and what is recorded


STRANGERS: list[dict[str, str]] = [
    {}, {"x-api-key": "wrong"}, {"authorization": "Bearer wrong"}, {"authorization": "stand-in-key"},
]  # fmt: skip
OTHER_PATHS = [("POST", "/v1/messages/count_tokens"), ("GET", "/_stand_in/requests"), ("POST", "/_stand_in/reset")]


def test_a_request_without_the_key_is_refused_and_recorded(standing: StandIn, http: httpx.Client) -> None:
    standing.script("still there")
    for count, headers in enumerate(STRANGERS, 1):
        with client_of(standing, headers) as stranger:
            response = ask(stranger)
            assert (response.status_code, response.json()["error"]["type"]) == (401, "authentication_error")
            assert {stranger.request(*other, json=HELLO).status_code for other in OTHER_PATHS} == {401}
        assert len(standing.requests) == count
    assert said(ask(http)) == "still there", "a refused request uses up no answer"
    assert standing.api_key not in repr(standing.requests)


def test_the_key_may_come_as_a_bearer_token_or_not_be_asked_for(standing: StandIn) -> None:
    with anthropic.Anthropic(base_url=standing.base_url, auth_token=standing.api_key, api_key=None) as claude:
        assert claude.messages.create(**HELLO).stop_reason == "end_turn"
    with StandIn(api_key=None) as open_to_all:
        for headers in ({}, {"x-api-key": open_to_all.api_key}):
            with client_of(open_to_all, headers) as http:
                assert ask(http).status_code == 200


def test_a_request_is_recorded_as_it_was_sent_and_finished_when_it_is_answered(
    standing: StandIn, http: httpx.Client
) -> None:
    none_yet, before = standing.requests, time.monotonic()
    http.post("/v1/messages?beta=true", json=HELLO, headers={"Anthropic-Beta": "one"})
    (seen,) = standing.requests
    assert none_yet == [], "a list of the requests does not grow"
    assert (seen.index, seen.method, seen.path, seen.query) == (0, "POST", "/v1/messages", {"beta": "true"})
    assert seen.body == HELLO
    assert seen.headers["anthropic-beta"] == "one"
    assert before <= seen.received_at <= time.monotonic()
    assert not seen.closed_early
    for index in range(1, 50):
        ask(http, STREAMED)
        assert standing.in_flight == 0
        assert standing.requests[index].is_finished


def test_everything_else_is_recorded_apart(standing: StandIn, claude: anthropic.Anthropic, http: httpx.Client) -> None:
    claude.messages.create(**HELLO)
    assert (len(standing.requests), standing.other_requests) == (1, []), "a call makes no other request"
    assert claude.messages.count_tokens(model=HELLO["model"], messages=HELLO["messages"]).input_tokens > 0
    not_found = [("HEAD", "/"), ("GET", "/"), ("GET", "/v1/messages"), ("POST", "/v1/complete"), ("PUT", "/a/b")]
    for method, path in not_found:
        response = http.request(method, path)
        assert response.status_code == 404
        if method != "HEAD":
            assert response.json()["error"] == {"type": "not_found_error", "message": "Not found"}
    counted = ("POST", "/v1/messages/count_tokens")
    assert [(seen.method, seen.path) for seen in standing.other_requests] == [counted, *not_found]
    assert len(standing.requests) == 1


def test_waiting_for_requests_that_do_not_come_times_out(standing: StandIn, http: httpx.Client) -> None:
    ask(http)
    assert len(standing.wait_for(1)) == 1
    with pytest.raises(TimeoutError, match="saw 1 of 2"):
        standing.wait_for(2, timeout_s=0.05)
    with pytest.raises(TimeoutError, match="no client left request 0"):
        standing.wait_for_disconnect(0, timeout_s=0.05)


def test_a_reset_forgets_requests_and_answers(standing: StandIn, http: httpx.Client) -> None:
    for reset in (standing.reset, lambda: http.post("/_stand_in/reset").raise_for_status()):
        standing.script(*"abcde")
        for number in range(3):
            ask(http, {**HELLO, "max_tokens": number + 1})
        told = http.get("/_stand_in/requests", params={"since": 1}).json()
        assert (told["count"], [body["max_tokens"] for body in told["bodies"]]) == (3, [2, 3])
        assert http.get("/_stand_in/reset").status_code == http.post("/_stand_in/nonsense").status_code == 404
        assert standing.other_requests == [], "questions about the stand-in itself are not recorded"
        http.get("/")
        reset()
        assert (standing.requests, standing.other_requests, standing.max_in_flight) == ([], [], 0)
        assert http.get("/_stand_in/requests").json() == {"count": 0, "bodies": []}
        assert said(ask(http)) == "You said: hello"
        assert standing.requests[0].index == 0
        standing.reset()


# Starting and stopping


def test_a_stand_in_may_start_and_stop_again_at_the_same_address_and_with_its_record() -> None:
    stand_in = StandIn()
    with pytest.raises(RuntimeError, match="no address yet"):
        _ = stand_in.base_url
    stand_in.stop()
    addresses = set()
    for _ in range(2):
        stand_in.start()
        stand_in.start()
        addresses.add(stand_in.base_url)
        with client_of(stand_in) as http:
            assert ask(http).status_code == 200
        stand_in.stop()
        stand_in.stop()
    assert (len(addresses), len(stand_in.requests)) == (1, 2)
    with pytest.raises(httpx.ConnectError), client_of(stand_in) as http:
        ask(http)


def test_a_port_in_use_is_named_in_the_error(standing: StandIn) -> None:
    port = int(standing.base_url.rpartition(":")[2])
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
        with client_of(stand_in) as http, ThreadPoolExecutor(3) as callers:
            calls = [callers.submit(ask, http, STREAMED) for _ in range(2)]
            stand_in.wait_for(2)
            ask(http)  # leaves an idle connection
            stand_in.stop()  # raises if it takes long
            assert all(isinstance(call.exception(30), httpx.TransportError) for call in calls)
    assert threading.active_count() == threads
    assert stand_in.in_flight == 0
    assert [seen.closed_early for seen in stand_in.requests] == [False] * 3, "it was not the client who left"


# In processes of their own

QUIET = """
import logging, sys, warnings
warnings.simplefilter("error")
from litellm_claude_code.testing import StandIn
sys.path.insert(0, sys.argv[1])
from tests.support.misbehaving import misbehave

def state():
    loggers = [logging.getLogger(name) for name in (None, "uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")]
    return [(log.name, log.level, log.propagate, log.disabled, [*log.handlers], [*log.filters]) for log in loggers]

class Told(logging.Handler):
    records = []
    def emit(self, record):
        self.records.append(record)

logging.basicConfig(level=logging.DEBUG, handlers=[Told()])
logging.getLogger("asyncio").setLevel(logging.ERROR)  # on a slow machine, asyncio's debug mode warns of slow callbacks
before = state()
with StandIn() as stand_in:
    misbehave(stand_in)
assert state() == before
logging.getLogger().setLevel(logging.WARNING)
names = ("httpx", "httpcore", "asyncio")
wrong = [told for told in Told.records if not told.name.startswith(names) or told.levelno >= logging.WARNING]
assert not wrong, wrong
"""


@pytest.mark.processes
def test_nothing_is_printed_or_logged_and_no_resource_is_left(forks: Forker, tmp_path: Path) -> None:
    ran = forks.start(QUIET, str(Path(__file__).parents[1]), home=tmp_path, PYTHONASYNCIODEBUG="1")
    assert ran.wait() == ("", "")
    assert ran.program.wait() == 0


USERS_TEST = """
import httpx, pytest

@pytest.mark.parametrize("number", [1, 2])
def test_it(claude_stand_in, number):
    assert claude_stand_in.other_requests == []
    assert httpx.get(claude_stand_in.base_url, trust_env=False).status_code == 404
    assert len(claude_stand_in.other_requests) == 1
"""


@pytest.mark.processes
def test_the_pytest_fixture_gives_each_test_a_fresh_stand_in(forks: Forker, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["litellm_claude_code.testing.plugin"]')
    (tmp_path / "test_it.py").write_text(USERS_TEST)
    program = "import pytest, sys; sys.exit(pytest.main())"
    options = ("-p", "no:cacheprovider", "-q", "--rootdir", str(tmp_path), str(tmp_path))
    no_plugin_but_ours = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    out, errors = forks.start(program, *options, home=tmp_path, **no_plugin_but_ours).wait()
    assert "2 passed" in out, out + errors


@pytest.mark.processes
@pytest.mark.parametrize(
    ("options", "body", "expected", "ending"),
    [
        (["--text", "as told", "--delay-s", "0.1", "--no-validate"], {"max_tokens": 1}, "as told", signal.SIGINT),
        (
            ["--model", "qwen*", "--field", "newest", "--field", "other"],
            {**HELLO, "model": "qwen3", "newest": 1},
            "You said: hello",
            signal.SIGTERM,
        ),
    ],
)
def test_served_from_the_command_line_it_answers_records_and_ends(
    forks: Forker, tmp_path: Path, options: list[str], body: Any, expected: str, ending: signal.Signals
) -> None:
    record, out = tmp_path / "seen.jsonl", tmp_path / "out"
    program = "import runpy; runpy.run_module('litellm_claude_code.testing', run_name='__main__')"
    served = forks.start(program, *options, "--record", str(record), home=tmp_path)
    try:
        told = wait_until(lambda: served.program.poll() is not None or out.read_text().endswith("\n"))
        assert told, (tmp_path / "errors").read_text()
        where = json.loads(out.read_text())
        headers = {"x-api-key": where["api_key"], **VERSION}
        with httpx.Client(base_url=where["base_url"], headers=headers, trust_env=False) as http:
            started = time.monotonic()
            assert said(ask(http, body)) == expected
            assert "--delay-s" not in options or time.monotonic() - started >= 0.1
            assert http.get("/_stand_in/requests").json() == {"count": 1, "bodies": [body]}
        served.program.send_signal(ending)
        assert served.wait() == (json.dumps(where) + "\n", "")
        assert served.program.wait() == 0
    finally:
        served.kill_its_session()
    assert [json.loads(line) for line in record.read_text().splitlines()] == [body]
