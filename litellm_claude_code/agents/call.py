"""A call to an agent, ready to be run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ..call import Call
from .profile import Profile
from .trace import AgentRecord

LOCAL: Final = "local"
"""The owner of conversations that were started without a proxy."""


@dataclass(frozen=True, kw_only=True)
class AgentCall(Call):
    """A call for one run of an agent; the input of `run.py`."""

    profile: Profile
    messages: Sequence[Mapping[str, Any]] = field(repr=False)
    """The conversation as messages of the Messages API. The last one is the user's, which the agent answers."""
    schema: Mapping[str, Any] | None = field(default=None, repr=False)
    max_tokens: int | None = None
    """The limit for each message of the model, not for the run."""
    session_id: str | None = None
    """The conversation to resume."""
    owner: str = field(default=LOCAL, repr=False)
    """The client whose conversations this call may resume; see `owner_of`."""
    records: Sequence[list[AgentRecord]] = field(default=(), repr=False, compare=False)
    """The lists of `agent_records()` to which the run's record is appended."""
