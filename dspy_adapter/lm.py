"""`ClaudeCodeLM`: a `dspy.LM` whose calls go through litellm's provider `claude_code/`.

This is a thin subclass: DSPy does requests, cache, retries, history and saving. Two things are added to a call. Its
parameters are adjusted to what the model takes, and an observer counts it and may halt the run
(`litellm_claude_code/accounting/observed.py`).
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import dspy
from litellm.exceptions import AuthenticationError

import litellm_claude_code  # noqa: F401 - registers the provider
from litellm_claude_code import models, provider
from litellm_claude_code.auth import choose_login
from litellm_claude_code.models import PROVIDER
from litellm_claude_code.observer import OnLimit, observed_by
from litellm_claude_code.settings import from_environment
from litellm_claude_code_runs.budget import Budget

from .parameters import adjusted, tell_once

_HAS_ENGINE: Final = "engine" in inspect.signature(dspy.LM.__init__).parameters  # DSPy 3.4 and newer


class ClaudeCodeLM(dspy.LM):  # type: ignore[misc]  # DSPy is not typed
    """A DSPy language model that calls Claude Code.

    `model` is one of Claude Code's aliases (`sonnet`, `opus`, `haiku`…) or a full id, with or without `claude_code/`.
    All other arguments are those of `dspy.LM` (`cache`, `max_tokens`, `num_retries`, `api_base`, `timeout`…).

    `budget` limits what this LM may spend, together with all other LMs whose budget has the same name. `on_limit` says
    what a call does while a subscription limit is reached: "raise" ends the run, "wait" waits for the reset and shows a
    countdown. By default the setting LITELLM_CLAUDE_CODE_ON_LIMIT decides.

    A rejected login, a reached limit and a spent budget raise `RunHalted`, which no optimizer mistakes for a score.
    Parameters that the model does not take are adjusted or left out, with one warning.

    Raises `litellm.NotFoundError` if Claude Code does not have the model, and `litellm.BadRequestError` for DSPy's own
    spelling `claude-code:`.
    """

    def __init__(
        self, model: str, *args: Any, budget: Budget | None = None, on_limit: OnLimit | None = None, **kwargs: Any
    ) -> None:
        if budget is not None and not isinstance(budget, Budget):
            raise TypeError(f"budget={budget!r} is not a Budget. Use one, such as Budget('run', max_usd=5).")
        if on_limit not in (None, "raise", "wait"):
            raise ValueError(f"on_limit={on_limit!r} is not valid. Use 'raise' or 'wait'.")
        engine = kwargs.pop("engine", "litellm")
        if engine not in ("auto", "litellm"):
            raise ValueError(
                f"engine={engine!r} is not supported: a ClaudeCodeLM uses litellm. Use dspy.LM for other engines."
            )
        model = _full_name(model, is_elsewhere=_is_elsewhere(kwargs))
        super().__init__(model, *args, **kwargs, **({"engine": "litellm"} if _HAS_ENGINE else {}))
        if self.model_type == "text":
            raise ValueError(
                "model_type='text' is not supported: Claude has no text completions. Use 'chat', the default."
            )
        self.budget = budget
        self.on_limit = on_limit

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the model, as `dspy.LM` does. Raises `RunHalted` if no further call can succeed."""
        args, kwargs = self._taken(args, kwargs)
        with self._accounted(kwargs):
            return super().__call__(*args, **kwargs)

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        """Call the model asynchronously, as `dspy.LM` does. Raises `RunHalted` if no further call can succeed."""
        args, kwargs = self._taken(args, kwargs)
        with self._accounted(kwargs):
            return await super().acall(*args, **kwargs)

    def copy(self, **kwargs: Any) -> ClaudeCodeLM:
        """Return a copy with other attributes or parameters. It spends from the same budget unless given another."""
        if "model" in kwargs:
            kwargs["model"] = _full_name(kwargs["model"], is_elsewhere=_is_elsewhere({**self.kwargs, **kwargs}))
        copied: ClaudeCodeLM = super().copy(**kwargs)
        return copied

    def dump_state(self) -> dict[str, Any]:
        """Return the state from which `load_state` makes an equal LM. It does not contain the API key."""
        state: dict[str, Any] = super().dump_state()
        if self.budget is not None:
            state["budget"] = dataclasses.asdict(self.budget)
        if self.on_limit is not None:
            state["on_limit"] = self.on_limit
        return state

    @classmethod
    def load_state(cls, state: Mapping[str, Any], **how: Any) -> ClaudeCodeLM:
        """Return an LM equal to the dumped one. `api_key` must be passed again: the state does not contain it."""
        budget = state.get("budget")
        loaded: ClaudeCodeLM = super().load_state(
            {**state, **({"budget": Budget(**budget)} if budget is not None else {})}, **how
        )
        return loaded

    @contextmanager
    def _accounted(self, kwargs: Mapping[str, Any]) -> Iterator[None]:
        """Count the call in this block towards the budget, and record it in the tracked runs."""
        call = provider.observed_call(
            self.model.removeprefix(f"{PROVIDER}/"),
            budget=self.budget,
            on_limit=self.on_limit,
            is_cached=kwargs.get("cache", self.cache) is not False,
        )
        call.begin()
        try:
            with observed_by(call):
                yield
        except BaseException as error:
            call.end(error)
            raise
        call.end()

    def _taken(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return a call's arguments, with the parameters adjusted to what the model takes."""
        # Not an alias: another login in the environment may give it another model.
        model = provider.claude_behind(self.model.removeprefix(f"{PROVIDER}/"), may_ask=True)
        if args and dataclasses.is_dataclass(args[0]):
            return (self._taken_request(args[0], model), *args[1:]), kwargs
        if dataclasses.is_dataclass(kwargs.get("request")):
            return args, {**kwargs, "request": self._taken_request(kwargs["request"], model)}
        params = {**self.kwargs, **kwargs}
        changes = adjusted(params, model=model)
        self._tell(params, changes)
        return args, {**kwargs, **changes}

    def _taken_request(self, request: Any, model: str) -> Any:
        """Adjust the parameters of a `dspy.lm15.Request`, which DSPy passes to an LM from version 3.5 on."""
        config = request.config
        params = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
        changes = adjusted(params, model=model)
        self._tell(params, changes)
        return dataclasses.replace(request, config=dataclasses.replace(config, **changes)) if changes else request

    def _tell(self, params: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
        for name, value in changes.items():
            done = "is left out" if value is None else f"becomes {value:g}"
            tell_once(f"{self.model} does not support {name}={params[name]!r}, which {done}.")


def _full_name(model: str, *, is_elsewhere: bool) -> str:
    """Return the name with its prefix. Raises if Claude Code does not have the model, unless `is_elsewhere`."""
    if not isinstance(model, str) or not model.strip():
        raise ValueError(f"model={model!r} is not a model name. Use one, such as 'sonnet'.")
    bare = model.strip().removeprefix(f"{PROVIDER}/")
    models.resolve(models.split_profile(bare)[0], any_id=is_elsewhere)
    return f"{PROVIDER}/{bare}"


def _is_elsewhere(kwargs: Mapping[str, Any]) -> bool:
    """Return whether these parameters name a service other than Anthropic's, which may have any model."""
    api_base = kwargs.get("api_base") or kwargs.get("base_url")
    try:
        login = choose_login(
            api_key=kwargs.get("api_key"), api_base=api_base, settings=from_environment(), model=PROVIDER
        )
    except AuthenticationError:
        return True  # the key may be set later; if it is not, the call raises
    return login.is_elsewhere
