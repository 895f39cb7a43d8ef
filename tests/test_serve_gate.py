"""The gate of `serve`: keys, size limits, requests at once, the log, and requests whose client leaves."""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from litellm_claude_code.testing import Answer, Failure, StandIn, Text
from litellm_claude_code.testing.server import echo

from .support.served import Served
from .support.waiting import wait_until

SECRET = "zanzibar-4711"
"""Stands for what people write; it may be in no log."""
CHAT: Any = {"model": "sonnet", "messages": [{"role": "user", "content": SECRET}]}
MESSAGE: Any = {**CHAT, "max_tokens": 50}
POSTS = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"model": "sonnet", "prompt": SECRET},
    "/v1/responses": {"model": "sonnet", "input": SECRET},
    "/v1/messages": MESSAGE,
    "/v1/messages/count_tokens": CHAT,
}


@pytest.fixture
def client(server: Served) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {server.key}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=60) as client:
        yield client


def message_of(response: httpx.Response) -> str:
    """Return an error's message. The error must have the form that the client's library reads."""
    body = response.json()
    if response.request.url.path.startswith("/v1/messages"):
        assert (body["type"], set(body["error"])) == ("error", {"type", "message"}), body
    else:
        assert {"message", "type", "param", "code"} <= set(body["error"]), body
    assert "Traceback" not in response.text
    return str(body["error"]["message"])


@pytest.mark.parametrize(
    "key", [None, "a b", "sk-1234", "é", "x" * 9000], ids=["none", "blank", "known", "odd", "long"]
)
def test_without_the_key_there_is_a_401_and_nothing_else(client: httpx.Client, stand_in: StandIn, key: Any) -> None:
    del client.headers["authorization"]
    names = {} if key is None else {"authorization": f"Bearer {key}", "x-api-key": str(key)}
    headers = [(name.encode(), value.encode()) for name, value in names.items()]
    answers = [client.post(path, json=body, headers=headers) for path, body in POSTS.items()]
    answers += [
        client.get(path, headers=headers) for path in ("/", "/v1/models", "/health", "/docs", "/ui", "/metrics")
    ]
    answers += [client.post("/v1/chat/completions", content=b"no JSON", headers=headers)]
    assert {(response.status_code, message_of(response).split(".")[0]) for response in answers} == {
        (401, "The key is missing or wrong")
    }
    assert stand_in.requests == []


def test_litellms_other_endpoints_are_not_served(client: httpx.Client) -> None:
    """The key is not the key to the proxy's administration: models, keys, files, MCP servers, pass-through."""
    posts = ("/key/generate", "/model/new", "/config/update", "/v1/files", "/v1/embeddings", "/anthropic/v1/messages",
             "/mcp", "/mcp/", "/v1/mcp/server", "/v1/chat/completions/", "/v1/realtime",
             "/health/test_connection", "/utils/transform_request", "/engines/sonnet/chat/completions",
             "/openai/deployments/sonnet/chat/completions", "/v1/%63hat/completions/../../model/new")  # fmt: skip
    gets = ("/", "/docs", "/openapi.json", "/ui/", "/model/info", "/get/config/callbacks", "/key/list",
            "/v1/responses/abc", "/health/readiness/details", "/debug/memory/summary")  # fmt: skip
    answers = [client.post(path, json=CHAT) for path in posts] + [client.get(path) for path in gets]
    refusals = {(response.status_code, message_of(response).split(".")[0]) for response in answers}
    assert refusals == {(404, "This server does not have this endpoint")}


def test_a_method_that_an_endpoint_does_not_have_is_a_405_that_names_the_right_one(client: httpx.Client) -> None:
    answers = [client.request(method, "/v1/messages", json=CHAT) for method in ("GET", "PUT", "DELETE", "OPTIONS")]
    assert {(response.status_code, response.headers["allow"]) for response in answers} == {(405, "POST")}
    assert message_of(answers[0]).endswith("Use POST.")
    for path in ("/v1/models", "/health", "/health/liveliness", "/health/readiness"):
        assert (client.post(path, json={}).status_code, client.head(path).status_code) == (405, 200)
        assert client.head(path).content == b""


@pytest.mark.parametrize(
    "content",
    [b"", b"null", b"[]", b"{", b"\xff", b'{"model": 1}', b'{"model": "sonnet"}', b"[" * 100_000,
     b'{"model": "sonnet", "messages": "Hi"}', b'{"model": "sonnet", "messages": [1]}',
     b'{"model": "sonnet", "messages": [], "max_tokens": NaN}', b'{"model": "sonnet", "messages": [], "n": 0}',
     b'{"model": "sonnet,haiku", "messages": []}', b'{"model": "gpt-4o", "messages": []}'],
)  # fmt: skip
def test_an_invalid_body_is_an_error_that_says_so(client: httpx.Client, stand_in: StandIn, content: bytes) -> None:
    for path in ("/v1/chat/completions", "/v1/messages"):
        response = client.post(path, content=content, headers={"content-type": "application/json"})
        assert (response.status_code, bool(message_of(response))) == (400, True), response.text
    assert stand_in.requests == []


def test_a_body_that_is_too_large_is_refused_unread(client: httpx.Client, stand_in: StandIn) -> None:
    large = {**MESSAGE, "messages": [{"role": "user", "content": SECRET * 100_000}]}
    for path in ("/v1/chat/completions", "/v1/messages"):
        declared = client.post(path, json=large)
        unannounced = client.post(path, content=iter([json.dumps(large).encode()]))
        for response in (declared, unannounced):
            assert response.status_code == 413
            assert "larger than 1048576 bytes" in message_of(response)
    assert client.post("/v1/messages", json=MESSAGE).status_code == 200
    assert len(stand_in.requests) == 1


def test_more_requests_than_may_be_under_way_get_a_429(client: httpx.Client, stand_in: StandIn) -> None:
    def insist(path: str, body: Any) -> httpx.Response:
        # The question whether all six places are taken takes one of them for a moment.
        while (response := client.post(path, json=body)).status_code == 429:
            time.sleep(0.05)
        return response

    held_back = threading.Event()
    stand_in.respond = lambda _request: "Done." if held_back.wait(60) else Failure(500)
    with ThreadPoolExecutor(6) as threads:
        held = [threads.submit(insist, "/v1/messages", MESSAGE) for _ in range(4)]
        held += [threads.submit(insist, "/v1/chat/completions", {**CHAT, "n": 2})]
        wait_until(lambda: client.post("/v1/messages/count_tokens", json=CHAT).status_code == 429)
        for path, body in POSTS.items():
            response = client.post(path, json=body)
            assert (response.status_code, response.headers["retry-after"]) == (429, "1")
            assert message_of(response)
        assert client.get("/v1/models").status_code == 200
        held_back.set()
        assert [future.result().status_code for future in held] == [200] * 5
    assert client.post("/v1/chat/completions", json={**CHAT, "n": 7}).status_code == 400
    assert client.post("/v1/completions", json={"model": "sonnet", "prompt": ["a"] * 7}).status_code == 400


def test_a_client_that_goes_away_stops_its_request(client: httpx.Client, stand_in: StandIn) -> None:
    stand_in.respond = lambda _request: Answer(content=[Text("word " * 5000)], between_s=0.02)
    for path, body in (("/v1/chat/completions", CHAT), ("/v1/messages", MESSAGE)):
        with client.stream("POST", path, json={**body, "stream": True}) as response:
            assert "word" in next(text for text in response.iter_text() if "word" in text)
    stand_in.respond = lambda _request: Answer(content=[Text("Late.")], delay_s=3600)
    port = client.base_url.port
    assert port is not None
    for path, body in (("/v1/chat/completions", CHAT), ("/v1/responses", POSTS["/v1/responses"])):
        before = len(stand_in.requests)
        asked = client.build_request("POST", path, json=body)
        lines = [f"POST {path} HTTP/1.1".encode(), *(b"%s: %s" % header for header in asked.headers.raw), b"", b""]
        with socket.create_connection((asked.url.host, port)) as leaving:
            leaving.sendall(b"\r\n".join(lines) + asked.content)
            wait_until(lambda: len(stand_in.requests) == before + 1 and stand_in.in_flight)  # noqa: B023
    wait_until(lambda: all(request.closed_early for request in stand_in.requests) and not stand_in.in_flight)
    assert len(stand_in.requests) == 4
    stand_in.respond = echo
    assert client.post("/v1/messages", json=MESSAGE).status_code == 200
    # All six places become free: what was left may take a moment to end after its request to the model has.
    wait_until(lambda: client.post("/v1/chat/completions", json={**CHAT, "n": 6}).status_code == 200)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_places_are_free_as_soon_as_the_answer_is_there(client: httpx.Client, path: str, stream: bool) -> None:
    for _ in range(2):
        assert client.post(path, json={**MESSAGE, "stream": stream}).status_code == 200
        assert client.post("/v1/chat/completions", json={**CHAT, "n": 6}).status_code == 200


def test_the_log_tells_what_happened_and_nothing_of_what_was_said(
    server: Served, client: httpx.Client, stand_in: StandIn
) -> None:
    quoting = Failure(400, message=f"messages.0: {SECRET} is not allowed here")
    for path, body in POSTS.items():
        client.post(path, json=body)
        client.post(path, json={**body, SECRET: SECRET})
        client.post(path, json={**body, "temperature": SECRET})
        client.post(path, content=f'{{"{SECRET}'.encode())
        stand_in.script(quoting)
        client.post(path, json=body)
        stand_in.reset()
    client.post("/v1/chat/completions", json={**CHAT, "messages": [{"role": SECRET, "content": SECRET}]})
    client.post("/v1/chat/completions", json={**CHAT, "tools": [{"type": "function", "function": {"name": [SECRET]}}]})
    client.post("/v1/messages", json={**MESSAGE, "messages": [{"role": "user", "content": [{"type": SECRET}]}]})
    client.get(f"/{SECRET}")
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{server.url}/v1", api_key=f"sk-{SECRET}").models.list()
    log = server.logged(r"GET \(another path\) 401")  # that of the last request
    after_start = log[log.index("models: ") :]
    assert SECRET not in log
    assert server.key not in after_start
    assert str(stand_in.api_key) not in log
    assert "Traceback" not in log
    assert re.search(r"POST /v1/messages 200 \d+\.\d+ s", log)
    assert re.search(r"GET \(another path\) 404", log)
