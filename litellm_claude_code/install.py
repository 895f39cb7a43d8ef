"""Programs on this machine: the Claude Code CLI, and others that are found through PATH.

Imports neither the SDK nor litellm, so that importing the package can ask it.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from typing import Final

NO_CLI: Final = "no Claude Code CLI: pip install --force-reinstall claude-agent-sdk"


def find_cli(given: Path | None = None) -> Path | None:
    """Return the CLI that the settings give, or else the one in the SDK's wheel, or the one on PATH, or `None`."""
    if given is not None:
        return given.absolute()
    spec = importlib.util.find_spec("claude_agent_sdk")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).with_name("_bundled") / "claude"
        if bundled.is_file():
            return bundled
    return find_program("claude")


def find_program(name: str) -> Path | None:
    """Return a program that PATH leads to, or `None`. Relative and empty entries are left out: see `absolute_path`."""
    found = shutil.which(name, path=absolute_path(os.environ.get("PATH")))
    return Path(found) if found else None


def absolute_path(path: str | None) -> str:
    """Return PATH without its relative and empty entries.

    They mean the working folder, which is another one for the processes that are started here: in an agent's folder, a
    file that the model wrote would be taken for a program.
    """
    entries = [entry for entry in (path or "").split(os.pathsep) if os.path.isabs(entry)]
    return os.pathsep.join(entries) or os.defpath
