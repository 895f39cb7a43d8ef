"""The Claude Code processes of a test, and the command line of `litellm-claude-code`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import psutil

from .home import HOME
from .waiting import wait_until

COMMAND = [sys.executable, "-m", "litellm_claude_code_cli"]
RUN_COMMAND = "from litellm_claude_code_cli.app import main; main()"
"""The same in a process that is forked (`scripts.Forker`)."""


def claude_processes(config: Path = HOME / "claude") -> list[int]:
    """Return the ids of the Claude Code processes that were started with this configuration folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        with contextlib.suppress(psutil.Error):
            is_cli = "--input-format" in (process.info["cmdline"] or [])
            if is_cli and process.environ().get("CLAUDE_CONFIG_DIR") == str(config):
                found.append(process.pid)
    return found


def processes_that_run(*command: str) -> list[int]:
    """Return the ids of the processes with exactly this command line."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cmdline() == [*command]:
                found.append(process.pid)
    return found


def wait_until_ended(config: Path = HOME / "claude") -> None:
    """Wait until no Claude Code process with this configuration folder runs."""
    wait_until(lambda: not claude_processes(config), lambda: claude_processes(config))
