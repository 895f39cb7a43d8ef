"""What travels between translation and the workers: a request ready to be made, and the events of its answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from .login import Login
from .observer import NOBODY, Observer

ApiEvent = dict[str, Any]
"""An event of the Messages API's stream, as it came from the API."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request to the model, as a worker takes it."""

    model: str
    """The id on the wire."""
    system: str = field(repr=False)
    """The caller's system prompt; empty for none."""
    extra_body: str = field(repr=False)
    """The Messages API body less `system`, `stream` and `metadata`, as JSON."""
    prompt: str = field(repr=False)
    """The text of the body's first user message."""
    max_tokens: int | None = None
    """The body's `max_tokens`, if it has one."""
    effort: str | None = None
    cache_ttl: Literal["5m", "1h"] | None = None
    """Set where the caller marked the system prompt for caching: the CLI's own marks go on, with this lifetime."""
    timeout_s: float | None = None
    """How long the caller waits: for the whole answer, or for each event of a stream."""
    login: Login
    observer: Observer = field(default=NOBODY, repr=False, compare=False)

    @property
    def size(self) -> int:
        """Return the characters that travel to the process."""
        return len(self.extra_body)
