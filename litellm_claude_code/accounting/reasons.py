"""Which errors end a run, because every further call would fail in the same way."""

from __future__ import annotations

from litellm.exceptions import AuthenticationError, NotFoundError, PermissionDeniedError

from litellm_claude_code_runs.halt import Reason

from ..cause import cause_of


def reason_of(error: Exception) -> Reason | None:
    """Return why every further call would fail in the same way, or None if another call may succeed."""
    cause = cause_of(error)
    if cause is not None and cause.limit is not None:
        return "limit"
    if cause is not None and cause.kind == "billing_error":
        return "billing"
    if isinstance(error, (AuthenticationError, PermissionDeniedError)):
        return "login"
    return "model" if isinstance(error, NotFoundError) else None
