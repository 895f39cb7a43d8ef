"""Keep the answers of different services apart in DSPy's cache, in memory and on disk.

DSPy's cache key has the model's name and the messages, but neither `api_base` nor anything from the environment. A
run on a login would therefore find the scripted answers of a stand-in. DSPy has no hook for this. For `claude_code/…`
who answers (`Login.answerer`) becomes a part of the key, for every LM class.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final, Protocol

from .after_import import after_import
from .models import PROVIDER


class FindAnswerer(Protocol):
    """Returns who answers a call with these arguments."""

    def __call__(self, *, api_base: str | None, api_key: str | None) -> str: ...


_FIELD: Final = "claude_code_answered_by"


def keep_answerers_apart(find_answerer: FindAnswerer) -> None:
    """Make who answers a part of DSPy's cache keys. Does not import DSPy: it may be imported later, or never."""

    def answered_by(request: Mapping[str, Any]) -> dict[str, str]:
        api_base = request.get("api_base") or request.get("base_url")
        return {_FIELD: find_answerer(api_base=api_base, api_key=request.get("api_key"))}

    def change_cache(module: ModuleType) -> None:
        make_key = module.Cache.cache_key

        def cache_key(self: Any, request: dict[str, Any], *args: Any, **kwargs: Any) -> str:
            if _FIELD not in request and _is_ours(request.get("model")):
                request = {**request, **answered_by(request)}
            key: str = make_key(self, request, *args, **kwargs)
            return key

        module.Cache.cache_key = cache_key

    def change_calls(module: ModuleType) -> None:
        """Do the same for a `dspy.lm15.Request`, whose key does not have the LM's `api_base`: DSPy 3.4 and newer."""
        make_request = module.PreparedCall.key

        def key(self: Any, lm: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
            request: dict[str, Any] = make_request(self, lm, *args, **kwargs)
            return {**request, **answered_by({**lm.kwargs, **self.kwargs})} if _is_ours(lm.model) else request

        module.PreparedCall.key = key

    after_import("dspy.clients.cache", change_cache)
    after_import("dspy.clients.execution", change_calls)


def _is_ours(model: object) -> bool:
    return isinstance(model, str) and model.startswith(f"{PROVIDER}/")
