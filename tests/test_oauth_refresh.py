"""A subscription's token that expires is refreshed by Claude Code itself, and no call notices."""

import json
import os
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from litellm_claude_code.testing import Failure, RecordedRequest, Reply, StandIn

from .support.anthropic_host import HOST, AnthropicHost
from .support.scripts import Forker

EIGHT_THREADS = """
import concurrent.futures
import litellm
import litellm_claude_code

def ask(number):
    messages = [{"role": "user", "content": f"Hello {number}"}]
    return litellm.completion("claude_code/haiku", messages=messages, max_retries=0).choices[0].message.content

with concurrent.futures.ThreadPoolExecutor(8) as threads:
    answers = list(threads.map(ask, range(12)))
assert answers == [f"You said: Hello {number}" for number in range(12)], answers
litellm_claude_code.close()
print("all answered")
"""


class AuthorizationServer(AnthropicHost):
    """Gives a new pair of tokens for each refresh token, once. An access token is good until the next one is given."""

    hosts = (HOST, "platform.claude.com", "console.anthropic.com")

    def __init__(self, stand_in: StandIn, folder: Path) -> None:
        self._lock = threading.Lock()
        self.refresh = "sk-ant-ort01-0"
        self.access = {"sk-ant-oat01-0"}
        self.refreshed = 0
        self.refused = 0
        super().__init__(stand_in, folder)

    def answer(self, method: str, path: str, body: bytes) -> dict[str, Any] | None:
        """Answer a refresh as RFC 6749 has it, with a token that Claude Code takes for one about to expire."""
        if not path.startswith("/v1/oauth/token"):
            return super().answer(method, path, body)
        try:
            given = json.loads(body)["refresh_token"]
        except ValueError:
            given = parse_qs(body.decode())["refresh_token"][0]
        with self._lock:
            if given != self.refresh:
                self.refused += 1
                return None
            self.refreshed += 1
            self.refresh = f"sk-ant-ort01-{self.refreshed}"
            token = f"sk-ant-oat01-{self.refreshed}"
            self.access = {token} if self.refreshed < 2 else {token, f"sk-ant-oat01-{self.refreshed - 1}"}
            scope = "user:inference user:profile"
            return {"access_token": token, "refresh_token": self.refresh, "expires_in": 302, "scope": scope}


@pytest.mark.processes
def test_expiring_and_rotating_tokens_fail_no_call_of_two_programs_with_two_processes_each(
    forks: Forker, tmp_path: Path
) -> None:
    with StandIn(api_key=None) as stand_in:
        host = AuthorizationServer(stand_in, tmp_path)

        async def respond(request: RecordedRequest) -> Reply:
            token = request.headers["authorization"].removeprefix("Bearer ")
            said = request.body["messages"][0]["content"][0]["text"]
            return f"You said: {said}" if token in host.access else Failure(401)

        stand_in.respond = respond
        file = host.config / ".credentials.json"
        told = json.loads(file.read_text())
        expires = int((time.time() + 1) * 1000)
        told["claudeAiOauth"] |= {"accessToken": "sk-ant-oat01-0", "refreshToken": host.refresh, "expiresAt": expires}
        file.write_text(json.dumps(told))
        env = {
            "CLAUDE_CONFIG_DIR": str(host.config),
            "XDG_CACHE_HOME": os.environ["XDG_CACHE_HOME"],
            "HTTPS_PROXY": host.proxy,
            "NODE_EXTRA_CA_CERTS": str(host.certificate),
            "LITELLM_CLAUDE_CODE_SELF_CHECK": "false",
            "LITELLM_CLAUDE_CODE_MAX_WORKERS": "2",
        }
        homes = [tmp_path / f"program-{number}" for number in range(2)]
        for home in homes:
            home.mkdir()
        said = [one.wait() for one in [forks.start(EIGHT_THREADS, home=home, **env) for home in homes]]
        host.close()
    assert [out for out, _ in said] == ["all answered\n"] * 2, said
    assert host.refreshed > 0
    assert host.refused == 0
