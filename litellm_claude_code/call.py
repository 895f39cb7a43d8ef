"""What the provider, the translation and the pool exchange: a request, its call, and the events of its response."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from litellm.types.utils import GenericStreamingChunk, ModelResponse, ModelResponseStream, Usage

from .login import Login
from .observer import NOBODY, Observer, OnLimit

if TYPE_CHECKING:
    from .pool.pool import Pool

ApiEvent = dict[str, Any]
"""An event of the Messages API's stream, as received from the API."""
Chunk = ModelResponseStream | GenericStreamingChunk
"""A chunk of litellm's stream."""
Waiting = Callable[[float], object]
"""Called every second while a call waits for a limit to reset, with the seconds left, and with 0 when the wait ends."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """What a call to the model and a call to an agent have in common."""

    model: str
    """The model id that is sent."""
    system: str = field(repr=False)
    """The caller's system prompt. Empty if there is none."""
    timeout_s: float | None = None
    """The timeout for the whole response, or for each event of a stream."""
    login: Login
    on_limit: OnLimit | None = None
    """What to do while a subscription limit is reached. None: as in the settings."""
    on_request: Callable[[int], object] = field(default=NOBODY.requested, repr=False, compare=False)
    """Called on the background loop with the number of further requests that reach the API."""


@dataclass(frozen=True, kw_only=True)
class PlainCall(Call):
    """One call to the model, in the form that a worker takes."""

    extra_body: str = field(repr=False)
    """The Messages API body without `system`, `stream` and `metadata`, as JSON."""
    prompt: str = field(repr=False)
    """The text of the body's first user message."""
    max_tokens: int | None = None
    """The body's `max_tokens`, if it has one."""
    effort: str | None = None
    cache_ttl: Literal["5m", "1h"] | None = None
    """Set if the caller marked the system prompt for caching: switches on the CLI's cache marks, with this lifetime."""

    @property
    def size(self) -> int:
        """Return the number of characters in the body, which is sent to the process."""
        return len(self.extra_body)


class ChunkMaker(Protocol):
    """Converts the events of one response to litellm's chunks."""

    usage: Usage | None
    """The usage of the response. Set with the last chunk."""

    def take(self, event: Any) -> Iterator[Chunk]:
        """Yield the chunks for an event."""


@dataclass(frozen=True, kw_only=True)
class Request(ABC):
    """A translated and checked request. Nothing has been sent or spent for it yet.

    A plain request and an agent's differ in their events: each knows how to get them, and what to make of them.
    """

    model: str
    """The model name that the caller used, for errors."""
    call: Call
    body: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """The request body that litellm's logging hooks get to see."""
    observer: Observer = field(default=NOBODY, repr=False, compare=False)
    n: int = 1

    @abstractmethod
    def events(self, pool: Pool, waiting: Waiting) -> AsyncGenerator[Any, None]:
        """Return the events of one response. Closing the generator early ends the call."""

    @abstractmethod
    def response(self, events: Sequence[Any]) -> ModelResponse:
        """Return litellm's response for the events of a whole response."""

    @abstractmethod
    def chunks(self) -> ChunkMaker:
        """Return a converter of the events to litellm's chunks."""
