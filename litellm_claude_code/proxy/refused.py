"""What the gate raises to answer a request itself, with an error. `error_replies.py` writes the reply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Refused(Exception):
    """Raised if the gate refuses a request. The message is for the client, and quotes no value of the request."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        retry_after_s: int | None = None,
        allow: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after_s = retry_after_s
        self.allow = allow
        """The methods that the endpoint has, for a 405."""
        self.details = details
        """What a client's program reads in place of the message."""
