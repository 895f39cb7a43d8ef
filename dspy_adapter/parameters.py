"""Parameters that a model does not take, adjusted or left out: what litellm knows of the model decides.

Optimizers set them without asking (COPRO a temperature of 1.4, `n > 1` one of 0.7), and an exception in the middle of
an hour's run helps nobody. What the caller must know is told once.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import litellm
from litellm.exceptions import UnsupportedParamsError

from litellm_claude_code.models import PROVIDER

# How an answer is sampled and how long it is thought about; everything else changes what is asked for.
_TUNING: Final = (
    *("temperature", "top_p", "presence_penalty", "frequency_penalty", "logit_bias", "seed"),
    *("logprobs", "top_logprobs", "reasoning_effort", "verbosity"),
)
_HIGHEST_TEMPERATURE: Final = 1.0  # the Messages API's; OpenAI's is 2

logger = logging.getLogger("dspy_adapter")
_told: Final[set[str]] = set()


def tell_once(what: str) -> None:
    """Log a warning, unless this run has it already. A logged one, because a raised one would end the run."""
    if what not in _told:
        _told.add(what)
        logger.warning("%s", what)


def tell_again() -> None:
    """Begin a run, in which what the last one was told is told once more."""
    _told.clear()


def adjusted(params: Mapping[str, Any], *, model: str) -> dict[str, Any]:
    """Return what must replace some of `params` for `model`, a name without the prefix; None: leave it out."""
    changes: dict[str, Any] = {}
    for name in _TUNING:
        value = params.get(name)
        if value is None:
            continue
        wanted = value
        if name == "temperature" and _is_number(value):
            wanted = min(value, _HIGHEST_TEMPERATURE)
        if not _takes(model, name, wanted):
            wanted = None
        if wanted != value:
            changes[name] = wanted
    return changes


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _takes(model: str, name: str, value: Any) -> bool:
    try:
        return _litellm_takes(model, name, value)
    except TypeError:  # a value that is no key of a cache, such as a dict
        return name in (litellm.get_supported_openai_params(model, PROVIDER) or [])


@lru_cache(maxsize=512)
def _litellm_takes(model: str, name: str, value: Any) -> bool:
    try:
        litellm.get_optional_params(model=model, custom_llm_provider=PROVIDER, **{name: value})
    except UnsupportedParamsError:
        return False
    except Exception:
        return True  # of another kind of wrong, which the call itself will tell best
    return True
