"""The mapping of a call's parameters: `ClaudeCodeConfig`, which litellm asks before it calls the provider."""

from __future__ import annotations

from typing import Any, Final, Protocol

import litellm

from .. import models
from .._litellm import AnthropicConfig
from ..errors import bad_request, unsupported, without_context
from .validation import Body, check_schema, check_tools

# Parameters allowed in a call to an agent (`<model>@<profile>`). Everything else is set by its profile.
AGENT_PARAMS: Final = ("stream", "stream_options", "max_tokens", "max_completion_tokens", "response_format", "n")


class FindClaude(Protocol):
    """Finds the Claude model that a name means."""

    def __call__(self, name: str, /, *, may_ask: bool) -> str:
        """Return the model's id at Anthropic. `may_ask` allows to ask the CLI. Raises no error for an unknown name."""


class ClaudeCodeConfig(AnthropicConfig):
    """Maps parameters as litellm does for `anthropic/`, for the Claude model that a name means."""

    def __init__(self, find: FindClaude) -> None:
        super().__init__()
        self._find = find

    def get_supported_openai_params(self, model: str) -> list[str]:
        """Return the parameters of `anthropic/` plus `n`, without `user` and `extra_headers`, which cannot be sent.

        Agents support fewer parameters: see `AGENT_PARAMS`.
        """
        if models.split_profile(model)[1]:
            return list(AGENT_PARAMS)
        supported = super().get_supported_openai_params(self._full_id(model, may_ask=False))
        return [*(param for param in supported if param not in ("user", "extra_headers")), "n"]

    @without_context()
    def map_openai_params(self, non_default_params: Body, optional_params: Body, model: str, drop_params: bool) -> Body:
        """Map parameters as `anthropic/` does. Raises `BadRequestError` for an invalid tool, schema or `n`.

        Raises `UnsupportedParamsError` for `user`, unless parameters are dropped.
        """
        drops = drop_params or litellm.drop_params is True
        given = {key: value for key, value in non_default_params.items() if key != "user"}
        if non_default_params.get("user") is not None and not drops:
            raise unsupported(
                "`user` would overwrite Claude Code's own metadata. Leave it out, or set drop_params=True.", model=model
            )
        if models.split_profile(model)[1]:
            return {**optional_params, **given}
        check_tools(given.get("tools"), model=model)
        n = given.get("n")
        if n is not None and (not isinstance(n, int) or n < 1):
            raise bad_request(f"n={n!r} is not valid. Use an integer of at least 1.", model=model)
        claude = self._full_id(model, may_ask=True)
        try:
            mapped: Body = super().map_openai_params(given, optional_params, claude, drop_params)
        except (AttributeError, KeyError, TypeError) as error:
            why = f"A parameter has an invalid type or format ({type(error).__name__})."
            raise bad_request(why, model=model) from None
        return {**mapped, "n": n} if n is not None else mapped

    def get_json_schema_from_pydantic_object(self, response_format: Any) -> Any:
        """Return the JSON schema of a `response_format`. Raises `BadRequestError` if it is invalid."""
        check_schema(response_format)
        try:
            return super().get_json_schema_from_pydantic_object(response_format)
        except Exception as error:  # pydantic cannot make a schema of the class
            why = f"`response_format` cannot be converted to a JSON schema ({type(error).__name__})."
            raise bad_request(why, model=models.PROVIDER) from None

    def _full_id(self, model: str, *, may_ask: bool) -> str:
        # litellm passes the name with or without the prefix. It asks for a model's parameters also when the model is
        # registered: while this package is imported, or on the background loop, where nothing may block. `to_request`
        # checks whether the model exists.
        return self._find(model.removeprefix(f"{models.PROVIDER}/"), may_ask=may_ask)
