"""The environment of a benchmark: a scratch home, a stand-in in its own process, and a description of the machine.

At the top this imports only the standard library, because `scratch_home` must be entered before litellm and the SDK are
imported.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Final

_NOT_INHERITED: Final = ("ANTHROPIC_", "CLAUDE_", "CLAUDECODE", "LITELLM_CLAUDE_CODE_")
_ANSWER_WITHIN_S: Final = 10.0


@dataclass(frozen=True, kw_only=True)
class Address:
    """The URL of the stand-in, and the key for it."""

    base_url: str
    api_key: str = field(repr=False)


@contextmanager
def scratch_home() -> Iterator[Path]:
    """Give this process and its children a temporary home, and none of the user's settings.

    Must be entered before litellm or claude_agent_sdk is imported, because both read the environment on import.
    """
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="claude-code-benchmark-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        for variable in before:
            if variable.startswith(_NOT_INHERITED):
                del os.environ[variable]
        for variable, folder in {
            "HOME": "home",
            "CLAUDE_CONFIG_DIR": "home/.claude",
            "XDG_CACHE_HOME": "home/.cache",
            "XDG_CONFIG_HOME": "home/.config",
            "XDG_DATA_HOME": "home/.local/share",
            "TMPDIR": "tmp",
        }.items():
            (home / folder).mkdir(parents=True, exist_ok=True)
            os.environ[variable] = str(home / folder)
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
        os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
        tempfile.tempdir = None  # it may still be the previous TMPDIR
        try:
            yield home
        finally:
            os.environ.clear()
            os.environ.update(before)
            tempfile.tempdir = None


@contextmanager
def stand_in(*options: str) -> Iterator[Address]:
    """Run the stand-in in its own process. `options` are those of `python -m litellm_claude_code.testing`."""
    with served([sys.executable, "-m", "litellm_claude_code.testing", *options]) as address:
        yield address


@contextmanager
def served(command: list[str]) -> Iterator[Address]:
    """Run a stand-in during the block. `command` starts it, and it must print its address as JSON."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise RuntimeError("the stand-in ended before it served")
            yield Address(**json.loads(line))
        finally:
            process.terminate()
            try:
                process.wait(_ANSWER_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()


def requests_seen(address: Address) -> int:
    """Return how many requests the stand-in has received."""
    url = f"{address.base_url}/_stand_in/requests?since=1000000000"
    request = urllib.request.Request(url, headers={"x-api-key": address.api_key})
    with urllib.request.urlopen(request, timeout=_ANSWER_WITHIN_S) as response:
        return int(json.load(response)["count"])


def machine() -> dict[str, str]:
    """Return the machine and the versions with which the numbers were measured."""
    from litellm_claude_code.install import find_cli

    path = find_cli()
    if path is None:
        raise RuntimeError("the Claude Code CLI is not installed. Run `pip install --force-reinstall claude-agent-sdk`")
    cli = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load_1min, *_ = os.getloadavg()
    return {
        "cores": str(os.cpu_count()),
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
        "load before": f"{load_1min:.2f}",
        "python": platform.python_version(),
        "litellm": version("litellm"),
        "claude-agent-sdk": version("claude-agent-sdk"),
        "Claude Code CLI": cli.split()[0],
    }
