"""The package's cache and data folders, and saved facts about the installed CLI.

Imports neither the SDK nor litellm: other modules use it while the package is imported.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, TypeVar

import platformdirs

from .install import find_cli
from .trusted import read_trusted, replace_file, trusted_folder

T = TypeVar("T")
_REMEMBERED_FILE: Final = "cli.json"


def cache_folder(*below: str) -> Path:
    """Return this package's folder in the user's cache folder, or a folder below it. Creates missing folders.

    Raises `UntrustedFolder` if another user could change the folder.
    """
    return trusted_folder(Path(platformdirs.user_cache_dir("litellm_claude_code", appauthor=False), *below))


def data_folder(*below: str) -> Path:
    """Return a folder for data that must not be lost, in the user's data folder. Otherwise like `cache_folder`."""
    return trusted_folder(Path(platformdirs.user_data_dir("litellm_claude_code", appauthor=False), *below))


def recall(key: str, kind: type[T]) -> T:
    """Return the value saved by `remember` for the current CLI. Empty if there is none of this type."""
    value = _read().get(key)
    return value if isinstance(value, kind) else kind()


def remember(key: str, value: Any) -> None:
    """Save a value about the current CLI for later Python processes. Ignores errors of writing."""
    try:
        text = json.dumps({**_read(), "cli": _fingerprint(), key: value})
        replace_file(cache_folder() / _REMEMBERED_FILE, text)
    except (OSError, ValueError):
        return


def _read() -> dict[str, Any]:
    """Return all saved values about the current CLI. Empty if the file is unusable or about another CLI."""
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
