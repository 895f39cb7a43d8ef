"""The cause of a failed call, which is attached to litellm's exception and found again by `cause_of`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from .limits.subscription import ReachedLimit
from .login import Payer

_CAUSE: Final = "claude_code_cause"


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Details of a failed call that the exception's class does not show; see `cause_of`."""

    kind: str
    """The CLI's error kind (`rate_limit`, `authentication_failed`…), or one of ours (`timeout`, `cut`, `lost`…)."""
    payer: Payer
    """What would have paid for the call: the subscription, an API key, a gateway or a cloud provider."""
    limit: ReachedLimit | None = None
    """The subscription limit that was reached, with its window and reset time. None for an ordinary 429."""
    status: int | None = None
    """HTTP status of the API's response, if there was one. litellm has no exception class for some, such as 529."""

    @property
    def is_dead_login(self) -> bool:
        """Return whether the subscription's login is missing, expired or rejected, so that every call would fail."""
        dead = ("authentication_failed", "oauth_org_not_allowed", "refused_settings")
        return self.payer == "subscription" and self.kind in dead


def with_cause(error: Exception, cause: Cause) -> Exception:
    """Attach a cause to an exception and return the exception."""
    # An attribute and not a subclass: litellm's Router and callbacks compare the class itself.
    setattr(error, _CAUSE, cause)
    return error


def cause_of(error: BaseException) -> Cause | None:
    """Return the `Cause` of a failed call, or None if the exception does not come from this package.

    Also finds the cause if litellm or DSPy has wrapped the exception in one of theirs.
    """
    for inner in _chain(error):
        cause = getattr(inner, _CAUSE, None)
        if isinstance(cause, Cause):
            return cause
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and all its causes. litellm keeps a stream's original error in `original_exception`."""
    left, seen = [error], set[int]()
    while left:
        inner = left.pop(0)
        if id(inner) not in seen:
            seen.add(id(inner))
            yield inner
            stems = (getattr(inner, "original_exception", None), inner.__cause__, inner.__context__)
            left += [stem for stem in stems if isinstance(stem, BaseException)]
