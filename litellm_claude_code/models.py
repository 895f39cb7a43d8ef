"""Resolve model names and register them with litellm.

Aliases resolve as in the Claude Code CLI, including its environment overrides. On a cloud they have other targets,
which are part of the login. Full ids are used unchanged. Prices and capabilities come from litellm's own entries for
the same Anthropic model; the prices of a cloud come from its entries for that cloud.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import litellm
from litellm.exceptions import BadRequestError, NotFoundError, UnsupportedParamsError
from litellm.types.utils import Usage

from ._litellm import catalog
from .cache import recall, remember
from .cli_protocol import DEFAULT_MODELS
from .clouds import CloudName, anthropic_ids, catalog_keys
from .login import Login

PROVIDER: Final = "claude_code"

# What CLI 2.1.327 resolves its aliases to, in its `initialize` reply and on the wire. tests/test_models.py asks the
# real CLI. The installed CLI's reply takes precedence (`learn`), so a new target of an alias needs no release here.
ALIASES: Final[Mapping[str, str]] = {
    "sonnet": "claude-sonnet-5-5",
    "opus": "claude-opus-5-5",
    "haiku": "claude-haiku-5-5",
    "fable": "claude-fable-5-2",
    "default": "claude-opus-5-5",
    "best": "claude-opus-5-5",
    "opusplan": "claude-sonnet-5-5",
}

# Models that the CLI offers but litellm's price map does not have yet: the entry to copy, and the CLI's own prices
# ("Fable 5.2 · $8/$40 per Mtok"; cache writes at 1.25 times the input price and reads at a tenth, as for every model).
_NOT_YET_IN_LITELLM: Final[Mapping[str, tuple[str, Mapping[str, float]]]] = {
    "claude-fable-5-2": (
        "claude-fable-5-1",
        {
            "input_cost_per_token": 8e-6,
            "output_cost_per_token": 40e-6,
            "cache_creation_input_token_cost": 10e-6,
            "cache_read_input_token_cost": 8e-7,
        },
    ),
}
_WIDE_CONTEXT: Final = "[1m]"
# Capabilities in litellm's model entries that a call to an agent cannot use.
_NOT_OF_AGENTS: Final = (
    "supports_function_calling",
    "supports_tool_choice",
    "supports_reasoning",
    "supports_web_search",
)
_REMEMBERED: Final = "models"
_WIDE_CONTEXT_TOKENS: Final = 1_000_000
_PRICED_AS: Final[Mapping[CloudName, str]] = {"bedrock": "bedrock", "vertex": "vertex_ai", "foundry": "azure_ai"}
"""litellm's own providers of the clouds."""


def _recalled() -> dict[str, str]:
    """Return the aliases saved by `learn`, ignoring entries of any other shape."""
    noted = recall(_REMEMBERED, dict)
    return {alias: model for alias, model in noted.items() if alias in ALIASES and isinstance(model, str)}


_told: dict[str, str] = _recalled()


def resolve(name: str, *, login: Login | None = None, any_id: bool = False) -> str:
    """Return the model id that is sent for `name` with this login, or with the one of Claude Code if it is None.

    `any_id` accepts every id, as for a login of another service (a gateway or a cloud provider).

    Raises `litellm.BadRequestError` for DSPy's colon spelling and for a hyphen in the prefix,
    `litellm.UnsupportedParamsError` if `[1m]` would need a beta header that Claude Code does not send, and
    `litellm.NotFoundError` for an unknown name.
    """
    spelled = name.strip()
    if spelled.startswith("claude-code/"):
        raise BadRequestError(
            f"Unknown provider 'claude-code'. Did you mean '{PROVIDER}/{spelled.partition('/')[2]}'?",
            model=name,
            llm_provider=PROVIDER,
        )
    if re.match(r"claude[-_]code:", spelled):
        bare = spelled.split(":", 1)[1].strip() or "sonnet"
        raise BadRequestError(
            f"'{spelled}' is the model name of DSPy's own `claude-code:` provider. "
            f"For this provider, use model='{PROVIDER}/{bare}'.",
            model=name,
            llm_provider=PROVIDER,
        )
    is_wide = spelled.lower().endswith(_WIDE_CONTEXT)
    short = spelled[: -len(_WIDE_CONTEXT)] if is_wide else spelled
    told = dict(login.models) if login is not None else {}
    any_id = any_id or (login is not None and login.is_elsewhere)
    model = _alias(short.lower(), told) or short
    if is_wide and (_entry(claude_behind(model) or model).get("max_input_tokens") or 0) < _WIDE_CONTEXT_TOKENS:
        raise UnsupportedParamsError(
            f"'{spelled}' needs the 1M context beta, which Claude Code does not send. "
            f"Use '{PROVIDER}/{short}', or a model with that context, such as '{PROVIDER}/sonnet'.",
            model=name,
            llm_provider=PROVIDER,
        )
    if any_id or short.lower() in ALIASES or re.fullmatch(r"claude-[a-z0-9][a-z0-9.\-]*", model):
        return model
    near = difflib.get_close_matches(short, [*ALIASES, *known_ids()], n=1)
    raise NotFoundError(
        f"Claude Code has no model '{spelled}'. {f'Did you mean {near[0]!r}? ' if near else ''}"
        f"Use one of {', '.join(repr(alias) for alias in ALIASES)} or a full id such as '{ALIASES['sonnet']}'. "
        "To use another service's model ids, set `api_base`.",
        model=name,
        llm_provider=PROVIDER,
    )


def split_profile(name: str) -> tuple[str, str | None]:
    """Split a name at its last '@' into model and profile (or `None`). A date after '@' belongs to a Vertex id."""
    model, at, profile = name.strip().rpartition("@")
    return (model, profile) if at and profile[:1].isalpha() else (name, None)


def learn(told: Mapping[str, str]) -> None:
    """Save the alias targets from the CLI's `initialize` reply, for this Python process and later ones."""
    news = {alias: model for alias, model in told.items() if alias in ALIASES}
    if news != {alias: _current(alias) for alias in news}:
        _told.update(news)
        remember(_REMEMBERED, _told)
        register_models()


def claude_behind(model: str, login: Login | None = None) -> str | None:
    """Return Anthropic's id of the Claude model behind an id, or None if the id does not tell it.

    The id of an inference profile or a deployment does not. If `ANTHROPIC_DEFAULT_…_MODEL` names it, the family is
    known, and its current model is returned.
    """
    known, candidates = catalog(), anthropic_ids(model)
    if found := next((one for one in candidates if one in known or one in _NOT_YET_IN_LITELLM), None):
        return found
    if candidates:
        return candidates[-1]
    place = dict(login.place or ()) if login is not None else {}
    named = (family for family, variable in DEFAULT_MODELS.items() if place.get(variable) == model)
    return next(map(_current, named), None)


def cost_usd(model: str, usage: Usage, login: Login) -> float | None:
    """Return what a response of a cloud costs by litellm's prices for that cloud, or None if they are not known."""
    if login.cloud is None:
        return None
    known = catalog()
    key = next((key for key in catalog_keys(login.cloud, model) if key in known), None)
    if key is None:
        return None
    place = dict(login.place or ())
    try:
        costs = litellm.cost_per_token(
            key.removeprefix(f"{_PRICED_AS[login.cloud]}/"),
            custom_llm_provider=_PRICED_AS[login.cloud],
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            usage_object=usage,
            vertex_location=place.get("CLOUD_ML_REGION"),
        )
    except Exception:  # litellm raises plain exceptions if it has no price
        return None
    return sum(costs)


def names() -> list[str]:
    """Return every name registered with litellm, without the prefix: aliases first, then full ids."""
    return [*ALIASES, *known_ids()]


def known_ids() -> list[str]:
    """Return the full ids of the Anthropic models in litellm's catalog, and of those only the CLI offers."""
    known = catalog()
    ids = [key for key, entry in known.items() if entry.get("litellm_provider") == "anthropic" and "/" not in key]
    return [*ids, *(key for key in _NOT_YET_IN_LITELLM if key not in known)]


def register_models() -> None:
    """Register prices and capabilities of `claude_code/<name>` with litellm, for every name. Makes no request."""
    entries = _entries()
    litellm.register_model(entries)
    litellm.models_by_provider[PROVIDER] = {*entries}


def register_profiles(profiles: Iterable[str]) -> None:
    """Register `claude_code/<name>@<profile>` with litellm: the model's prices, without tools from the caller."""
    own = dict.fromkeys(_NOT_OF_AGENTS, False)
    entries = _entries()
    litellm.register_model(
        {f"{name}@{profile}": {**entry, **own} for profile in profiles for name, entry in entries.items()}
    )


def _entries() -> dict[str, dict[str, Any]]:
    found = {f"{PROVIDER}/{name}": _entry(_alias(name) or name) for name in names()}
    return {name: {**entry, "litellm_provider": PROVIDER} for name, entry in found.items() if entry}


def _alias(name: str, told: Mapping[str, str] | None = None) -> str | None:
    if name not in ALIASES:
        return None
    if name == "default" and (chosen := os.environ.get("ANTHROPIC_MODEL")):
        return (told.get(chosen.lower()) if told else _current(chosen.lower())) or chosen
    if told and name in told:
        return told[name]
    model = _current(name) or ALIASES[name]
    variable = next((name for family, name in DEFAULT_MODELS.items() if model.startswith(f"claude-{family}-")), None)
    return (os.environ.get(variable) if variable else None) or model


def _current(alias: str) -> str | None:
    # The reply does not list these two aliases: each has the same target as a listed one.
    listed = {"best": "opus", "opusplan": "sonnet"}.get(alias, alias)
    return _told.get(listed) or ALIASES.get(listed)


def _entry(model: str) -> dict[str, Any]:
    known = catalog()
    if model not in known and model in _NOT_YET_IN_LITELLM:
        sibling, prices = _NOT_YET_IN_LITELLM[model]
        return {**known.get(sibling, {}), **prices}
    return dict(known.get(model, {}))
