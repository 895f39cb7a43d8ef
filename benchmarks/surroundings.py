"""What every benchmark runs in: a home of its own, a stand-in in a process of its own; and the machine's description.

The top imports nothing but the standard library: `scratch_home` must stand before litellm and the SDK are loaded.
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
    """Where the stand-in listens."""

    base_url: str
    api_key: str = field(repr=False)


@contextmanager
def scratch_home() -> Iterator[Path]:
    """Give this process and its children a home that is gone afterwards, and no setting of the user's.

    Must be entered before litellm or claude_agent_sdk is imported: both read the environment then.
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
        tempfile.tempdir = None  # it may hold the TMPDIR of before
        try:
            yield home
        finally:
            os.environ.clear()
            os.environ.update(before)
            tempfile.tempdir = None


@contextmanager
def stand_in(*options: str) -> Iterator[Address]:
    """Serve the Messages API from a process of its own; `options` are those of `litellm_claude_code.testing`."""
    with served([sys.executable, "-m", "litellm_claude_code.testing", *options]) as address:
        yield address


@contextmanager
def served(command: list[str]) -> Iterator[Address]:
    """Run a stand-in that prints its address, for as long as the block lasts."""
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
    """Return how many requests the stand-in has had."""
    url = f"{address.base_url}/_stand_in/requests?since=1000000000"
    request = urllib.request.Request(url, headers={"x-api-key": address.api_key})
    with urllib.request.urlopen(request, timeout=_ANSWER_WITHIN_S) as response:
        return int(json.load(response)["count"])


def machine() -> dict[str, str]:
    """Describe the machine and the versions that the numbers belong to."""
    from litellm_claude_code.install import find_cli

    path = find_cli()
    if path is None:
        raise RuntimeError("no Claude Code CLI: pip install --force-reinstall claude-agent-sdk")
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
