"""What clients of a proxy try, and that they choose nothing: behind `serve`, and behind litellm's proxy alone."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import litellm
import psutil
import pytest

from litellm_claude_code.testing import StandIn

from .support.processes import claude_processes
from .support.scripts import Forker
from .support.served import Served, environment

SAY_HI: Any = [{"role": "user", "content": "Hi"}]
PLAIN: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "sonnet", "max_tokens": 9, "messages": SAY_HI},
    "/v1/messages": {"model": "sonnet", "max_tokens": 9, "messages": SAY_HI},
    "/v1/responses": {"model": "sonnet", "input": "Hi"},
    "/v1/completions": {"model": "sonnet", "max_tokens": 9, "prompt": "Hi"},
}
ELSEWHERE = "http://127.0.0.1:9"

# Credentials, places, other providers: arguments of litellm that its proxy takes from a body.
LITELLMS: dict[str, Any] = {
    "api_key": "sk-of-the-client",
    "api_base": ELSEWHERE,
    "base_url": ELSEWHERE,
    "api_version": "1",
    "headers": {"x-api-key": "mine"},
    "extra_headers": {"x-api-key": "mine"},
    "provider_specific_header": {"custom_llm_provider": "claude_code", "extra_headers": {"x-api-key": "mine"}},
    "custom_llm_provider": "openai",
    "litellm_params": {"api_key": "sk-of-the-client", "api_base": ELSEWHERE},
    "litellm_credential_name": "theirs",
    "user_config": {"model_list": [{"model_name": "sonnet", "litellm_params": {"model": "openai/gpt-4o"}}]},
    "model_list": [{"model_name": "sonnet", "litellm_params": {"model": "openai/gpt-4o"}}],
    "organization": "theirs",
}
# What starts or steers a Claude Code process, or names somebody's conversation.
CLAUDE_CODES: dict[str, Any] = {
    "cwd": "/etc",
    "add_dirs": ["/"],
    "cli_path": "/bin/sh",
    "env": {"ANTHROPIC_BASE_URL": ELSEWHERE},
    "settings": {"permissions": {"allow": ["Bash"]}},
    "setting_sources": ["user"],
    "permission_mode": "bypassPermissions",
    "allowed_tools": ["Bash"],
    "mcp_servers": [{"type": "url", "name": "x", "url": ELSEWHERE}],
    "hooks": {"PreToolUse": "sh"},
    "agents": {"x": {}},
    "extra_args": {"dangerously-skip-permissions": None},
    "session_id": "one-of-another",
    "resume": "one-of-another",
    "continue_conversation": True,
    "system_prompt": "x",
    "extra_body": {"cwd": "/etc"},
}
# What litellm's proxy itself would act upon.
THE_PROXYS: dict[str, Any] = {
    "fallbacks": [{"model": "openai/gpt-4o", "api_key": "sk-of-the-client"}],
    "context_window_fallbacks": [{"sonnet": ["openai/gpt-4o"]}],
    "router_settings_override": {"fallbacks": [{"sonnet": ["openai/gpt-4o"]}]},
    "mock_response": "made up",
    "mock_tool_calls": [],
    "mock_timeout": True,
    "num_retries": 100,
    "timeout": 0.001,
    "allowed_openai_params": ["cwd"],
    "additional_drop_params": ["messages"],
    "specific_deployment": True,
    "guardrails": ["none"],
    "prompt_id": "x",
    "prompt_variables": {},
    "vector_store_ids": ["x"],
    "cache": {"no-cache": True},
    "caching": True,
    "litellm_metadata": {"user_api_key_user_id": "admin"},
    "proxy_server_request": {},
    "secret_fields": {},
    "client": "x",
    "logger_fn": "print",
    "success_callback": ["langfuse"],
    "langfuse_host": ELSEWHERE,
    "input_cost_per_token": 0,
    "tags": ["x"],
    "container": {"skills": []},
    "previous_response_id": "resp_of_another",
    "conversation": "of-another",
    "background": True,
    "prompt": {"id": "pmpt_x"},
    "\u0430pi_base": ELSEWHERE,
}
WITHIN: dict[str, list[Any]] = {
    "model": ["openai/gpt-4o", "anthropic/claude-sonnet-5-5", "claude_code/gpt-4o", "ollama/llama3", "*", "",
              "a/b" * 99, "sonnet,haiku", "../sonnet", "https://127.0.0.1/sonnet", "claude_code/sonnet@reviewer",
              ["sonnet"], {}],
    "metadata": [{"tags": ["x"]}, {"user_api_key_user_role": {"a": "b"}}, {"langfuse_host": ELSEWHERE}, "x"],
    "tools": [[{"type": kind, "server_url": "litellm_proxy", "server_label": "x", "name": "x", "container": "x"}]
              for kind in ("mcp", "mcp_toolset", "file_search", "code_interpreter", "code_execution_20250825", "shell",
                           "local_shell", "image_generation", "web_fetch_20250910", "tool_search_tool_regex", 7)],
}  # fmt: skip


@pytest.fixture
def client(server: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, headers={"x-api-key": server.key}, timeout=60) as client:
        yield client


def test_no_field_of_a_request_chooses_anything(client: httpx.Client, stand_in: StandIn) -> None:
    tried = {**LITELLMS, **CLAUDE_CODES, **THE_PROXYS}
    for path, plain in PLAIN.items():
        for field, value in tried.items():
            if field not in plain:
                response = client.post(path, json={**plain, field: value})
                assert (response.status_code, field in response.text or not field.isascii()) == (400, True), field
        for field, values in WITHIN.items():
            for value in values:
                if (path, field) != ("/v1/completions", "tools"):
                    response = client.post(path, json={**plain, field: value})
                    assert 400 <= response.status_code < 500, (path, field, value, response.text)
    assert (stand_in.requests, stand_in.other_requests) == ([], [])


def test_the_last_of_two_equal_fields_is_the_one_that_counts(client: httpx.Client, stand_in: StandIn) -> None:
    twice = (
        b'{"api_base": "http://127.0.0.1:9", "api_base": null, "model": "opus", "model": "sonnet", "max_tokens": 9, '
    )
    response = client.post("/v1/messages", content=twice + b'"messages": [{"role": "user", "content": "Hi"}]}')
    assert response.status_code == 200
    assert stand_in.requests[0].body["model"] == "claude-sonnet-5-5"


def test_no_header_and_no_query_chooses_anything(client: httpx.Client, stand_in: StandIn) -> None:
    asking = {
        "x-litellm-api-key": "sk-of-another",
        "x-litellm-timeout": "0.001",
        "x-litellm-num-retries": "100",
        "x-litellm-tags": "other",
        "x-litellm-spend-logs-metadata": '{"a": "b"}',
        "x-litellm-customer-id": "other",
        "x-litellm-disable-callbacks": "all",
        "x-mcp-servers": "all",
        "x-forwarded-for": "10.0.0.1",
        "x-original-url": "/model/new",
        "anthropic-custom": "x",
        "cookie": "token=x",
        "host": "elsewhere.example",
        "openai-organization": "theirs",
        "litellm-changed-by": "admin",
    }
    for path, plain in PLAIN.items():
        asked = len(stand_in.requests)
        usual = client.post(path, json=plain)
        response = client.post(f"{path}?api-version=1&model=opus&api_base={ELSEWHERE}", json=plain, headers=asking)
        assert (usual.status_code, response.status_code) == (200, 200), response.text
        one, other = stand_in.requests[asked:]
        assert without_ids(one.body) == without_ids(other.body)
        assert one.headers["x-stainless-timeout"] == other.headers["x-stainless-timeout"]
        assert set(one.headers) == set(other.headers)
        assert "elsewhere" not in str(other.headers)


def without_ids(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != "metadata"}


def test_the_server_fetches_nothing_inside_its_network(client: httpx.Client, stand_in: StandIn) -> None:
    inside = f"{stand_in.base_url}/secret.png"
    parts: list[Any] = [
        {"type": "image_url", "image_url": {"url": inside}},
        {"type": "image_url", "image_url": {"url": inside.replace("127.0.0.1", "localhost")}},
        {"type": "image_url", "image_url": {"url": inside.replace("127.0.0.1", "[::ffff:127.0.0.1]")}},
        {"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest/meta-data/"}},
        {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}},
        {"type": "image_url", "image_url": {"url": "/etc/passwd"}},
        {"type": "file", "file": {"file_data": inside}},
        {"type": "file", "file": {"file_id": inside, "format": "application/pdf"}},
    ]
    for part in parts:
        response = client.post(
            "/v1/chat/completions",
            json={**PLAIN["/v1/chat/completions"], "messages": [{"role": "user", "content": [part]}]},
        )
        assert 400 <= response.status_code < 500, (part, response.status_code, response.text)
    assert (stand_in.requests, stand_in.other_requests) == ([], [])


def test_the_processes_behind_it_know_neither_key_nor_words(
    server: Served, client: httpx.Client, stand_in: StandIn
) -> None:
    assert client.post("/v1/messages", json=PLAIN["/v1/messages"]).status_code == 200
    processes = [psutil.Process(pid) for pid in claude_processes(server.claude_config)]
    assert processes
    for process in processes:
        told = json.dumps([process.cmdline(), process.environ()])
        assert server.key not in told
        assert "LITELLM_MASTER_KEY" not in told
        assert '"Hi"' not in told
        assert not any(path.exists() for path in Path(process.cwd()).iterdir())  # a link to nothing is ours
    served = psutil.Process(server.process.pid)
    assert server.key not in json.dumps([served.cmdline(), served.environ()])


PROXY_ALONE = """
import asyncio, json, os, sys
import httpx, litellm_claude_code
from litellm.proxy.proxy_server import app

async def main():
    headers = {"authorization": "Bearer " + os.environ["LITELLM_MASTER_KEY"]}
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://proxy", headers=headers) as client:
            for path, body in json.load(open(sys.argv[1])):
                response = await client.post(path, json=body)
                print(json.dumps([response.status_code, response.text]))
    litellm_claude_code.close()

asyncio.run(main())
"""


def test_litellms_proxy_alone_is_fenced_by_the_provider(
    server_forks: Forker, tmp_path: Path, stand_in: StandIn
) -> None:
    config = tmp_path / "config.yaml"
    params = {"model": "claude_code/sonnet", "api_base": stand_in.base_url, "api_key": "os.environ/THE_KEY"}
    config.write_text(json.dumps({"model_list": [{"model_name": "sonnet", "litellm_params": params}]}))
    # litellm keeps some out by itself (without a database in a 500), and acts upon this before a provider is asked.
    before_us = {"custom_llm_provider"}
    tried = [
        (path, field, {**PLAIN[path], field: value})
        for path in ("/v1/chat/completions", "/v1/messages")
        for field, value in {**LITELLMS, **CLAUDE_CODES}.items()
        if field not in before_us
    ]
    plain = [(path, "", body) for path, body in PLAIN.items()]
    environ = environment(
        tmp_path, None, LITELLM_MASTER_KEY="sk-0123456789abcdef", CONFIG_FILE_PATH=str(config),
        THE_KEY=str(stand_in.api_key),
    )  # fmt: skip
    (tmp_path / "requests").write_text(json.dumps([(path, body) for path, _, body in [*tried, *plain]]))
    (out := tmp_path / "out").touch()
    (errors := tmp_path / "errors").touch()
    ran = server_forks.fork(PROXY_ALONE, str(tmp_path / "requests"), env=environ, out=out, errors=errors)
    assert ran.wait() == 0, errors.read_text()[-2000:]
    answers = [json.loads(line) for line in out.read_text().splitlines() if line.startswith("[")]
    for (path, field, _), (status, text) in zip(tried, answers, strict=False):
        assert status >= 400, (path, field, status, text)
    assert [status for status, _ in answers[len(tried) :]] == [200] * len(plain)
    assert len(stand_in.requests) == len(plain)
    assert {seen.headers["x-api-key"] for seen in stand_in.requests} == {stand_in.api_key}


def test_what_the_proxys_own_configuration_sets_is_not_fenced(stand_in: StandIn) -> None:
    """As litellm's proxy calls it for a deployment with a key, an address and a field of its own."""
    litellm.completion(
        "claude_code/sonnet",
        messages=SAY_HI,
        api_base=stand_in.base_url,
        api_key=stand_in.api_key,
        inference_geo="eu",
        proxy_server_request={"body": {"model": "sonnet", "messages": SAY_HI}, "credential_fields": ()},
    )
    assert stand_in.requests[0].body["inference_geo"] == "eu"
