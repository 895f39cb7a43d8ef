"""Adjust or leave out parameters that a model does not take, according to litellm's data on the model.

DSPy and its optimizers set such parameters without checking: COPRO sets a temperature of 1.4, and `n > 1` sets one of
0.7. An exception in the middle of an hour's run would be of no use, so each change is logged once instead.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import litellm
from litellm.exceptions import UnsupportedParamsError

from litellm_claude_code.models import PROVIDER

# These control sampling and thinking. All other parameters change what is asked for, and stay as they are.
_TUNING: Final = (
    *("temperature", "top_p", "presence_penalty", "frequency_penalty", "logit_bias", "seed"),
    *("logprobs", "top_logprobs", "reasoning_effort", "verbosity"),
)
_HIGHEST_TEMPERATURE: Final = 1.0  # in the Messages API; OpenAI's maximum is 2

logger = logging.getLogger("dspy_adapter")
_told: Final[set[str]] = set()


def tell_once(what: str) -> None:
    """Log a warning once a run. It is logged, not raised: an exception would end the run."""
    if what not in _told:
        _told.add(what)
        logger.warning("%s", what)


def tell_again() -> None:
    """Start a new run, which logs each warning again."""
    _told.clear()


def adjusted(params: Mapping[str, Any], *, model: str) -> dict[str, Any]:
    """Return the parameters to replace, with their new values. None means that the parameter must be left out.

    `model` is a name without the prefix.
    """
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
    except TypeError:  # an unhashable value, such as a dict, cannot be a key of the cache
        return name in (litellm.get_supported_openai_params(model, PROVIDER) or [])


@lru_cache(maxsize=512)
def _litellm_takes(model: str, name: str, value: Any) -> bool:
    try:
        litellm.get_optional_params(model=model, custom_llm_provider=PROVIDER, **{name: value})
    except UnsupportedParamsError:
        return False
    except Exception:
        return True  # a different error, which the call itself reports best
    return True
