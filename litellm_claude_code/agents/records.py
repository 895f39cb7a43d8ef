"""Collecting the records of agent runs, for programs that see only the text of an answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .trace import AgentRecord  # would import the SDK

_collectors: ContextVar[tuple[list[AgentRecord], ...]] = ContextVar("litellm_claude_code_agent_records", default=())


@contextmanager
def agent_records() -> Iterator[list[AgentRecord]]:
    """Collect the records of the agent runs in the `with` block, in the order in which the runs end.

    A run that fails after the agent has used a tool is included. A cached answer adds nothing, because no agent ran.
    Calls from other threads are included if the thread inherits the context, as DSPy's threads do.
    """
    records: list[AgentRecord] = []
    token = _collectors.set((*_collectors.get(), records))
    try:
        yield records
    finally:
        _collectors.reset(token)


def active_collectors() -> tuple[list[AgentRecord], ...]:
    """Return the lists to which a call made now adds its record."""
    return _collectors.get()
