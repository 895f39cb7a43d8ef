"""`ClaudeCodeLM`: the `dspy.LM` whose calls go through litellm's `claude_code/`.

Thin: requests, cache, retries, history and saving are DSPy's. What is added stands around a call: parameters that the
model takes, and an observer that books it and may halt the run (`call.py`).
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import dspy  # type: ignore[import-untyped]
from litellm.exceptions import AuthenticationError

import litellm_claude_code  # noqa: F401 - registers the provider
from litellm_claude_code import models
from litellm_claude_code.auth import choose_login
from litellm_claude_code.models import PROVIDER
from litellm_claude_code.observer import OnLimit, observed_by
from litellm_claude_code.settings import from_environment

from .budget import Budget
from .call import LMCall
from .parameters import adjusted, tell_once
from .run import open_runs

_HAS_ENGINE: Final = "engine" in inspect.signature(dspy.LM.__init__).parameters  # DSPy 3.4 and newer


class ClaudeCodeLM(dspy.LM):  # type: ignore[misc]  # DSPy is not typed
    """A language model of DSPy's that Claude Code answers.

    `model` is an alias of Claude Code's (`sonnet`, `opus`, `haiku`…) or a full id, with or without `claude_code/`. All
    other arguments are those of `dspy.LM` (`cache`, `max_tokens`, `num_retries`, `api_base`, `timeout`…).

    `budget` says what this LM, together with all others whose budget has that name, may spend. `on_limit` says what a
    call does while a subscription limit is reached: "raise" ends the run, "wait" waits for the reset and shows a
    countdown; by default the setting LITELLM_CLAUDE_CODE_ON_LIMIT decides.

    A dead login, a reached limit and a spent budget raise `RunHalted`, which no optimizer mistakes for a score.
    Parameters the model does not take are adjusted or left out, with one warning.

    Raises `litellm.NotFoundError` for a model that Claude Code does not have, `litellm.BadRequestError` for DSPy's own
    spelling `claude-code:`.
    """

    def __init__(
        self, model: str, *args: Any, budget: Budget | None = None, on_limit: OnLimit | None = None, **kwargs: Any
    ) -> None:
        if budget is not None and not isinstance(budget, Budget):
            raise TypeError(f"budget={budget!r} is not a Budget: give one, such as Budget('run', max_usd=5).")
        if on_limit not in (None, "raise", "wait"):
            raise ValueError(f"on_limit={on_limit!r} is neither 'raise' nor 'wait'.")
        engine = kwargs.pop("engine", "litellm")
        if engine not in ("auto", "litellm"):
            raise ValueError(f"engine={engine!r}: a ClaudeCodeLM goes through litellm. Use dspy.LM for other engines.")
        model = _full_name(model, is_elsewhere=_is_elsewhere(kwargs))
        super().__init__(model, *args, **kwargs, **({"engine": "litellm"} if _HAS_ENGINE else {}))
        if self.model_type == "text":
            raise ValueError("model_type='text': Claude has no text completions; use 'chat' (the default).")
        self.budget = budget
        self.on_limit = on_limit

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer, as `dspy.LM` does. Raises `RunHalted` where no further call can succeed."""
        args, kwargs = self._taken(args, kwargs)
        with self._accounted(kwargs):
            return super().__call__(*args, **kwargs)

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        """Answer, as `dspy.LM` does, to be awaited. Raises `RunHalted` as a call does."""
        args, kwargs = self._taken(args, kwargs)
        with self._accounted(kwargs):
            return await super().acall(*args, **kwargs)

    def copy(self, **kwargs: Any) -> ClaudeCodeLM:
        """Return a copy with other attributes or parameters; its calls are counted with this one's."""
        if "model" in kwargs:
            kwargs["model"] = _full_name(kwargs["model"], is_elsewhere=_is_elsewhere({**self.kwargs, **kwargs}))
        copied: ClaudeCodeLM = super().copy(**kwargs)
        return copied

    def dump_state(self) -> dict[str, Any]:
        """Return what `load_state` makes an equal LM of, without the key."""
        state: dict[str, Any] = super().dump_state()
        if self.budget is not None:
            state["budget"] = dataclasses.asdict(self.budget)
        if self.on_limit is not None:
            state["on_limit"] = self.on_limit
        return state

    @classmethod
    def load_state(cls, state: Mapping[str, Any], **how: Any) -> ClaudeCodeLM:
        """Return the LM that `dump_state` was asked of; `api_key` must be given anew."""
        budget = state.get("budget")
        loaded: ClaudeCodeLM = super().load_state(
            {**state, **({"budget": Budget(**budget)} if budget is not None else {})}, **how
        )
        return loaded

    @contextmanager
    def _accounted(self, kwargs: Mapping[str, Any]) -> Iterator[None]:
        """Have what happens within told to the budget and to the runs that are tracked."""
        call = LMCall(
            model=self.model.removeprefix(f"{PROVIDER}/"),
            budget=self.budget,
            on_limit=self.on_limit,
            is_cached=kwargs.get("cache", self.cache) is not False,
        )
        runs = open_runs()
        error: BaseException | None = None
        try:
            with observed_by(call):
                yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            for run in runs:
                run.record(call, error)

    def _taken(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return a call's arguments with those parameters that the model takes."""
        model = models.split_profile(self.model.removeprefix(f"{PROVIDER}/"))[0]
        if args and dataclasses.is_dataclass(args[0]):
            return (self._taken_request(args[0], model), *args[1:]), kwargs
        if dataclasses.is_dataclass(kwargs.get("request")):
            return args, {**kwargs, "request": self._taken_request(kwargs["request"], model)}
        params = {**self.kwargs, **kwargs}
        changes = adjusted(params, model=model)
        self._tell(params, changes)
        return args, {**kwargs, **changes}

    def _taken_request(self, request: Any, model: str) -> Any:
        """Do the same for a `dspy.lm15.Request`, DSPy's way to call an LM from 3.5 on."""
        config = request.config
        params = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
        changes = adjusted(params, model=model)
        self._tell(params, changes)
        return dataclasses.replace(request, config=dataclasses.replace(config, **changes)) if changes else request

    def _tell(self, params: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
        for name, value in changes.items():
            done = "is left out" if value is None else f"becomes {value:g}"
            tell_once(f"{self.model} does not take {name}={params[name]!r}, which {done}.")


def _full_name(model: str, *, is_elsewhere: bool) -> str:
    """Return the name with its prefix. Where no other service is named, Claude Code must have the model."""
    if not isinstance(model, str) or not model.strip():
        raise ValueError(f"model={model!r} is not a name: give one, such as 'sonnet'.")
    bare = model.strip().removeprefix(f"{PROVIDER}/")
    models.resolve(models.split_profile(bare)[0], any_id=is_elsewhere)
    return f"{PROVIDER}/{bare}"


def _is_elsewhere(kwargs: Mapping[str, Any]) -> bool:
    """Say whether an LM with these parameters asks another service than Anthropic's, where any model may exist."""
    api_base = kwargs.get("api_base") or kwargs.get("base_url")
    try:
        login = choose_login(
            api_key=kwargs.get("api_key"), api_base=api_base, settings=from_environment(), model=PROVIDER
        )
    except AuthenticationError:
        return True  # for the call to tell: the key may come later
    return login.is_elsewhere
