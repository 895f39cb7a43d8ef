"""The usage of an answer: tokens as litellm counts them, dollars at litellm's prices for the model."""

from __future__ import annotations

import logging
from typing import Any, Final

import litellm
from litellm.types.utils import Usage

from litellm_claude_code_runs.usage import NOTHING, Used

from ..models import PROVIDER

logger = logging.getLogger("litellm_claude_code")
_told: Final[set[str]] = set()


def used(usage: Usage | None, *, model: str) -> Used:
    """Return the tokens and dollars of `usage`, or zeros if it is None. `model` is a name without the prefix."""
    if usage is None:
        return NOTHING
    details: Any = usage.prompt_tokens_details
    return Used(
        input_tokens=usage.prompt_tokens or 0,
        output_tokens=usage.completion_tokens or 0,
        cache_read_tokens=getattr(details, "cached_tokens", None) or 0,
        cache_write_tokens=getattr(details, "cache_creation_tokens", None) or 0,
        usd=_usd(usage, model=model),
    )


def _usd(usage: Usage, *, model: str) -> float:
    try:
        return sum(litellm.cost_per_token(model=model, custom_llm_provider=PROVIDER, usage_object=usage))
    except Exception:  # litellm raises a plain `Exception` for a model without a price
        if model not in _told:
            _told.add(model)
            logger.warning("litellm has no price for %r, so its calls count as 0 dollars.", model)
        return 0.0
