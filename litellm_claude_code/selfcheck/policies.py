"""Managed settings of this machine that may explain a failed self-check."""

from __future__ import annotations

from .. import cli_protocol as cli
from ..in_force import policy_files, read_settings
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
        env = read_settings(file).get("env")
        set_there = ", ".join(sorted(needed & {*env})) if isinstance(env, dict) else ""
        sentences.append(
            f"The policy in {file} sets {set_there}, which this package must set. Ask your administrator to remove it."
            if set_there
            else f"The policy in {file} may be the cause."
        )
    return sentences
