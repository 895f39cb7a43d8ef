"""What translation and workers exchange: a call that is ready to be sent, and the events of its response."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from .login import Login
from .observer import OnLimit

ApiEvent = dict[str, Any]
"""An event of the Messages API's stream, as received from the API."""
Waiting = Callable[[float], object]
"""Called every second while a call waits for a limit to reset, with the seconds left, and with 0 when the wait ends."""


@dataclass(frozen=True, kw_only=True)
class PlainCall:
    """One call to the model, in the form that a worker takes."""

    model: str
    """The model id that is sent."""
    system: str = field(repr=False)
    """The caller's system prompt. Empty if there is none."""
    extra_body: str = field(repr=False)
    """The Messages API body without `system`, `stream` and `metadata`, as JSON."""
    prompt: str = field(repr=False)
    """The text of the body's first user message."""
    max_tokens: int | None = None
    """The body's `max_tokens`, if it has one."""
    effort: str | None = None
    cache_ttl: Literal["5m", "1h"] | None = None
    """Set if the caller marked the system prompt for caching: switches on the CLI's cache marks, with this lifetime."""
    timeout_s: float | None = None
    """The timeout for the whole response, or for each event of a stream."""
    login: Login
    on_limit: OnLimit | None = None
    """What to do while a subscription limit is reached. None: as in the settings."""

    @property
    def size(self) -> int:
        """Return the number of characters in the body, which is sent to the process."""
        return len(self.extra_body)
