"""Who wants to know what agents did without reading it off each answer: a program that sees its text only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .trace import AgentRecord  # brings the SDK with it

_wanted: ContextVar[tuple[list[AgentRecord], ...]] = ContextVar("litellm_claude_code_agent_records", default=())


@contextmanager
def agent_records() -> Iterator[list[AgentRecord]]:
    """Collect what agents do in the calls made within, in the order in which they end; those that fail, too.

    An answer out of a cache is no run, and adds nothing. Calls of another thread count where it inherits the context,
    as those of DSPy's do.
    """
    records: list[AgentRecord] = []
    token = _wanted.set((*_wanted.get(), records))
    try:
        yield records
    finally:
        _wanted.reset(token)


def wanted() -> tuple[list[AgentRecord], ...]:
    """Return the lists that a call made now is to be added to."""
    return _wanted.get()
