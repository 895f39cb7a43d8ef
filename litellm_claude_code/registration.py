"""How litellm gets to know the provider: its prefix, its mapping of parameters, and its models.

What litellm has no hook for is in `_litellm.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Final

import litellm
from litellm.llms.custom_llm import CustomLLM

from . import _litellm, models
from .models import PROVIDER
from .settings import PROFILES_VARIABLE
from .translation.config import ClaudeCodeConfig, FindClaude

_MISSPELT: Final = ("claude_code:", "claude-code:", "claude-code/")


def register_handler(handler: CustomLLM, *, find_claude: FindClaude, leaves_out: Callable[[], bool]) -> None:
    """Make litellm pass calls of `claude_code/…` to this handler. Can be called again.

    `find_claude` tells which model's parameters a call takes, and `leaves_out` whether others are left out; see
    `ClaudeCodeConfig`.
    """
    known = [item for item in litellm.custom_provider_map if item["provider"] != PROVIDER]
    litellm.custom_provider_map = [*known, {"provider": PROVIDER, "custom_handler": handler}]
    _litellm.set_up_custom_providers()
    _litellm.register_config(PROVIDER, partial(ClaudeCodeConfig, find_claude, leaves_out))
    models.register_models()
    _litellm.keep_models(PROVIDER)
    if os.environ.get(PROFILES_VARIABLE):
        from .agents.registry import load_from_environment  # imports the SDK

        load_from_environment()
    # litellm rejects `claude_code:sonnet` and `claude-code/sonnet` before it calls a provider. These aliases make the
    # call reach this provider, whose error names the correct spelling.
    misspelt = [f"{prefix}{name}" for prefix in _MISSPELT for name in models.names()]
    _litellm.register_aliases({name: f"{PROVIDER}/{name}" for name in misspelt})
