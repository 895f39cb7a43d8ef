"""Choose what pays for a call, and the environment of its Claude Code process.

The CLI silently prefers an API key in the environment to the login. This package uses a key only if the caller asked
for it. A process gets only the variables named below (`process/launch.py`). The login is sent only to the CLI's default
endpoint and to those in `Settings.send_login_to`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from litellm.exceptions import AuthenticationError

from .errors import HOW_TO_PAY, without_password
from .in_force import Stamp, policy_stamp
from .models import PROVIDER
from .settings import Settings

Payer = Literal["subscription", "api_key", "gateway", "cloud"]

DEFAULT_BASE_URL: Final = "https://api.anthropic.com"
_ARGUMENT: Final = "`api_key` of the call"
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_CLOUDS: Final = ("CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY")
_CLOUD_PREFIXES: Final = ("AWS_", "GOOGLE_", "GCLOUD_", "CLOUD_ML_", "AZURE_", "VERTEX_", "ANTHROPIC_BEDROCK_",
                          "ANTHROPIC_VERTEX_", "ANTHROPIC_FOUNDRY_", "CLAUDE_CODE_SKIP_")  # fmt: skip

# Passed on from the caller's environment: basics of any program, network settings, and the location of the login.
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

# Those of them that choose the account, a folder or the network route. A process gets their values from when its login
# was chosen, so a program that changes them gets a different process.
_PLACE: Final = tuple(
    sorted(
        _PASSED_ON - {"PATH", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "PATHEXT"}
        - {"XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"}
    )
)  # fmt: skip

# Make the CLI send the caller's request and nothing else: no other requests, no additions, no retries, no hidden
# fallbacks. CLI 2.1.327 was seen to need each of them. tests/test_wire.py tests their combined effect.
_WIRE: Final[Mapping[str, str]] = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "CLAUDE_CODE_DISABLE_TERMINAL_TITLE": "1",
    "CLAUDE_CODE_DISABLE_EXPERIMENTAL_BETAS": "1",
    "CLAUDE_CODE_DISABLE_ATTACHMENTS": "1",
    "CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK": "1",
    "CLAUDE_CODE_DISABLE_REFUSAL_FALLBACK": "1",
    "CLAUDE_CODE_DISABLE_THINKING": "1",
    "CLAUDE_CODE_EFFORT_LEVEL": "unset",
    # A call's body overrides this, so only a request of the CLI's own has this limit (`process/guard.py`).
    "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "1",
    "CLAUDE_CODE_MAX_RETRIES": "0",
    "DISABLE_PROMPT_CACHING": "1",
    "ENABLE_TOOL_SEARCH": "false",
    "CLAUDE_CODE_SDK_READS_SESSION_STATE": "",  # otherwise the SDK requests frames that are not used here
    # The caller's `timeout` limits the wait between events. This is only a last resort (1 h).
    "CLAUDE_BYTE_STREAM_IDLE_TIMEOUT_MS": "3600000",
}

# An agent is the normal Claude Code, with its own loop, thinking and caching. These variables switch off what a caller
# does not use (titles, telemetry, memories, background work) and what would change the model or the requests.
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


# With this variable, CLI 2.1.327 assumes that its parent process decides on payment. It ignores hosts, keys, tokens and
# headers from every source of settings, including Anthropic's service and `.claude.json`. It still applies proxies and
# TLS files. The variable named in the value is never set, so the CLI uses its login as before.
_ROUTE_IS_OURS: Final[Mapping[str, str]] = {"CLAUDE_CODE_HOST_AUTH_ENV_VAR": "ANTHROPIC_AUTH_TOKEN"}


@dataclass(frozen=True, kw_only=True)
class Login:
    """Credentials and endpoint of a process. Processes with equal logins are interchangeable."""

    payer: Payer
    base_url: str | None = field(default=None, repr=False)
    secrets: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Environment variables that hold a credential. Never part of a `repr`."""
    is_cloud_passed: bool = False
    place: tuple[tuple[str, str], ...] | None = field(default=None, repr=False)
    """Saved variables that choose the account, a folder or a proxy. None: taken when a process starts."""
    policies: Stamp = field(default=(), repr=False)
    """Fingerprint of the machine's managed settings. A process that started under different ones is not reused."""
    source: str | None = field(default=None, compare=False)
    """Where the credential comes from: a variable, or the call's `api_key`. None: the CLI finds one itself."""

    @property
    def is_metered(self) -> bool:
        """Return whether the CLI can report this login's usage: a subscription at the default base URL."""
        return self.payer == "subscription" and self.base_url is None

    @property
    def gets_settings(self) -> bool:
        """Return whether the CLI may fetch an organisation's settings from Anthropic's service."""
        return self.payer in ("subscription", "api_key") and self.base_url is None

    @property
    def is_elsewhere(self) -> bool:
        """Return whether requests go to a service other than Anthropic's, where any model may exist."""
        return self.payer in ("gateway", "cloud")

    def environment(self) -> dict[str, str]:
        """Return the variables to set in a worker's process. It also inherits those for which `passes_on` is true."""
        return {**_WIRE, **dict(self.place or ()), **self._way()}

    def agent_environment(self) -> dict[str, str]:
        """Return the variables to set in an agent's process."""
        return {**_AGENT, **dict(self.place or ()), **self._way()}

    def _way(self) -> dict[str, str]:
        env = os.environ if self.place is None else dict(self.place)
        base = {"ANTHROPIC_BASE_URL": self.base_url, **_past_proxies(self.base_url, env)} if self.base_url else {}
        kept = _ROUTE_IS_OURS if self.gets_settings else {}
        return {**kept, **base, **dict(self.secrets)}

    def redact(self, text: str) -> str:
        """Redact this login's secrets, and passwords in URLs, from process output."""
        for _, value in self.secrets:
            text = text.replace(value, "[redacted]") if value else text
        return without_password(text)

    def passes_on(self, name: str) -> bool:
        """Return whether a process inherits a variable of this Python process."""
        if self.place is not None and _is_of_place(name, is_cloud=self.is_cloud_passed):
            return False  # `environment` sets it from `place`
        if name in _PASSED_ON or name.startswith("LC_"):
            return True
        return self.is_cloud_passed and _is_of_cloud(name)


def _is_of_place(name: str, *, is_cloud: bool) -> bool:
    return name in _PLACE or (is_cloud and _is_of_cloud(name))


def _is_of_cloud(name: str) -> bool:
    return name in _CLOUDS or name.startswith(_CLOUD_PREFIXES)


def placed(login: Login, env: Mapping[str, str]) -> Login:
    """Add the variables and managed settings that affect account and route: if they change, the login differs."""
    names = sorted(filter(_is_of_cloud, env)) if login.is_cloud_passed else ()
    place = tuple((name, env[name]) for name in (*_PLACE, *names) if name in env)
    return replace(login, place=place, policies=policy_stamp())


def _past_proxies(base_url: str, env: Mapping[str, str]) -> dict[str, str]:
    """Return variables that bypass the proxy for a loopback `base_url`: the CLI would use the proxy even there."""
    host = urlsplit(base_url).hostname or ""
    if host not in _LOOPBACK:
        return {}
    return {name: ",".join(filter(None, [env.get(name), host])) for name in ("NO_PROXY", "no_proxy")}


def choose_login(
    *,
    api_key: str | None,
    api_base: str | None,
    settings: Settings,
    model: str,
    environ: Mapping[str, str] | None = None,
) -> Login:
    """Return the login that pays for a call. Reads the environment; makes no request.

    Raises `litellm.AuthenticationError` if the call names a gateway without a key for it, before anything is started or
    sent. Does not know which login Claude Code itself has: `wrong_login` checks that later.
    """
    env = os.environ if environ is None else environ
    return placed(_choose(api_key=api_key, api_base=api_base, settings=settings, model=model, env=env), env)


def _choose(
    *, api_key: str | None, api_base: str | None, settings: Settings, model: str, env: Mapping[str, str]
) -> Login:
    base_url = (api_base or env.get("ANTHROPIC_BASE_URL") or "").rstrip("/")
    is_default = base_url in ("", DEFAULT_BASE_URL)
    if not is_default:
        return _gateway(base_url, api_key=api_key, is_from_env=not api_base, settings=settings, model=model, env=env)
    if api_key:
        return Login(payer="api_key", secrets=(_key(api_key),), source=_ARGUMENT)
    if settings.auth == "cloud" or any(_is_on(env.get(name)) for name in _CLOUDS):
        source = next((name for name in _CLOUDS if _is_on(env.get(name))), None)
        return Login(payer="cloud", is_cloud_passed=True, source=source)
    if settings.auth == "api_key":
        key = env.get("ANTHROPIC_API_KEY")
        return (
            Login(payer="api_key", secrets=(_key(key),), source="ANTHROPIC_API_KEY") if key else Login(payer="api_key")
        )
    return _subscription(env)


def wrong_login(login: Login, account: Mapping[str, Any]) -> str | None:
    """Return why a process must not be used because it would not pay as chosen, or None if it would.

    `account` comes from the CLI's `initialize` reply (2.1.327). `/login` in Claude Code can also create an Anthropic
    Console key, which bills the API instead of a subscription.
    """
    is_key = bool(account.get("apiKeySource")) and account.get("tokenSource") == "none"
    if login.payer == "subscription" and is_key:
        return (
            f"Claude Code has no subscription login here, but a key ({account['apiKeySource']}) that bills the API: to "
            "have it pay, set LITELLM_CLAUDE_CODE_AUTH=api_key"
        )
    if login.payer == "api_key" and login.source is None and not is_key:
        return "LITELLM_CLAUDE_CODE_AUTH=api_key is set, but ANTHROPIC_API_KEY is empty: set it, or drop the setting"
    return None


def _gateway(
    base_url: str, *, api_key: str | None, is_from_env: bool, settings: Settings, model: str, env: Mapping[str, str]
) -> Login:
    if api_key:
        return Login(payer="gateway", base_url=base_url, secrets=(("ANTHROPIC_API_KEY", api_key),), source=_ARGUMENT)
    own = (
        ["ANTHROPIC_AUTH_TOKEN", *(["ANTHROPIC_API_KEY"] if settings.auth == "api_key" else [])] if is_from_env else []
    )
    for name in own:
        if value := env.get(name):
            return Login(payer="gateway", base_url=base_url, secrets=((name, value),), source=name)
    if base_url in (url.rstrip("/") for url in settings.send_login_to):
        return replace(_subscription(env), base_url=base_url)
    shown = without_password(base_url)
    where = "ANTHROPIC_BASE_URL" if is_from_env else "`api_base`"
    raise _refused(
        f"{where} names {shown}, and the Claude login is never sent there. Give that service's own key as `api_key=`"
        f"{' or in ANTHROPIC_AUTH_TOKEN' if is_from_env else ''}; or, if the login is meant for it, add the URL to "
        "LITELLM_CLAUDE_CODE_SEND_LOGIN_TO",
        model,
    )


def _subscription(env: Mapping[str, str]) -> Login:
    name = "CLAUDE_CODE_OAUTH_TOKEN"
    token = env.get(name)
    return Login(payer="subscription", secrets=((name, token),), source=name) if token else Login(payer="subscription")


def _key(key: str) -> tuple[str, str]:
    # `claude setup-token` makes a subscription token that looks like a key. The CLI reads it from another variable.
    return ("CLAUDE_CODE_OAUTH_TOKEN" if key.startswith("sk-ant-oat") else "ANTHROPIC_API_KEY", key)


def _is_on(value: str | None) -> bool:
    return (value or "").strip().lower() not in ("", "0", "false", "no", "off")


def _refused(sentence: str, model: str) -> AuthenticationError:
    return AuthenticationError(f"{sentence}. {HOW_TO_PAY}", model=model, llm_provider=PROVIDER)
