"""Settings that Anthropic's service sends for an organisation are refused by name, whenever they arrive."""

import hashlib
import json
from pathlib import Path
from typing import Any

import litellm
import pytest

import litellm_claude_code
from litellm_claude_code.testing import StandIn

from .support.anthropic_host import AnthropicHost
from .support.requests import ASK


class Organisation(AnthropicHost):
    settings: dict[str, Any] | None = None

    def answer(self, method: str, path: str, body: bytes) -> dict[str, Any] | None:
        """Answer what Claude Code asks for with an organisation's login."""
        if path.startswith("/api/claude_code/settings") and self.settings is not None:
            checksum = hashlib.sha256(json.dumps(self.settings).encode()).hexdigest()
            return {"uuid": "1", "checksum": f"sha256:{checksum}", "settings": self.settings}
        return super().answer(method, path, body)


def ask_often() -> None:
    for _ in range(20):
        litellm.completion("claude_code/haiku", messages=ASK, max_retries=0)


def test_settings_that_arrive_late_send_no_call_elsewhere(
    stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    litellm_claude_code.close()
    host = Organisation(stand_in, tmp_path)
    (host.config / ".credentials.json").unlink()
    monkeypatch.setenv("CLAUDE_CODE_OAUTH_TOKEN", str(stand_in.api_key))
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(host.config))
    monkeypatch.setenv("HTTPS_PROXY", host.proxy)
    monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(host.certificate))
    with StandIn(api_key=None) as other:
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        host.settings = {"env": {"ANTHROPIC_BASE_URL": other.base_url}}
        with pytest.raises(litellm.AuthenticationError, match="sets ANTHROPIC_BASE_URL"):
            ask_often()
        assert other.requests == []
        litellm_claude_code.close()
    host.close()
