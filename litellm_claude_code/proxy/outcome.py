"""What became of one request to the provider: tokens, cost, or the API's own status. No I/O.

The gate runs litellm with an observer of its own, because litellm's reply does not tell all of it: a 529 becomes a 500,
and the reply of a stream has neither tokens nor cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import litellm
from litellm.types.utils import Usage

from ..cause import cause_of
from ..models import PROVIDER
from ..observer import Observer

_OVERLOADED: Final = 529


class Outcome(Observer):
    """The observer of one request to the gate. litellm may make several calls for it, one for each prompt."""

    def __init__(self) -> None:
        self.model: str | None = None
        """The model name of the last call, without the provider's prefix. None if the provider was not asked."""
        self.queued_s = 0.0
        self.prompt_usage: dict[str, Any] = {}
        """The tokens of the prompt of a stream that has begun, as the Messages API names them."""
        self.tokens_in = 0
        self.tokens_out = 0
        self.cost_usd = 0.0
        self.error: Exception | None = None
        """litellm's exception for the last call, if that failed."""
        self._open_calls = 0
        """How many calls have neither been answered nor failed: the client left before."""

    @property
    def status(self) -> int | None:
        """The HTTP status of the API's error, if the last call failed because of one."""
        cause = cause_of(self.error) if self.error is not None else None
        if cause is None:
            return None
        return cause.status or (_OVERLOADED if cause.kind == "overloaded" else None)

    def status_behind(self, litellms: int) -> int:
        """Return the API's own status for a status of litellm's reply, or the latter if another failure caused it."""
        own = self.status
        is_ours = litellms == getattr(self.error, "status_code", None)
        return own if own is not None and is_ours else litellms

    @property
    def retry_after(self) -> str | None:
        """The header `retry-after` of the error, if it is known when a limit ends."""
        headers = getattr(self.error, "headers", None) or {}
        return headers.get("retry-after")

    def asked(self, model: str, n: int) -> None:
        """Note the model of a call."""
        self.model, self.error = model.removeprefix(f"{PROVIDER}/"), None
        self._open_calls += 1

    def queued(self, waited_s: float) -> None:
        """Add up the waits for a process."""
        self.queued_s += waited_s

    def began(self, usage: Mapping[str, Any]) -> None:
        """Keep the prompt's tokens, which litellm tells at the end only."""
        self.prompt_usage = {name: value for name, value in usage.items() if name.endswith("input_tokens")}

    def answered(self, usage: Usage | None) -> None:
        """Add up the tokens and the cost."""
        self._open_calls = max(0, self._open_calls - 1)
        if usage is None:
            return
        self.tokens_in += usage.prompt_tokens or 0
        self.tokens_out += usage.completion_tokens or 0
        self.cost_usd += self._cost_usd(usage)

    def failed(self, error: Exception) -> None:
        """Keep the exception: it knows the API's status."""
        self.error = error
        self._open_calls = max(0, self._open_calls - 1)

    def estimate(self, *, tokens_in: int, tokens_out: int) -> None:
        """Count these numbers of tokens, if a call has ended without its usage."""
        if self._open_calls:
            self.answered(Usage(prompt_tokens=tokens_in, completion_tokens=tokens_out))

    def _cost_usd(self, usage: Usage) -> float:
        try:
            return sum(litellm.cost_per_token(model=self.model or "", custom_llm_provider=PROVIDER, usage_object=usage))
        except Exception:  # litellm raises a plain `Exception` for a model without a price
            return 0.0
