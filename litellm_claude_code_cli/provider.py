"""How a subcommand gets the provider."""

from __future__ import annotations

import os
from types import ModuleType
from typing import Final

PREFIX: Final = "claude_code"
# litellm_claude_code.models has these, but takes litellm's two seconds: too long for a shell's completion.
ALIASES: Final = ("sonnet", "opus", "haiku", "fable", "default", "best", "opusplan")


def load_litellm() -> ModuleType:
    """Import litellm with the provider registered: without asking the network for prices, and without its banners."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    import litellm_claude_code  # noqa: F401 - registers the provider

    litellm.suppress_debug_info = True
    return litellm


def boot_no_spares() -> None:
    """Have no process booted ahead of the next call: there is none, and it would slow this one down."""
    os.environ.setdefault("LITELLM_CLAUDE_CODE_SPARE_WORKERS", "0")


def full_name(model: str) -> str:
    """Return a model's name with the prefix; it may have been given with or without."""
    return model if model.startswith(f"{PREFIX}/") else f"{PREFIX}/{model}"


def complete_model(incomplete: str) -> list[str]:
    """List the aliases that a shell can complete."""
    return [alias for alias in ALIASES if alias.startswith(incomplete)]
