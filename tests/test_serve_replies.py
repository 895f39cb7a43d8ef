"""What clients are told when something goes wrong: no address of the upstream, and no words of Python."""

import json
from typing import Any

import pytest

from litellm_claude_code.proxy.config import upstream_hosts
from litellm_claude_code.proxy.error_replies import Replies
from litellm_claude_code.proxy.streams import events_of

HOSTS = ["gateway.corp.example", "gateway.corp.example:8443"]
TOLD = "API Error: 500. Check your inference gateway ({}). Try again."


def message_of(reply: tuple[int, bytes]) -> str:
    return str(json.loads(reply[1])["error"]["message"])


@pytest.mark.parametrize(
    "address",
    ["gateway.corp.example", "GATEWAY.corp.example:8443", "127.0.0.1:4000", "REDACTED:4000", "10.1.2.3",
     "localhost:4000",
     "[::1]:4000", "http://inside:1234/v1/messages", "https://user:word@inside.example/", "other.example:99"],
)  # fmt: skip
def test_no_error_tells_an_address(address: str) -> None:
    replies = Replies(HOSTS)
    message = TOLD.format(address)
    plain = {"error": {"message": message, "type": "api_error", "param": None, "code": "500"}}
    streamed = [
        {"error": {"message": message}},
        {"type": "error", "error": {"type": "api_error", "message": message}},
        {"type": "response.failed", "response": {"error": {"code": "server_error", "message": message}}},
    ]
    told = [
        message_of(replies.error(json.dumps(body).encode(), 500, "openai")) for body in (plain, {"detail": message})
    ]
    for event in streamed:
        raw = f"event: error\ndata: {json.dumps(event)}\n\n".encode()
        events = events_of("/v1/chat/completions", frozenset())
        out = b"".join(
            replies.clean(each, None).raw
            for at in range(len(raw))
            for each in events.take(raw[at : at + 1], is_last=at == len(raw) - 1)
        )
        assert out.startswith(b"event: error\ndata: {")
        assert out.endswith(b"}\n\n")
        mended: Any = json.loads(out.split(b"data: ")[1])
        told.append((mended.get("response") or mended)["error"]["message"])
    assert set(told) == {TOLD.format("address withheld")}


def test_what_the_model_says_is_left_alone() -> None:
    replies = Replies(HOSTS)
    chunk = {"choices": [{"delta": {"content": 'An "error" on 10.1.2.3 or gateway.corp.example'}}]}
    raw = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode()
    for path in ("/v1/chat/completions", "/v1/responses"):
        events = events_of(path, frozenset()).take(raw, is_last=True)
        assert b"".join(replies.clean(event, None).raw for event in events) == raw


@pytest.mark.parametrize(
    "message",
    ["litellm.APIConnectionError: 'int' object is not iterable",
     "Invalid request format: 'str' object has no attribute 'get'",
     "The request cannot be translated: 'content'", "A parameter is wrong: TypeError(\"x\")"],
)  # fmt: skip
def test_no_error_contains_python_expressions(message: str) -> None:
    for shape in ("openai", "anthropic"):
        told = message_of(Replies().error(json.dumps({"error": {"message": message}}).encode(), 400, shape))
        assert told.startswith("A field of the request has an invalid type")


def test_the_hosts_of_a_configuration_are_known() -> None:
    config = {
        "model_list": [
            {"litellm_params": {"model": "claude_code/x", "api_base": "https://me:word@one.example:1/v1"}},
            {"litellm_params": {"model": "openai/x", "api_base": "os.environ/TWO"}},
        ]
    }
    environ = {"TWO": "http://two.example", "ANTHROPIC_BASE_URL": "http://three.example:3", "HTTPS_PROXY": "proxy:8"}
    assert upstream_hosts(config, environ) == {
        "one.example", "one.example:1", "two.example", "three.example", "three.example:3", "proxy", "proxy:8"
    }  # fmt: skip
