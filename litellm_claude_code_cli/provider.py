"""How a subcommand loads the provider, and names its models."""

from __future__ import annotations

import atexit
import gc
import os
from types import ModuleType
from typing import Final

PREFIX: Final = "claude_code"
# As in litellm_claude_code.models, which imports litellm for two seconds: too long for shell completion.
ALIASES: Final = ("sonnet", "opus", "haiku", "fable", "default", "best", "opusplan")


def load_litellm() -> ModuleType:
    """Import litellm with the provider registered, without fetching prices from the network and without banners.

    Turns off garbage collection, for a command that ends soon: half of the CPU time that a Python process takes to
    import litellm and to exit is collections that find nothing.
    """
    gc.disable()
    atexit.register(gc.freeze)  # so that the interpreter does not collect at its end, either
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    import litellm_claude_code  # noqa: F401 - registers the provider

    litellm.suppress_debug_info = True
    return litellm


def boot_no_spares() -> None:
    """Turn off spare processes: this command makes no further call, and a boot would slow this one down."""
    os.environ.setdefault("LITELLM_CLAUDE_CODE_SPARE_WORKERS", "0")


def full_name(model: str) -> str:
    """Return the model's name with the prefix, whether it was given with or without."""
    return model if model.startswith(f"{PREFIX}/") else f"{PREFIX}/{model}"


def complete_model(incomplete: str) -> list[str]:
    """Return the aliases that start with `incomplete`, for shell completion."""
    return [alias for alias in ALIASES if alias.startswith(incomplete)]
