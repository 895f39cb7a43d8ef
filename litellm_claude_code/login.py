"""A login: the credential and the endpoint of a call, and the environment that its Claude Code process gets.

`auth.py` chooses one. A process gets the variables named below, those of `cli_protocol.py`, and no others
(`launch.environment`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import urlsplit

from . import cli_protocol as cli
from .clouds import CLOUDS, CloudName, secrets_in

Payer = Literal["subscription", "api_key", "gateway", "cloud"]
Stamp = tuple[tuple[str, int, int, int], ...]
"""The machine's files of managed settings at one moment, each with its path, inode, time and size."""

HOW_TO_PAY: Final = "Run `litellm-claude-code claude auth login`. Other ways to pay: 'Who pays' in the README"

STAND_IN_KEY: Final = "stand-in-key"
"""The key of a stand-in (`testing/`) that has no other. Its answers are scripted, in whichever process it runs."""

_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
# The families whose ids are set for a cloud's process. If they are not, CLI 2.1.327 finds out which models the account
# may use: with a billed request (`max_tokens: 1`) for each family, and more if one is refused.
_PINNED: Final = ("sonnet", "opus", "haiku")

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
        *(name for name in cli.VARIABLES if name.is_inherited),
    ]
)

# Those of them that choose the account, a folder or the network route. A process gets their values from when its login
# was chosen, so a program that changes them gets a different process.
PLACE: Final = tuple(
    sorted(
        _PASSED_ON - {"PATH", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "PATHEXT"}
        - {"XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"}
    )
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Login:
    """Credentials and endpoint of a process. Processes with equal logins are interchangeable."""

    payer: Payer
    base_url: str | None = field(default=None, repr=False)
    secrets: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Environment variables that hold a credential. Never part of a `repr`."""
    cloud: CloudName | None = None
    """The cloud that pays, if one does."""
    models: tuple[tuple[str, str], ...] = ()
    """What the CLI's aliases mean with this login: pairs of alias and id. Empty if it is not known."""
    place: tuple[tuple[str, str], ...] | None = field(default=None, repr=False)
    """Saved variables that choose the account, a folder or a proxy. None: taken when a process starts."""
    policies: Stamp = field(default=(), repr=False)
    """Fingerprint of the machine's managed settings. A process that started under different ones is not reused."""
    source: str | None = field(default=None, compare=False)
    """Where the credential comes from: a variable, or the call's `api_key`. None: the CLI finds one itself."""

    @property
    def messages_url(self) -> str:
        """Return where requests go, for litellm's logging hooks: the Messages API's address, or the cloud's name."""
        return self.cloud or f"{without_password(self.base_url or 'https://api.anthropic.com').rstrip('/')}/v1/messages"

    @property
    def answerer(self) -> str:
        """Return a name for the service that answers: two logins have the same if one's answers are good for the other.

        That is Anthropic's API for a subscription and for a key, a gateway's URL, a cloud with its region, project or
        resource, and one name for all stand-ins, because the port of a stand-in changes with each start. It contains
        no secret.
        """
        env = dict(self.place or ())
        cloud = CLOUDS[self.cloud] if self.cloud is not None else None
        url = env.get(cloud.base_url) if cloud is not None else self.base_url
        is_here = url is not None and urlsplit(url).hostname in _LOOPBACK
        if is_here and STAND_IN_KEY in (*(value for _, value in self.secrets), *env.values()):
            return "stand-in"
        shown = without_password(url) if url is not None else ""
        if cloud is None:
            return shown or "https://api.anthropic.com"
        account = (f"{name}={value}" for name, value in sorted(env.items()) if cloud.places(name))
        return " ".join([cloud.name, *account, shown]).rstrip()

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
        return {**cli.WORKER_ENVIRONMENT, **dict(self.place or ()), **self._way()}

    def agent_environment(self) -> dict[str, str]:
        """Return the variables to set in an agent's process."""
        return {**cli.AGENT_ENVIRONMENT, **dict(self.place or ()), **self._way()}

    def _way(self) -> dict[str, str]:
        env = os.environ if self.place is None else dict(self.place)
        base = {cli.BASE_URL: self.base_url, **_past_proxies(self.base_url, env)} if self.base_url else {}
        kept: dict[str, str] = {cli.HOST_AUTH_ENV_VAR: cli.AUTH_TOKEN} if self.gets_settings else {}
        return {**kept, **base, **self._of_cloud(), **dict(self.secrets)}

    def _of_cloud(self) -> dict[str, str]:
        if self.cloud is None:
            return {}
        ids = dict(self.models)
        pins: dict[str, str] = {cli.DEFAULT_MODELS[family]: ids[family] for family in _PINNED if family in ids}
        # The CLI takes fewer values for "on" than people write. If it took this one for "off", the Claude login would
        # pay.
        return {CLOUDS[self.cloud].switch: "1", **pins}

    def redact(self, text: str) -> str:
        """Redact this login's secrets, and passwords in URLs, from process output."""
        for value in (*(value for _, value in self.secrets), *secrets_in(dict(self.place or ()))):
            text = text.replace(value, "[redacted]") if value else text
        return without_password(text)

    def passes_on(self, name: str) -> bool:
        """Return whether a process inherits a variable of this Python process."""
        is_of_cloud = self.cloud is not None and CLOUDS[self.cloud].has(name)
        if self.place is not None and (name in PLACE or is_of_cloud):
            return False  # `environment` sets it from `place`
        return name in _PASSED_ON or name.startswith("LC_") or is_of_cloud


def _past_proxies(base_url: str, env: Mapping[str, str]) -> dict[str, str]:
    """Return variables that bypass the proxy for a loopback `base_url`: the CLI would use the proxy even there."""
    host = urlsplit(base_url).hostname or ""
    if host not in _LOOPBACK:
        return {}
    return {name: ",".join(filter(None, [env.get(name), host])) for name in ("NO_PROXY", "no_proxy")}


def without_password(text: str) -> str:
    """Return a text whose URLs have no user name and password: `https://user:password@host` becomes `https://host`."""
    return re.sub(r"(\b[a-z][a-z0-9+.-]*://)[^/\s?#]*@", r"\1", text, flags=re.IGNORECASE)
