"""Failures of the clouds: the class that litellm's own provider of a cloud raises, and what to do about it.

Compared with litellm 1.106.2 (`bedrock/invoke/`, `vertex_ai/`, `azure_ai/`). The kinds and texts are those of CLI
2.1.327.
"""

from __future__ import annotations

from typing import Any, Final

from litellm import exceptions

from .clouds import CLOUDS, CloudName

NO_CREDENTIAL: Final = "cloud_credential_error"
"""The CLI's kind of failure if it found no credential, or could not renew it."""

# litellm's own classes if they differ from the class of the status. Not followed: its catch-all `APIError`, for 529 and
# for a 403 of Foundry.
_CLASSES: Final[dict[tuple[CloudName, int], Any]] = {
    ("bedrock", 424): exceptions.BadRequestError,
    ("bedrock", 500): exceptions.ServiceUnavailableError,
    ("vertex", 403): exceptions.BadRequestError,
}
_BAD_TOKEN: Final = "security token included in the request is invalid"
_NO_ACCESS: Final = "access to the model"


def class_of(cloud: CloudName, *, kind: str, status: int | None, text: str) -> Any:
    """Return litellm's exception class for a failure of a cloud, or None if it is that of its status or kind."""
    if kind == NO_CREDENTIAL or (cloud == "bedrock" and status == 403 and _BAD_TOKEN in text):
        return exceptions.AuthenticationError
    return _CLASSES.get((cloud, status)) if status is not None else None


def advice(cloud: CloudName, *, kind: str, status: int | None, text: str) -> str | None:
    """Return a sentence that says how to log in again or where to enable the model, or None if neither would help."""
    is_forbidden = status == 403 and (cloud == "vertex" or _NO_ACCESS in text)
    if kind == "model_not_found" or status == 404 or is_forbidden:
        return CLOUDS[cloud].how_to_enable
    if kind in (NO_CREDENTIAL, "authentication_failed") and (cloud, status) != ("foundry", 403):
        return CLOUDS[cloud].how_to_log_in
    return None
