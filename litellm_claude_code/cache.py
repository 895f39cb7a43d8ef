"""Our folder below the user's cache folder, and what is remembered there about the installed CLI.

Imports neither the SDK nor litellm, so that importing the package can ask it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import platformdirs

from .install import find_cli
from .trusted import read_trusted, replace_file, trusted_folder

_REMEMBERED_FILE: Final = "cli.json"


def cache_folder(*below: str) -> Path:
    """Return our folder below the user's cache folder, or a folder in it. Missing levels are made.

    Raises `UntrustedFolder` if another user could change it.
    """
    return trusted_folder(Path(platformdirs.user_cache_dir("litellm_claude_code", appauthor=False), *below))


def data_folder(*below: str) -> Path:
    """Return a folder below the user's data folder, for what must not be lost. As `cache_folder` otherwise."""
    return trusted_folder(Path(platformdirs.user_data_dir("litellm_claude_code", appauthor=False), *below))


def recall(key: str) -> Any:
    """Return what `remember` noted about the CLI that is installed now, or `None`. The caller checks its shape."""
    return _read().get(key)


def remember(key: str, value: Any) -> None:
    """Note something about the CLI that is installed now, for the next Python process. A failure is ignored."""
    try:
        text = json.dumps({**_read(), "cli": _fingerprint(), key: value})
        replace_file(cache_folder() / _REMEMBERED_FILE, text)
    except (OSError, ValueError):
        return


def _read() -> dict[str, Any]:
    """Return what is noted about the CLI that is installed now; nothing if the file has another shape."""
    try:
        noted = json.loads(read_trusted(cache_folder() / _REMEMBERED_FILE))
    except (OSError, ValueError, RecursionError):
        return {}
    return noted if isinstance(noted, dict) and noted.get("cli") == _fingerprint() else {}


def _fingerprint() -> str:
    cli = find_cli()
    try:
        return f"{cli} {cli.stat().st_size} {cli.stat().st_mtime_ns}" if cli else ""
    except OSError:
        return ""
