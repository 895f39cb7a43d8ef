"""Agents behind litellm's own proxy: clients pick a profile by name, change nothing of it, and own their sessions."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from litellm_claude_code.testing import StandIn, ToolUse, answer

from .support.scripts import Forker, Program
from .support.waiting import wait_until

CONFIG = """
model_list:
  - model_name: reader
    litellm_params: {{model: claude_code/sonnet@reader, api_base: "{base_url}", api_key: "{api_key}"}}
litellm_settings:
  custom_provider_map:
    - {{provider: claude_code, custom_handler: handler.provider}}
general_settings:
  custom_auth: handler.who
"""
HANDLER = """
from litellm.proxy._types import UserAPIKeyAuth
from litellm_claude_code import provider

async def who(request, api_key):
    if api_key not in ("sk-ann", "sk-bob"):
        raise Exception("unknown")
    return UserAPIKeyAuth(api_key=api_key)
"""
PROFILES = """
[reader]
tools = ["Read"]
cwd = "work"
sessions = true
"""


@pytest.fixture(scope="module")
def proxy(one_stand_in: StandIn, server_forks: Forker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("litellm.proxy.proxy_server")
    home = tmp_path_factory.mktemp("proxy")
    (home / "work").mkdir()
    (home / "work" / "notes.txt").write_text("The launch is on Tuesday.\n")
    (home / "handler.py").write_text(HANDLER)
    (home / "agents.toml").write_text(PROFILES)
    where = {"base_url": one_stand_in.base_url, "api_key": one_stand_in.api_key}
    (home / "config.yaml").write_text(CONFIG.format(**where))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {
        **os.environ,
        "LITELLM_CLAUDE_CODE_PROFILES": str(home / "agents.toml"),
        "LITELLM_MASTER_KEY": f"sk-{secrets.token_hex(32)}",
        "XDG_DATA_HOME": str(home / "data"),
    }
    (log := home / "log.txt").touch()
    program = "from litellm import run_server; run_server()"
    arguments = ("--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port))
    process = server_forks.fork(program, *arguments, env=env, out=log, errors=log, cwd=home)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url, process, log)
        yield url
    finally:
        process.terminate()
        process.wait()


def _wait_until_ready(url: str, process: Program, log: Path) -> None:
    def is_ready() -> bool:
        assert process.poll() is None, f"the proxy did not start:\n{log.read_text()[-3000:]}"
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{url}/health/liveliness", timeout=5).status_code == 200
        return False

    wait_until(is_ready, lambda: log.read_text()[-3000:], within_s=180)


def ask(url: str, who: str, text: str = "Go.", path: str = "/v1/chat/completions", **more: Any) -> httpx.Response:
    body = {"model": "reader", "messages": [{"role": "user", "content": text}], **more}
    return httpx.post(f"{url}{path}", json=body, headers={"authorization": f"Bearer sk-{who}"}, timeout=120)


def test_a_client_picks_an_agent_and_gets_its_record_and_continues_its_session(
    stand_in: StandIn, proxy: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    notes = next(tmp_path_factory.getbasetemp().glob("proxy*/work/notes.txt"))
    stand_in.script(answer(ToolUse("Read", {"file_path": str(notes)})), "Tuesday.", "Yes.")
    first = ask(proxy, "ann", "When is the launch?")
    assert first.status_code == 200, first.text
    message = first.json()["choices"][0]["message"]
    assert message["content"] == "Tuesday."
    record = message["provider_specific_fields"]["agent"]
    assert "The launch is on Tuesday." in record["tool_calls"][0]["result"]
    assert float(first.headers["x-litellm-response-cost"]) == pytest.approx(record["cost_usd"])

    session = {"session_id": record["session_id"]}
    before = len(stand_in.requests)
    spoofed = {"metadata": {"user_api_key_hash": "sk-ann"}, "litellm_metadata": {"user_api_key_hash": "sk-ann"}}
    spoofings: list[dict[str, Any]] = [{}, spoofed]
    for more in spoofings:
        refused = ask(proxy, "bob", "And mine?", **session, **more)
        assert refused.status_code == 400, refused.text
        assert "Tuesday" not in refused.text
    assert len(stand_in.requests) == before
    again = ask(proxy, "ann", "Really?", **session)
    assert again.json()["choices"][0]["message"]["content"] == "Yes."
    assert "When is the launch?" in json.dumps(stand_in.requests[-1].body)


def test_a_stream_of_the_proxy_shows_each_step_of_the_agent(stand_in: StandIn, proxy: str) -> None:
    streamed = ask(proxy, "ann", stream=True).text
    chunks = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: {")]
    told = [chunk["choices"][0]["delta"].get("provider_specific_fields") or {} for chunk in chunks if chunk["choices"]]
    assert "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"]) == "You said: Go."
    assert [event["type"] for fields in told for event in fields.get("agent_events", [])][:2] == ["started", "text"]
    assert [fields["agent"]["profile"] for fields in told if "agent" in fields] == ["reader"]


@pytest.mark.parametrize(
    "more",
    [
        {"cwd": "/"},
        {"allowed_tools": ["Bash"]},
        {"permission_mode": "bypassPermissions"},
        {"mcp_servers": {"x": {"command": "sh"}}},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
        {"extra_body": {"cwd": "/"}},
        {"env": {"X": "1"}},
    ],
    ids=lambda more: next(iter(more)),
)
def test_no_client_can_widen_a_profile(stand_in: StandIn, proxy: str, more: dict[str, Any]) -> None:
    refused = ask(proxy, "ann", **more)
    assert refused.status_code == 400, refused.text
    assert stand_in.requests == []
