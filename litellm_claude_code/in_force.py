"""Refuse settings from outside that would change a Claude Code process.

In the CLI (2.1.327 to 2.1.330), three sources override the environment of the process, whatever the command line says:

- `env` in `.claude.json`, which the CLI reads when it starts
- the machine's managed settings, which it watches
- the settings of an organisation, which it polls from Anthropic's service

`get_settings` shows the last two but not the first. So this module reads the files and also checks the process's reply.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from . import cli_protocol as cli
from .clouds import is_on
from .errors import CallFailed, Failure
from .login import Stamp

PROGRAMS: Final = (
    "apiKeyHelper",
    "proxyAuthHelper",
    "otelHeadersHelper",
    "awsAuthRefresh",
    "awsCredentialExport",
    "gcpAuthRefresh",
    "hooks",
    "statusLine",
    "subagentStatusLine",
    "fileSuggestion",
    "processWrapper",
    "policyHelper",
    "policyHelpers",
    "mcpServers",
    "managedMcpServers",
    "enabledPlugins",
)
"""Settings that make the CLI start a program. The program inherits an environment that contains the request."""
_VALUES: Final = ("forceLoginGatewayUrl", "model", "modelOverrides", "fallbackModel")
"""Settings that change the host or the model."""

# Variables that change the payer, the host, a proxy, headers, TLS, the model, or the code that runs in the process.
_ROUTE: Final = re.compile(
    r"_?ANTHROPIC_|_?CLAUDE_CODE_(USE|API|OAUTH|CUSTOM|SKIP|HOST|PROVIDER|REMOTE|GATEWAY|CLIENT_|CERT|PROXY|HTTP|"
    r"ENABLE_PROXY|DISABLE_PROXY|ASSUME|SUBAGENT_MODEL|RUNNER|GB_|PROCESS_WRAPPER|PLUGIN_DIR|MODEL_|CLIENT_DATA)|"
    r"CLAUDE_(CONFIG|SECURESTORAGE|BRIDGE|LOCAL_OAUTH)|.*_BASE_URL$|(HTTPS?|ALL|NO)_PROXY$|NPM_CONFIG_|"
    r"AWS_|GOOGLE_|GCLOUD_|GCE_|CLOUD_ML_|CLOUDSDK_|AZURE_|VERTEX_|METADATA_SERVER|"
    r"NODE_|BUN_|SSL|LD_|DYLD_|HOSTALIASES$|LOCALDOMAIN$|RES_OPTIONS$|HOME$|USERPROFILE$|XDG_CONFIG_HOME$|PATH$|"
    r"USE_(LOCAL|STAGING)_OAUTH$|API_FORCE",
    re.IGNORECASE,
)
# Variables that copy prompts or answers into telemetry.
_CONTENT: Final = re.compile(r"(ANT_)?OTEL_LOG_|ENABLE_BETA_TRACING|BETA_TRACING", re.IGNORECASE)
# Variables that change a plain call's request.
_REQUEST: Final = re.compile(
    r"CLAUDE_|API_TIMEOUT|DISABLE_PROMPT_CACHING|DISABLE_INTERLEAVED|ENABLE_TOOL_SEARCH|MAX_THINKING", re.IGNORECASE
)
_HARMLESS: Final = frozenset(
    [
        "CLAUDE_CODE_ENABLE_TELEMETRY",
        "CLAUDE_CODE_DISABLE_FEEDBACK_SURVEY",
        "CLAUDE_CODE_IDE_SKIP_AUTO_INSTALL",
        "CLAUDE_CODE_MAX_MCP_DESCRIPTION_LENGTH",
        "CLAUDE_BASH_MAINTAIN_PROJECT_WORKING_DIR",
    ]
)


@dataclass(frozen=True, kw_only=True)
class SettingsGuard:
    """Refuses settings for one process, which is started with `environment`."""

    environment: Mapping[str, str] = field(repr=False)
    is_agent: bool = False
    """For an agent, variables that only change its requests are accepted, because the CLI composes these itself."""

    def check_files(self) -> None:
        """Check the files that the CLI reads. Raises `CallFailed`, which names the file and the refused settings."""
        for file in config_files(self.environment):
            self._check(str(file), {"env": read_settings(file).get("env")})
        for file in policy_files():
            self._check(str(file), read_settings(file))

    def check_process(self, reply: Mapping[str, Any]) -> None:
        """Check the reply to `get_settings`. Raises `CallFailed`, which names the source and the refused settings."""
        sources = reply.get("sources")
        if not isinstance(sources, list):  # an older CLI shows only the effective settings
            effective = reply.get("effective") or {}
            sources = [{"source": "policySettings", "settings": {**effective, "env": None}}]
        for one in sources:
            settings, source = one.get("settings"), one.get("source")
            if not isinstance(settings, dict) or source == "flagSettings":  # set by the call itself
                continue
            if source == "policySettings":
                self._check(_policy_name(settings), settings)
            else:  # the agent's profile names these files, so it also allows the programs in them
                self._check(f"{source} of Claude Code", {"env": settings.get("env")})

    def _check(self, place: str, settings: Mapping[str, Any]) -> None:
        env = settings.get("env")
        variables = [name for name, value in (env if isinstance(env, dict) else {}).items() if self._bars(name, value)]
        programs = [name for name in PROGRAMS if settings.get(name)]
        values = [name for name in _VALUES if settings.get(name)]
        if programs:
            what = f"{', '.join(programs)}, so Claude Code would start a program that can read the request"
        elif variables or values:
            what = f"{', '.join(sorted([*variables, *values]))}, which can change who pays, where requests go or "
            what += "what they contain"
        else:
            return
        advice = "Remove it there, or ask your administrator to remove it"
        raise CallFailed(Failure(kind="refused_settings", text=f"{place} sets {what}. {advice}"))

    def _bars(self, name: str, value: object) -> bool:
        if name in _HARMLESS or self.environment.get(name) == str(value):
            return False
        if _CONTENT.match(name):
            return is_on(str(value))
        return bool(_ROUTE.match(name)) or (not self.is_agent and bool(_REQUEST.match(name)))


def config_files(environment: Mapping[str, str]) -> list[Path]:
    """Return the existing config files from which a process with this environment reads its account and `env`."""
    folder, home = (environment.get(name, os.environ.get(name)) for name in (cli.CONFIG_DIR, "HOME"))
    home_folder = Path(home) if home else Path.home()
    legacy = (Path(folder) if folder else home_folder / ".claude") / ".config.json"
    files = [legacy, (Path(folder) if folder else home_folder) / ".claude.json"]
    return [file for file in files if file.is_file()]


def _policy_folder() -> Path:
    return Path("/Library/Application Support/ClaudeCode" if sys.platform == "darwin" else "/etc/claude-code")


def policy_files() -> list[Path]:
    """Return the existing files with this machine's managed settings, in the locations of CLI 2.1.327."""
    folder = _policy_folder()
    files = [folder / "managed-settings.json", *sorted((folder / "managed-settings.d").glob("*.json"))]
    return [file for file in files if file.is_file()]


def policy_stamp() -> Stamp:
    """Return a fingerprint of the policy files and their folders: path, inode, mtime and size.

    The folders tell of a file that was written and removed again: a process may still have its settings in force.
    Takes about ten microseconds.
    """
    folder = _policy_folder()
    return tuple(_stamps(folder, folder / "managed-settings.json", folder / "managed-settings.d"))


def _stamps(folder: Path, file: Path, drop_ins: Path) -> Iterator[tuple[str, int, int, int]]:
    try:
        names = sorted(entry.path for entry in os.scandir(drop_ins))
    except OSError:
        names = []
    for path in (str(folder), str(file), str(drop_ins), *names):
        try:
            status = os.stat(path)
        except OSError:
            continue
        yield path, status.st_ino, status.st_mtime_ns, status.st_size


def _policy_name(settings: Mapping[str, Any]) -> str:
    """Return the file that a policy's settings come from, or a description of other sources."""
    env = settings.get("env") if isinstance(settings.get("env"), dict) else {}
    for file in policy_files():
        read = read_settings(file)
        there = read.get("env") if isinstance(read.get("env"), dict) else {}
        if any(name in read for name in settings if name != "env") or set(there or {}) & set(env or {}):
            return str(file)
    return "a policy (from your organisation's settings at Anthropic, or from this machine's administrator)"


def read_settings(file: Path) -> dict[str, Any]:
    """Return what is in a file of settings; nothing if it is not there, or not JSON."""
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
