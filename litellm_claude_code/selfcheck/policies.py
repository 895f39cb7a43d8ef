"""Managed settings of this machine that may explain a failed self-check."""

from __future__ import annotations

import json
from pathlib import Path

from .. import cli_protocol as cli
from ..in_force import policy_files
from ..login import Login
from .differences import CACHING


def policies() -> list[str]:
    """Return a sentence for each file of managed settings, with the worker's variables that it sets.

    Managed settings take precedence over the CLI's environment and `apply_flag_settings` (CLI 2.1.327).
    """
    own = (cli.EXTRA_BODY, cli.BASE_URL, cli.API_KEY, cli.API_TIMEOUT_MS, *CACHING)
    needed = {*Login(payer="gateway").environment(), *own}
    sentences = []
    for file in policy_files():
        set_there = ", ".join(sorted(needed & _variables(file)))
        sentences.append(
            f"The policy in {file} sets {set_there}, which this package must set. Ask your administrator to remove it."
            if set_there
            else f"The policy in {file} may be the cause."
        )
    return sentences


def _variables(file: Path) -> set[str]:
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError):
        return set()
    env = content.get("env") if isinstance(content, dict) else None
    return set(env) if isinstance(env, dict) else set()
