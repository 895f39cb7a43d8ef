"""The gate, litellm's real proxy and a provider that records its calls: what is let in is what the provider gets."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from litellm_claude_code.testing import StandIn

from .support.scripts import Forker
from .support.served import serving

TRICK = "a&custom_llm_provider=openai&prompt=hi&fallbacks=x&mock_response=made+up&model=other&z="
TEXTS = st.one_of(
    st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip),
    st.sampled_from([TRICK, '--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nother', "%26model=other", "é"]),
)
PATHS = ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/completions"]
TAKEN: dict[str, Any] = {
    "temperature": st.sampled_from([0, 0.5, 1]),
    "top_p": st.sampled_from([0.1, 1]),
    "max_tokens": st.integers(1, 9999),
    "stream": st.booleans(),
    "metadata": st.dictionaries(st.sampled_from(["user_id", "a"]), TEXTS, max_size=1),
}
SMUGGLED = {
    "api_base": "http://127.0.0.1:9/", "api_key": "sk-x", "base_url": "http://127.0.0.1:9/",
    "custom_llm_provider": "openai", "mock_response": "made up", "fallbacks": ["other"], "extra_body": {"a": 1},
    "extra_headers": {"a": "b"}, "headers": {"a": "b"}, "timeout": 1, "num_retries": 9, "litellm_metadata": {"a": 1},
    "guardrails": ["x"], "cache": {"no-cache": True}, "user_config": {"model_list": []}, "MODEL": "other",
    "metadata": {"a": {"b": 1}}, "model": "other,recorded", "proxy_server_request": {}, "secret_fields": {},
}  # fmt: skip
HEADERS = st.tuples(
    st.sampled_from(
        ["content-type", "Content-Type", "CONTENT-TYPE", "x-litellm-timeout", "X-LiteLLM-Model", "x-litellm-tags",
         "x-litellm-api-base", "x-http-method-override", "anthropic-beta", "user-agent", "x-original-url", "cookie"]
    ),
    st.sampled_from(
        ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
         "application/json; charset=utf-16", "text/plain", "other", "5", ""]
    ),
)  # fmt: skip


@dataclass(kw_only=True)
class Recorded:
    """A server whose one model records its calls."""

    client: httpx.Client
    file: Path

    def calls(self) -> list[dict[str, Any]]:
        """Return the calls since the last question, and forget them."""
        lines = self.file.read_text().splitlines()
        self.file.write_text("")
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def recorded(
    tmp_path_factory: pytest.TempPathFactory, one_stand_in: StandIn, server_forks: Forker
) -> Iterator[Recorded]:
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "recorder.py").write_text((Path(__file__).parent / "support" / "recorder.py").read_text())
    config = {
        "litellm_settings": {"custom_provider_map": [{"provider": "recorder", "custom_handler": "recorder.recorder"}]},
        "model_list": [
            {"model_name": name, "litellm_params": {"model": f"recorder/{name}"}} for name in ("recorded", "other")
        ],
        "router_settings": {"num_retries": 0, "disable_cooldowns": True},
    }
    (folder / "config.yaml").write_text(json.dumps(config))
    file = folder / "calls.jsonl"
    file.write_text("")
    options = ("--config", str(folder / "config.yaml"))
    env = {"RECORDED": str(file), "OPENAI_API_KEY": "sk-of-the-operator"}
    with serving(folder, one_stand_in, *options, forks=server_forks, **env) as server:
        headers = {"x-api-key": server.key}
        with httpx.Client(base_url=server.url, headers=headers, timeout=60) as client:
            yield Recorded(client=client, file=file)


def plain(path: str, said: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": said}]
    asked = {"/v1/responses": {"input": said}, "/v1/completions": {"prompt": said}}.get(path, {"messages": messages})
    return {"model": "recorded", **asked, **({"max_tokens": 9} if path == "/v1/messages" else {})}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(PATHS),
    said=TEXTS,
    more=st.fixed_dictionaries({}, optional=TAKEN),
    headers=st.lists(HEADERS, max_size=4),
    escapes=st.booleans(),
)
@example(
    path="/v1/completions", said=TRICK, more={}, escapes=True,
    headers=[("content-type", "application/x-www-form-urlencoded")],
)  # fmt: skip
def test_the_provider_gets_what_was_asked_and_nothing_else(
    recorded: Recorded, path: str, said: str, more: dict[str, Any], headers: list[tuple[str, str]], escapes: bool
) -> None:
    if path == "/v1/responses" and "max_tokens" in more:
        more["max_output_tokens"] = more.pop("max_tokens")
    body = {**plain(path, said), **more}
    content = json.dumps(body, ensure_ascii=escapes).encode()
    response = recorded.client.post(path, content=content, headers=headers)
    assert response.status_code == 200, response.text
    [call] = recorded.calls()
    assert call["model"] == "recorded"
    assert (call["api_base"], call["api_key"]) == (None, None)
    [message] = call["messages"]
    assert message["role"] == "user"
    assert text_of(message["content"]) == said
    limit = body.get("max_tokens", body.get("max_output_tokens"))
    added = {"max_retries": 0, "stream": False, "stream_options": {"include_usage": True}}  # by litellm's proxy
    asked = {
        **added,
        "user": body.get("metadata", {}).get("user_id"),
        **body,
        "max_tokens": limit,
        "max_completion_tokens": limit,
    }
    got = {name: value for name, value in call["optional_params"].items() if value not in (None, {}, [])}
    assert {name: asked.get(name) for name in got} == got


def text_of(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


@pytest.mark.parametrize("path", PATHS)
def test_the_provider_gets_nothing_of_a_body_with_a_field_that_is_not_let_in(recorded: Recorded, path: str) -> None:
    for name, value in SMUGGLED.items():
        body = {**plain(path, "Hello"), name: value}
        twice = json.dumps(plain(path, "Hello"))[:-1] + f", {json.dumps(name)}: {json.dumps(value)}}}"
        for content in (json.dumps(body), twice):
            response = recorded.client.post(path, content=content.encode())
            assert response.status_code == 400, (name, response.text)
        asked = recorded.client.post(path, json=plain(path, "Hello"), params={name: json.dumps(value)})
        assert asked.status_code in (200, 400), (name, asked.text)
        assert [call["model"] for call in recorded.calls()] == ["recorded"] * (asked.status_code == 200)
    assert recorded.calls() == []
