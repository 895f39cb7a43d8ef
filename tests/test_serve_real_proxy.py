"""The gate before litellm's real proxy: what gets through is asked of the model as it was written, and nothing else."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from litellm_claude_code.testing import Failure, StandIn

from .support.served import Served

TRICK = "a&custom_llm_provider=openai&prompt=hi&fallbacks=x&mock_response=made+up&model=opus&z="
FORMS = [None, "application/x-www-form-urlencoded", "APPLICATION/x-www-form-urlencoded; charset=utf-8", "text/plain",
         "multipart/form-data; boundary=a", "application/x-protobuf", "application/json; charset=utf-16"]  # fmt: skip


@pytest.fixture
def client(server: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, headers={"x-api-key": server.key}, timeout=60) as client:
        yield client


def posts(said: str) -> dict[str, dict[str, Any]]:
    messages = [{"role": "user", "content": said}]
    return {
        "/v1/chat/completions": {"model": "sonnet", "messages": messages},
        "/v1/messages": {"model": "sonnet", "max_tokens": 9, "messages": messages},
        "/v1/responses": {"model": "sonnet", "input": said},
        "/v1/completions": {"model": "sonnet", "prompt": said},
    }


@pytest.mark.parametrize("kind", FORMS)
def test_text_that_reads_as_a_form_is_only_text(client: httpx.Client, stand_in: StandIn, kind: str | None) -> None:
    for path, body in posts(TRICK).items():
        headers = {} if kind is None else {"content-type": kind}
        response = client.post(path, content=json.dumps(body).encode(), headers=headers)
        assert response.status_code == 200, response.text
        seen = stand_in.requests[-1].body
        assert seen["model"] == "claude-sonnet-5-5"
        assert TRICK in json.dumps(seen["messages"])
    assert len(stand_in.requests) == 4


def test_sockets_with_half_a_body_do_not_block_other_clients(server: Served, client: httpx.Client) -> None:
    host, _, port = server.url.removeprefix("http://").partition(":")
    head = f"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {server.key}\r\ncontent-length: 500\r\n\r\n{{"
    sockets = [socket.create_connection((host, int(port))) for _ in range(20)]
    try:
        for each in sockets:
            each.sendall(head.encode())
        for path, body in posts("Hello").items():
            assert client.post(path, json=body).status_code == 200
    finally:
        for each in sockets:
            each.close()


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
def test_no_answer_and_no_error_tells_the_upstreams_address(
    client: httpx.Client, stand_in: StandIn, streams: bool
) -> None:
    place = stand_in.base_url.removeprefix("http://")
    for path, body in posts("Hello").items():
        answered = client.post(path, json={**body, "stream": streams})
        stand_in.script(*[Failure(400, message=f"look at {place} and http://{place}/v1")] * 3)
        failed = client.post(path, json={**body, "stream": streams})
        stand_in.reset()
        for response in (answered, failed):
            told = response.text + str(response.headers)
            assert place not in told
            assert f":{place.partition(':')[2]}" not in told
    told = client.get("/health?model=haiku").text + client.get("/v1/models").text
    assert place not in told
