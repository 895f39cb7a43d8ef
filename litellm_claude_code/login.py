"""A login: the credential and the endpoint of a call, and the environment that its Claude Code process gets.

`auth.py` chooses one. A process gets the variables named below and no others (`launch.environment`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import urlsplit

Payer = Literal["subscription", "api_key", "gateway", "cloud"]
Stamp = tuple[tuple[str, int, int, int], ...]
"""The machine's files of managed settings at one moment, each with its path, inode, time and size."""

HOW_TO_PAY: Final = (
    "Log in with `litellm-claude-code claude auth login`, with `/login` in Claude Code, or with a token of `claude "
    "setup-token` in CLAUDE_CODE_OAUTH_TOKEN; or pay with a key: `api_key=` on the call, or "
    "LITELLM_CLAUDE_CODE_AUTH=api_key with ANTHROPIC_API_KEY set."
)

_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
CLOUDS: Final = ("CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY")
_CLOUD_PREFIXES: Final = ("AWS_", "GOOGLE_", "GCLOUD_", "CLOUD_ML_", "AZURE_", "VERTEX_", "ANTHROPIC_BEDROCK_",
                          "ANTHROPIC_VERTEX_", "ANTHROPIC_FOUNDRY_", "CLAUDE_CODE_SKIP_")  # fmt: skip

# Passed on from the caller's environment: what any program needs, the way to the network, where the login lives.
_PASSED_ON: Final = frozenset(
    [
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TMPDIR",
        "TEMP",
        "TMP",
        "XDG_CONFIG_HOME",
        "XDG_CACHE_HOME",
        "XDG_DATA_HOME",
        "XDG_STATE_HOME",
        "XDG_RUNTIME_DIR",
        "SYSTEMROOT",
        "USERPROFILE",
        "APPDATA",
        "LOCALAPPDATA",
        "PATHEXT",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "all_proxy",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "NODE_EXTRA_CA_CERTS",
        "CLAUDE_CODE_CLIENT_CERT",
        "CLAUDE_CODE_CLIENT_KEY",
        "CLAUDE_CODE_CLIENT_KEY_PASSPHRASE",
        "CLAUDE_CONFIG_DIR",
        "CLAUDE_SECURESTORAGE_CONFIG_DIR",
    ]
)

# Which of them choose an account, a place or the way to the network: a process has them as they were when its login was
# chosen, so that a program that changes them gets another process.
PLACE: Final = tuple(
    sorted(
        _PASSED_ON - {"PATH", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "PATHEXT"}
        - {"XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"}
    )
)  # fmt: skip

# What makes the CLI a wire: no request besides the caller's, nothing added to it, no retries, no hidden fallbacks.
# Each was seen to be needed with CLI 2.1.327; tests/test_wire.py pins the sum of them.
_WIRE: Final[Mapping[str, str]] = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "CLAUDE_CODE_DISABLE_TERMINAL_TITLE": "1",
    "CLAUDE_CODE_DISABLE_EXPERIMENTAL_BETAS": "1",
    "CLAUDE_CODE_DISABLE_ATTACHMENTS": "1",
    "CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK": "1",
    "CLAUDE_CODE_DISABLE_REFUSAL_FALLBACK": "1",
    "CLAUDE_CODE_DISABLE_THINKING": "1",
    "CLAUDE_CODE_EFFORT_LEVEL": "unset",
    # A call's body goes before it. Only a request of the CLI's own says so (`process/guard.py`).
    "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "1",
    "CLAUDE_CODE_MAX_RETRIES": "0",
    "DISABLE_PROMPT_CACHING": "1",
    "ENABLE_TOOL_SEARCH": "false",
    "CLAUDE_CODE_SDK_READS_SESSION_STATE": "",  # the SDK would ask for frames that nobody here reads
    # The caller's `timeout` bounds the wait between events; this only stops what nobody would wait for (1 h).
    "CLAUDE_BYTE_STREAM_IDLE_TIMEOUT_MS": "3600000",
}

# An agent is Claude Code as it is, with its own loop, thinking and caching; what it leaves out is what nobody waits for
# (titles, telemetry, memories, work that goes on behind an answer) and what would change the model or the wire.
_AGENT: Final[Mapping[str, str]] = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "CLAUDE_CODE_DISABLE_TERMINAL_TITLE": "1",
    "CLAUDE_CODE_DISABLE_EXPERIMENTAL_BETAS": "1",
    "CLAUDE_CODE_DISABLE_REFUSAL_FALLBACK": "1",
    "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
    "CLAUDE_CODE_DISABLE_AUTO_MEMORY": "1",
    "CLAUDE_CODE_SKIP_MCP_DEBUG_LOG_FILES": "1",
    "CLAUDE_CODE_SDK_READS_SESSION_STATE": "",
    "ENABLE_TOOL_SEARCH": "false",
}


# The CLI 2.1.327 takes a process with this variable for one whose caller decides who pays. It then leaves aside
# the host, keys, tokens and headers of every source of settings: Anthropic's service and `.claude.json`, too. Proxies
# and TLS files it takes. The variable that is named is never set: the CLI uses the login as before.
_ROUTE_IS_OURS: Final[Mapping[str, str]] = {"CLAUDE_CODE_HOST_AUTH_ENV_VAR": "ANTHROPIC_AUTH_TOKEN"}


@dataclass(frozen=True, kw_only=True)
class Login:
    """The way to the model that a process is started with. Processes of equal logins can stand in for each other."""

    payer: Payer
    base_url: str | None = field(default=None, repr=False)
    secrets: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Variables that hold a credential; kept out of every `repr`."""
    is_cloud_passed: bool = False
    place: tuple[tuple[str, str], ...] | None = field(default=None, repr=False)
    """The variables that choose an account, a place or a proxy, as they were; None takes them when a process starts."""
    policies: Stamp = field(default=(), repr=False)
    """The machine's managed settings as they were: a process that was started under others is not taken."""
    source: str | None = field(default=None, compare=False)
    """Where the credential comes from: a variable, or the call's `api_key`; None leaves it to the CLI to find one."""

    @property
    def is_metered(self) -> bool:
        """Say whether the CLI can be asked what this login has used: not at another base URL."""
        return self.payer == "subscription" and self.base_url is None

    @property
    def gets_settings(self) -> bool:
        """Return whether the CLI may ask Anthropic's service for the settings of an organisation."""
        return self.payer in ("subscription", "api_key") and self.base_url is None

    @property
    def is_elsewhere(self) -> bool:
        """Say whether it leads to another service than Anthropic's, where any model may exist."""
        return self.payer in ("gateway", "cloud")

    def environment(self) -> dict[str, str]:
        """Return the variables to set in the child; `passed_on` says which of the parent's it keeps besides."""
        return {**_WIRE, **dict(self.place or ()), **self._way()}

    def agent_environment(self) -> dict[str, str]:
        """Return the variables to set in the process of an agent."""
        return {**_AGENT, **dict(self.place or ()), **self._way()}

    def _way(self) -> dict[str, str]:
        env = os.environ if self.place is None else dict(self.place)
        base = {"ANTHROPIC_BASE_URL": self.base_url, **_past_proxies(self.base_url, env)} if self.base_url else {}
        kept = _ROUTE_IS_OURS if self.gets_settings else {}
        return {**kept, **base, **dict(self.secrets)}

    def redact(self, text: str) -> str:
        """Return a text of the process's without the credentials that it was given."""
        for _, value in self.secrets:
            text = text.replace(value, "[redacted]") if value else text
        return without_password(text)

    def passes_on(self, name: str) -> bool:
        """Say whether a variable of the parent's environment reaches the child."""
        if self.place is not None and _is_of_place(name, is_cloud=self.is_cloud_passed):
            return False  # set by `environment`, if it was set
        if name in _PASSED_ON or name.startswith("LC_"):
            return True
        return self.is_cloud_passed and is_of_cloud(name)


def _is_of_place(name: str, *, is_cloud: bool) -> bool:
    return name in PLACE or (is_cloud and is_of_cloud(name))


def is_of_cloud(name: str) -> bool:
    """Return whether a variable belongs to the login of a cloud."""
    return name in CLOUDS or name.startswith(_CLOUD_PREFIXES)


def _past_proxies(base_url: str, env: Mapping[str, str]) -> dict[str, str]:
    """Have a service on this machine asked without a proxy: the CLI would take one for the loopback interface, too."""
    host = urlsplit(base_url).hostname or ""
    if host not in _LOOPBACK:
        return {}
    return {name: ",".join(filter(None, [env.get(name), host])) for name in ("NO_PROXY", "no_proxy")}


def without_password(text: str) -> str:
    """Return a text whose URLs have no user name and password: `https://user:password@host` becomes `https://host`."""
    return re.sub(r"(\b[a-z][a-z0-9+.-]*://)[^/\s?#]*@", r"\1", text, flags=re.IGNORECASE)
