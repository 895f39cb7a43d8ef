"""The observer of a call: which accounts it is charged to, and which records it is in."""

from __future__ import annotations

from typing import Any

from litellm_claude_code_runs.budget import Budget
from litellm_claude_code_runs.run_file import RunFile, current_run

from ..observer import NOBODY, Observer
from ..settings import Settings
from .observed import ObservedCall, Recorder
from .own_run import MAXIMUMS, begin_own_run
from .run import PoolStats, open_runs


class _FileRecorder:
    """Keeps the records of calls in the file of the run."""

    def __init__(self, run: RunFile, pool_stats: PoolStats) -> None:
        self._run = run
        self._pool_stats = pool_stats

    def note(self, call: ObservedCall) -> None:
        self._run.note(call.id, call.record(run_began_at=0.0), began_at=call.began_at)
        if call.ended_at is not None and (stats := self._pool_stats()):
            self._run.note_pool(boots=stats["boots"], waited_s=stats["waited_s"])


def observed_call(model: str, *, settings: Settings, pool_stats: PoolStats, **more: Any) -> ObservedCall:
    """Return an observer that charges the call to the run that this process belongs to, and records it there.

    It is also recorded in each run that is tracked in this process. `more` are fields of `ObservedCall`.
    """
    run = current_run() or begin_own_run(settings)
    recorders: list[Recorder] = [*open_runs(), *([_FileRecorder(run, pool_stats)] if run is not None else [])]
    return ObservedCall(model=model, run_budget=run_budget(settings), recorders=recorders, **more)


def default_observer(model: str, *, settings: Settings, pool_stats: PoolStats) -> Observer:
    """Return the observer of a call that its caller does not observe."""
    if current_run() is None and begin_own_run(settings) is None and not open_runs():
        return NOBODY
    halts = settings.halt or run_budget(settings) is not None
    return observed_call(model, settings=settings, pool_stats=pool_stats, halts=halts, is_single=True)


def run_budget(settings: Settings) -> Budget | None:
    """Return the budget that the settings give to a run, or None."""
    maximums = {name: getattr(settings, name) for name in MAXIMUMS}
    return Budget("run", **maximums) if any(value is not None for value in maximums.values()) else None
