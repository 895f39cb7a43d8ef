"""Find programs on this machine: the Claude Code CLI, and others on PATH.

Imports neither the SDK nor litellm: other modules use it while the package is imported.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Final

NO_CLI: Final = "the Claude Code CLI is not installed. Run `pip install --force-reinstall claude-agent-sdk`"


def find_cli(given: Path | None = None) -> Path | None:
    """Return the CLI: `given` by the settings, else the one in the SDK's wheel, else the one on PATH, else `None`."""
    if given is not None:
        return given.absolute()
    spec = importlib.util.find_spec("claude_agent_sdk")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).with_name("_bundled") / "claude"
        if bundled.is_file():
            return bundled
    return find_program("claude")


@cache
def sdk_version() -> str:
    """Return the version of the Claude Agent SDK, without importing it."""
    return metadata.version("claude-agent-sdk")


def find_program(name: str) -> Path | None:
    """Return a program on PATH, or `None`. Ignores relative and empty entries: see `absolute_path`."""
    found = shutil.which(name, path=absolute_path(os.environ.get("PATH")))
    return Path(found) if found else None


def absolute_path(path: str | None) -> str:
    """Return PATH without its relative and empty entries.

    Such entries refer to the working folder, and processes started by this package have a different one. In an agent's
    folder, a file written by the model could run in place of a program.
    """
    entries = [entry for entry in (path or "").split(os.pathsep) if os.path.isabs(entry)]
    return os.pathsep.join(entries) or os.defpath
