"""The memory that warm processes take, in this Python process and in their own. PSS is known on Linux only."""

from __future__ import annotations

import gc
import os
import statistics
import time
from functools import partial
from typing import Any, Final

import psutil
import surroundings
from measuring import Goal, Part, at_once, table

_WORKERS: Final = 16
_HOT_CALLS_EACH: Final = 30
_HOT_WITHIN_S: Final = 120.0
_BOOTED_WITHIN_S: Final = 60.0
_SETTLING_S: Final = 2.0
_KINDS: Final = ("rss", "pss", "uss")


def measure() -> Part:
    """Measure this process after one call and without workers, then with the full number of workers.

    It should be a fresh process: freed memory that Python still holds would hide growth.
    """
    if not psutil.LINUX:
        return Part(lines=["memory is not measured: only Linux tells the PSS of a process"], goals=[], data={})
    # Imported here, within the scratch home: litellm and the SDK read the environment on import.
    import contenders

    import litellm_claude_code

    this = psutil.Process()
    with surroundings.stand_in() as address:
        ours = contenders.claude_code(address)
        os.environ["LITELLM_CLAUDE_CODE_MAX_WORKERS"] = str(_WORKERS)
        try:
            ours.call("Warm up.")
            ours.close()
            others = set(this.children())
            weighed = {"no worker (one call was made)": _weigh(this)}
            # From one thread, because the stacks and arenas of more threads would be counted, too.
            contenders.warm_up(address, _WORKERS)
            for _ in range(_WORKERS):
                ours.call("Say one.")
            _await_workers(litellm_claude_code.stats)
            states = litellm_claude_code.stats()["workers"]
            weighed[f"{_WORKERS} workers"] = _weigh(this)
            workers = [_weigh(child) for child in this.children() if child not in others]
            at_once(
                [partial(ours.call, "Say one.")] * _WORKERS * _HOT_CALLS_EACH, threads=_WORKERS, within_s=_HOT_WITHIN_S
            )
            _await_workers(litellm_claude_code.stats)
            hot = [_weigh(child) for child in this.children() if child not in others]
        finally:
            ours.close()
            del os.environ["LITELLM_CLAUDE_CODE_MAX_WORKERS"]
        weighed["workers closed"] = _weigh(this)
    if len(workers) != _WORKERS or len(hot) != _WORKERS:
        raise RuntimeError(f"{len(workers)}, then {len(hot)} processes instead of {_WORKERS}: {states}")
    return _part(weighed, workers, hot, states)


def _await_workers(stats: Any) -> None:
    """Wait until no worker boots, serves a call or is reset, then a little longer."""
    deadline = time.monotonic() + _BOOTED_WITHIN_S
    while time.monotonic() < deadline and not {"booting", "busy", "resetting"}.isdisjoint(stats()["workers"]):
        time.sleep(0.1)
    time.sleep(_SETTLING_S)


def _weigh(process: psutil.Process) -> dict[str, float]:
    """Return the memory of a process, in MB. USS is what only this process has."""
    gc.collect()
    memory = process.memory_full_info()
    return {kind: getattr(memory, kind) / 1e6 for kind in _KINDS}


def _part(
    weighed: dict[str, dict[str, float]],
    workers: list[dict[str, float]],
    hot: list[dict[str, float]],
    states: dict[str, int],
) -> Part:
    before, after, _ = weighed.values()
    grown = {kind: after[kind] - before[kind] for kind in _KINDS}
    rows = {f"this Python process, {when}": each for when, each in weighed.items()}
    rows["its growth"] = grown
    rows[f"the {_WORKERS} workers together"] = {kind: sum(worker[kind] for worker in workers) for kind in _KINDS}
    rows[f"the {_WORKERS} workers after {_HOT_CALLS_EACH} calls each"] = {
        kind: sum(worker[kind] for worker in hot) for kind in _KINDS
    }
    each, each_hot = [worker["pss"] for worker in workers], [worker["pss"] for worker in hot]
    growth = f"growth with {_WORKERS} workers (the largest)"
    return Part(
        lines=[
            table(
                ("memory", "RSS MB", "PSS MB", "USS MB"),
                [(what, *(f"{row[kind]:.1f}" for kind in _KINDS)) for what, row in rows.items()],
            ),
            f"a worker's PSS: {min(each):.0f}–{max(each):.0f} MB; {states}",
            f"hot: {min(each_hot):.0f}–{max(each_hot):.0f} MB",
        ],
        goals=[
            Goal(name=growth, value=max(grown.values()), unit=" MB", limits=(30,)),
            Goal(name="a hot worker (PSS, mean)", value=statistics.mean(each_hot), unit=" MB", limits=(125,)),
        ],
        data={"this process": weighed, "workers": workers, "hot": hot, "states": states},
    )
