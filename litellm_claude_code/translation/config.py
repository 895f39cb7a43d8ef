"""The mapping of a call's parameters: `ClaudeCodeConfig`, which litellm asks before it calls the provider."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final, Protocol

import litellm
from litellm.exceptions import UnsupportedParamsError

from .. import _litellm, models
from .._litellm import AnthropicConfig, Body
from ..errors import InvalidRequest, translating_a_request
from . import left_out
from .validation import check_schema, check_tools

# Parameters allowed in a call to an agent (`<model>@<profile>`). Everything else is set by its profile.
AGENT_PARAMS: Final = ("stream", "stream_options", "max_tokens", "max_completion_tokens", "response_format", "n")

# Parameters that some models take, or take with some values only.
_DEPENDING_ON_THE_MODEL: Final = ("temperature", "top_p", "tool_choice", "service_tier")


class FindClaude(Protocol):
    """Finds the Claude model that a name means."""

    def __call__(self, name: str, /, *, may_ask: bool) -> str:
        """Return the model's id at Anthropic. `may_ask` allows to ask the CLI. Raises no error for an unknown name."""


class ClaudeCodeConfig(AnthropicConfig):
    """Maps parameters as litellm does for `anthropic/`, for the Claude model that a name means."""

    def __init__(self, find: FindClaude, leaves_out: Callable[[], bool]) -> None:
        super().__init__()
        self._find = find
        self._leaves_out = leaves_out
        """Returns whether the settings say to leave out what a model does not take."""

    def get_supported_openai_params(self, model: str) -> list[str]:
        """Return the parameters that litellm lets through to `map_openai_params`. litellm itself refuses the others.

        They are those that the model takes and those that may ask for nothing; all, if they are left out anyway.
        """
        taken = self._taken(model)
        return [*taken, *(name for name in _let_through(leaves_out=self._leaves_out()) if name not in taken)]

    def map_openai_params(self, non_default_params: Body, optional_params: Body, model: str, drop_params: bool) -> Body:
        """Map parameters as `anthropic/` does. Raises `BadRequestError` for an invalid tool, schema or `n`.

        Raises `UnsupportedParamsError` for what the model does not take, unless parameters are dropped. A value that
        asks for nothing counts as not given.
        """
        with translating_a_request(model):
            return self._map(non_default_params, optional_params, model, drop_params)

    def _map(self, non_default_params: Body, optional_params: Body, model: str, drop_params: bool) -> Body:
        leaves_out = self._leaves_out()
        drops = drop_params or leaves_out or litellm.drop_params is True
        given = dict(non_default_params)
        refused = self._refused(given, model, leaves_out=leaves_out)
        if refused and not drops:
            raise left_out.refused(refused, model=model)
        if leaves_out:
            left_out.warn(refused, model=model)
        given = {key: value for key, value in given.items() if key not in refused}
        if models.split_profile(model)[1]:
            return {**optional_params, **given}
        check_tools(given.get("tools"))
        n = given.get("n")
        if n is not None and (not isinstance(n, int) or n < 1):
            raise InvalidRequest(f"n={n!r} is not valid. Use an integer of at least 1.")
        if "tool_choice" in refused:
            given["tool_choice"] = "auto"
        try:
            mapped: Body = super().map_openai_params(given, optional_params, self._full_id(model, may_ask=True), drops)
        except (AttributeError, KeyError, TypeError) as error:
            why = f"A parameter has an invalid type or format ({type(error).__name__})."
            raise InvalidRequest(why) from None
        return {**mapped, "n": n} if n is not None else mapped

    def _taken(self, model: str) -> list[str]:
        """Return the parameters of `anthropic/` plus `n`, without `user` and `extra_headers`, which cannot be sent.

        Agents take fewer parameters: see `AGENT_PARAMS`.
        """
        if models.split_profile(model)[1]:
            return list(AGENT_PARAMS)
        supported = super().get_supported_openai_params(self._full_id(model, may_ask=False))
        return [*(param for param in supported if param not in ("user", "extra_headers")), "n"]

    def _refused(self, given: Body, model: str, *, leaves_out: bool) -> Body:
        """Return the parameters that the model does not take.

        Removes those from `given` that ask for nothing, and those that the model takes with 1 only.
        """
        let_through = {"user", *_let_through(leaves_out=leaves_out)}  # without a call's `allowed_openai_params`
        if given.keys().isdisjoint({"extra_headers", *let_through, *_DEPENDING_ON_THE_MODEL}):
            return {}  # without a look at what the model takes: litellm is slow to tell
        taken = self._taken(model)
        for key in given.keys() - taken:
            if left_out.asks_for_nothing(key, given[key]):
                del given[key]
        refused = {key: value for key, value in given.items() if key in let_through.difference(taken)}
        for key in _DEPENDING_ON_THE_MODEL:
            if key not in given or key not in taken or self._takes(key, given[key], model):
                continue
            if given[key] == 1:
                del given[key]
            else:
                refused[key] = given[key]
        return refused

    def _takes(self, key: str, value: Any, model: str) -> bool:
        try:
            super().map_openai_params({key: value}, {}, self._full_id(model, may_ask=True), drop_params=False)
        except UnsupportedParamsError:
            return False
        except Exception:
            return True  # invalid in another way, which the mapping of all parameters reports
        return True

    def get_json_schema_from_pydantic_object(self, response_format: Any) -> Any:
        """Return the JSON schema of a `response_format`. Raises `BadRequestError` if it is invalid."""
        with translating_a_request(models.PROVIDER):
            check_schema(response_format)
            try:
                return super().get_json_schema_from_pydantic_object(response_format)
            except Exception as error:  # pydantic cannot make a schema of the class
                why = f"`response_format` cannot be converted to a JSON schema ({type(error).__name__})."
                raise InvalidRequest(why) from None

    def _full_id(self, model: str, *, may_ask: bool) -> str:
        # litellm passes the name with or without the prefix. It asks for a model's parameters also when the model is
        # registered: while this package is imported, or on the background loop, where nothing may block. `to_request`
        # checks whether the model exists.
        return self._find(model.removeprefix(f"{models.PROVIDER}/"), may_ask=may_ask)


def _let_through(*, leaves_out: bool) -> Collection[str]:
    """Return the parameters that litellm lets through although a model may not take them."""
    return _litellm.openai_params() if leaves_out else left_out.DEFAULTS
