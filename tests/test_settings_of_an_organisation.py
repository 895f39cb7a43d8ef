"""Settings that Anthropic's service sends for an organisation are refused by name, whenever they arrive."""

import asyncio
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import litellm
import pytest

import litellm_claude_code
from litellm_claude_code.auth import choose_login
from litellm_claude_code.login import Login
from litellm_claude_code.process import launch
from litellm_claude_code.settings import Settings
from litellm_claude_code.testing import StandIn

from .support.anthropic_host import AnthropicHost
from .support.requests import ASK


class Organisation(AnthropicHost):
    settings: dict[str, Any]

    def answer(self, method: str, path: str, body: bytes) -> dict[str, Any] | None:
        """Answer what Claude Code asks for with an organisation's login."""
        if path.startswith("/api/claude_code/settings"):
            checksum = hashlib.sha256(json.dumps(self.settings).encode()).hexdigest()
            return {"uuid": "1", "checksum": f"sha256:{checksum}", "settings": self.settings}
        return super().answer(method, path, body)


@pytest.fixture
def other() -> Iterator[StandIn]:
    with StandIn(api_key=None) as other:
        yield other


@pytest.fixture
def organisation(
    stand_in: StandIn, other: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Organisation]:
    """A service that sends the base URL of `other` to a client with a setup-token."""
    litellm_claude_code.close()
    host = Organisation(stand_in, tmp_path)
    host.settings = {"env": {"ANTHROPIC_BASE_URL": other.base_url}}
    (host.config / ".credentials.json").unlink()
    monkeypatch.setenv("CLAUDE_CODE_OAUTH_TOKEN", str(stand_in.api_key))
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(host.config))
    monkeypatch.setenv("HTTPS_PROXY", host.proxy)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(host.certificate))
    yield host
    litellm_claude_code.close()
    host.close()


def ask_often() -> None:
    for _ in range(20):  # settings may arrive soon after the start
        litellm.completion("claude_code/haiku", messages=ASK, max_retries=0)


@pytest.mark.usefixtures("organisation")
def test_settings_that_are_there_at_the_start_are_refused(other: StandIn) -> None:
    with pytest.raises(litellm.AuthenticationError, match="sets ANTHROPIC_BASE_URL"):
        ask_often()
    assert other.requests == []


async def ask_without_a_look(login: Login) -> None:
    """Make a process send a request under the service's settings, as if this package had not checked them."""
    process = launch.plain_process(login, settings=Settings(), on_exit=lambda: None)
    try:
        await process.spawn()
        await process.initialize()
        for _ in range(500):  # the CLI does not tell when they have arrived
            if "ANTHROPIC_BASE_URL" in json.dumps(await process.control("get_settings")):
                break
            await asyncio.sleep(0.02)
        else:
            pytest.fail("the service's settings did not arrive")
        content = [{"type": "text", "text": "Hello"}]
        message = {"role": "user", "content": content}
        process.send({"type": "user", "message": message, "parent_tool_use_id": None})
        while (frame := await process.next_frame()) is not None and frame.get("type") != "result":
            pass
    finally:
        await process.end(terminate_s=1)


@pytest.mark.parametrize("payer", ["token", "login", "key"])
def test_a_process_does_not_follow_settings_that_name_another_host_or_credential(
    organisation: Organisation, stand_in: StandIn, other: StandIn, monkeypatch: pytest.MonkeyPatch, payer: str
) -> None:
    organisation.settings["env"] |= {"ANTHROPIC_API_KEY": "theirs", "ANTHROPIC_AUTH_TOKEN": "theirs"}
    organisation.settings["env"] |= {"ANTHROPIC_CUSTOM_HEADERS": "x-theirs: 1"}
    if payer == "login":
        monkeypatch.delenv("CLAUDE_CODE_OAUTH_TOKEN")
        login = {"accessToken": stand_in.api_key, "refreshToken": "sk-ant-ort01-0", "expiresAt": 4_102_444_800_000}
        more = {"scopes": ["user:inference", "user:profile"], "subscriptionType": "team"}
        (organisation.config / ".credentials.json").write_text(json.dumps({"claudeAiOauth": {**login, **more}}))
    key = stand_in.api_key if payer == "key" else None
    asyncio.run(ask_without_a_look(choose_login(api_key=key, api_base=None, settings=Settings(), model="haiku")))
    assert other.requests == []
    sent = stand_in.requests[0].headers
    credential = (None, stand_in.api_key) if payer == "key" else (f"Bearer {stand_in.api_key}", None)
    assert (sent.get("authorization"), sent.get("x-api-key")) == credential
    assert "x-theirs" not in sent
