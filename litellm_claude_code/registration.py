"""How litellm gets to know the provider: its prefix, its mapping of parameters, and its models.

litellm 1.106.2 has no hook for some of this. Where its internals are changed, a comment says what for.
"""

from __future__ import annotations

import os
from typing import Any, Final

import litellm
from litellm.llms.custom_llm import CustomLLM
from litellm.types.utils import LlmProviders, LlmProvidersSet
from litellm.utils import ProviderConfigManager, custom_llm_setup

from . import models
from .models import PROVIDER
from .settings import PROFILES_VARIABLE
from .translation.config import ClaudeCodeConfig

_MISSPELT: Final = ("claude_code:", "claude-code:")


def register_handler(handler: CustomLLM) -> None:
    """Make litellm pass calls of `claude_code/…` to this handler. Can be called again."""
    known = [item for item in litellm.custom_provider_map if item["provider"] != PROVIDER]
    litellm.custom_provider_map = [*known, {"provider": PROVIDER, "custom_handler": handler}]
    custom_llm_setup()  # type: ignore[no-untyped-call]
    _register_config()
    models.register_models()
    if os.environ.get(PROFILES_VARIABLE):
        from .agents.registry import load_from_environment  # imports the SDK

        load_from_environment()
    # litellm rejects `claude_code:sonnet` before it calls a provider. These aliases make the call reach this provider,
    # whose error names the correct spelling.
    for prefix in _MISSPELT:
        for name in models.names():
            litellm.model_alias_map.setdefault(f"{prefix}{name}", f"{PROVIDER}/{prefix}{name}")


def _register_config() -> None:
    """Make litellm map this provider's parameters with `ClaudeCodeConfig`.

    litellm looks up providers in an enum and their configs in a table.
    """
    if PROVIDER not in LlmProvidersSet:
        member = str.__new__(LlmProviders, PROVIDER)
        member._name_, member._value_ = "CLAUDE_CODE", PROVIDER
        LlmProviders._member_map_[member._name_] = member
        LlmProviders._value2member_map_[PROVIDER] = member
        LlmProviders._member_names_.append(member._name_)
        LlmProvidersSet.add(PROVIDER)
    if ProviderConfigManager._PROVIDER_CONFIG_MAP is None:
        ProviderConfigManager._PROVIDER_CONFIG_MAP = ProviderConfigManager._build_provider_config_map()
    ProviderConfigManager._PROVIDER_CONFIG_MAP[LlmProviders(PROVIDER)] = (ClaudeCodeConfig, False)


def finalize_quietly(logging: Any) -> None:
    """Prevent litellm's stream wrapper from setting context variables when it is garbage-collected.

    The finalizer in litellm 1.106.2 restores the ids for correlated logs, even if that option is off. CPython
    before 3.12 can collect garbage in the middle of `ContextVar.set`, and a finalizer that sets a context variable then
    crashes the process (https://github.com/python/cpython/issues/148891). This has crashed a server.
    """
    if logging is not None and not litellm.request_correlation_in_logs:
        logging._own_trace_id = None  # litellm sets the variable only if it holds this value, and it never holds None
