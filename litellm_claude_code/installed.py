"""Where things are on this machine: the Claude Code CLI, and our own small folder.

Imports neither the SDK nor litellm, so that importing the package can ask it.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any, Final

import platformdirs

NO_CLI: Final = "no Claude Code CLI: pip install --force-reinstall claude-agent-sdk"
_TOLD_FILE: Final = "cli.json"


def find_cli(given: Path | None = None) -> Path | None:
    """Return the CLI that the settings give, or else the one in the SDK's wheel, or the one on PATH, or `None`."""
    if given is not None:
        return given
    spec = importlib.util.find_spec("claude_agent_sdk")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).with_name("_bundled") / "claude"
        if bundled.is_file():
            return bundled
    found = shutil.which("claude")
    return Path(found) if found else None


def cache_folder() -> Path:
    """Return our folder under the user's cache folder, made if need be."""
    return Path(platformdirs.user_cache_dir("litellm_claude_code", appauthor=False, ensure_exists=True))


def recall(key: str) -> Any:
    """Return what `remember` noted about the CLI that is installed now, or `None`."""
    try:
        noted = json.loads((cache_folder() / _TOLD_FILE).read_text())
    except (OSError, ValueError):
        return None
    return noted.get(key) if isinstance(noted, dict) and noted.get("cli") == _fingerprint() else None


def remember(key: str, value: Any) -> None:
    """Note something about the CLI that is installed now, for the next Python process. Failing to is no error."""
    try:
        path = cache_folder() / _TOLD_FILE
        noted = json.loads(path.read_text()) if path.is_file() else {}
        kept = noted if isinstance(noted, dict) and noted.get("cli") == _fingerprint() else {}
        part = path.with_suffix(".part")
        part.write_text(json.dumps({**kept, "cli": _fingerprint(), key: value}))
        part.replace(path)
    except (OSError, ValueError):
        return


def _fingerprint() -> str:
    cli = find_cli()
    try:
        return f"{cli} {cli.stat().st_size} {cli.stat().st_mtime_ns}" if cli else ""
    except OSError:
        return ""
