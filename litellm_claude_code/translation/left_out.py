"""Parameters that a model does not take: which ask for nothing, how they are refused, and the warning if they are not.

Programs and frameworks send parameters that their users did not set: a temperature of 0.1, a frequency penalty of 0.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from litellm.exceptions import UnsupportedParamsError

from ..errors import unsupported
from ..settings import PREFIX

DEFAULTS: Final[Mapping[str, tuple[object, ...]]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "store": (False,),
    "service_tier": ("auto", "default"),
}
"""OpenAI's parameters that the Messages API does not have, and the values with which they ask for nothing."""
ADVICE: Final = (
    f"Leave that out, or set drop_params=True (for a whole program or server: {PREFIX}DROP_PARAMS=1), "
    "which leaves out what the model does not take."
)
_OF_CLAUDE_CODE: Final = ("user", "metadata.user_id", "extra_headers")
"""Claude Code sends its own, and no others."""

_logger: Final = logging.getLogger("litellm_claude_code")
_told: Final[set[tuple[str, str]]] = set()


def asks_for_nothing(name: str, value: object) -> bool:
    """Return whether a parameter has the value that it has if it is not given."""
    return value in DEFAULTS.get(name, ()) or (name in ("user", "extra_headers") and not value)


def refused(params: Mapping[str, Any], *, model: str) -> UnsupportedParamsError:
    """Return the error for parameters that the model does not take."""
    return unsupported(
        f"{model} does not take {', '.join(_described(name, value) for name, value in params.items())}. {ADVICE}",
        model=model,
    )


def warn(params: Mapping[str, Any], *, model: str) -> None:
    """Log that parameters are left out: one warning for each parameter and model."""
    for name, value in params.items():
        if (model, name) not in _told:
            _told.add((model, name))
            done = "the model may answer without a tool" if name == "tool_choice" else "it is left out"
            _logger.warning("%s does not take %s: %s (%sDROP_PARAMS).", model, _described(name, value), done, PREFIX)


def forget() -> None:
    """Log each warning again."""
    _told.clear()


def _described(name: str, value: object) -> str:
    """Return the parameter with its value if that is a number: others may quote the conversation."""
    if name == "tool_choice":
        return "a forced tool (`tool_choice`)"
    if name in _OF_CLAUDE_CODE:
        return f"{name} (Claude Code sends its own)"
    return f"{name}={value}" if isinstance(value, (bool, int, float)) else name
