"""The events of an agent's run: one `Begun`, then `Activity` and `TextDelta`, and one `Finished` at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .trace import AgentEvent, AgentRecord


@dataclass(frozen=True, kw_only=True)
class Begun:
    """The model has begun its first message."""

    model: str
    """The model id, as the API reports it."""


@dataclass(frozen=True, kw_only=True)
class Activity:
    """Something that the agent does, as the profile's `on_event` gets it, too."""

    event: AgentEvent


@dataclass(frozen=True, kw_only=True)
class TextDelta:
    """A piece of the answer's text."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The run is over, and all of its answer has come."""

    record: AgentRecord
    stop_reason: str
    """In the Messages API's words."""
    usage: Mapping[str, int]
    """The usage of the whole run, with the Messages API's field names."""


RunEvent = Begun | Activity | TextDelta | Finished
