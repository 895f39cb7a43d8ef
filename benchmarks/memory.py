"""The memory that warm processes take, in this Python process and in their own. Reads Linux's /proc."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import surroundings
from measuring import Goal, Part, table

_WORKERS: Final = 16
_BOOTED_WITHIN_S: Final = 60.0
_SETTLING_S: Final = 2.0
_PROC: Final = Path("/proc")


def measure() -> Part:
    """Measure this process after one call and without workers, then with the full number of workers.

    It should be a fresh process: freed memory that Python still holds would hide growth.
    """
    if not (_PROC / "self/smaps_rollup").exists():
        return Part(lines=["not measured: there is no /proc/self/smaps_rollup here"], goals=[], data={})
    # Imported here, within the scratch home: litellm and the SDK read the environment on import.
    import contenders

    import litellm_claude_code

    with surroundings.stand_in() as address:
        ours = contenders.claude_code(address)
        os.environ["LITELLM_CLAUDE_CODE_MAX_WORKERS"] = str(_WORKERS)
        try:
            ours.call("Warm up.")
            ours.close()
            others = set(_children())
            before = _weigh("self")
            # From one thread, because the stacks and arenas of more threads would be counted, too.
            contenders.warm_up(address, _WORKERS)
            for _ in range(_WORKERS):
                ours.call("Say one.")
            _await_workers(litellm_claude_code.stats)
            stats = litellm_claude_code.stats()
            after = _weigh("self")
            workers = [_weigh(child) for child in _children() if child not in others]
            ours.close()
            ended = _weigh("self")
        finally:
            ours.close()
            del os.environ["LITELLM_CLAUDE_CODE_MAX_WORKERS"]
    return _part(before, after, ended, workers, stats)


def _await_workers(stats: Any) -> None:
    """Wait until no worker boots, serves a call or is reset, then a little longer."""
    deadline = time.monotonic() + _BOOTED_WITHIN_S
    while time.monotonic() < deadline:
        states = stats()["workers"]
        if not any(states.get(busy) for busy in ("booting", "busy", "resetting")):
            break
        time.sleep(0.1)
    time.sleep(_SETTLING_S)


def _weigh(process: str) -> dict[str, float]:
    """Return the memory of a process, in MB. Anonymous memory is memory that only this process can have requested."""
    gc.collect()
    fields = dict(line.split(":", 1) for line in (_PROC / process / "smaps_rollup").read_text().splitlines()[1:])
    return {name: int(fields[name].split()[0]) * 1024 / 1e6 for name in ("Rss", "Pss", "Anonymous")}


def _children() -> Iterator[str]:
    """Yield the ids of this process's children."""
    for stat in _PROC.glob("[0-9]*/stat"):
        try:
            parent = stat.read_text().rpartition(")")[2].split()[1]
        except OSError:  # the process has just ended
            continue
        if int(parent) == os.getpid():
            yield stat.parent.name


def _part(
    before: dict[str, float],
    after: dict[str, float],
    ended: dict[str, float],
    workers: list[dict[str, float]],
    stats: dict[str, Any],
) -> Part:
    grown = {name: after[name] - before[name] for name in before}
    each = [worker["Pss"] for worker in workers]
    whole = {name: sum(worker[name] for worker in workers) for name in before}
    rows = [
        (what, *(f"{weighed[name]:.1f}" for name in before))
        for what, weighed in (
            ("this Python process, no worker (one call was made)", before),
            (f"this Python process, {len(workers)} workers", after),
            ("its growth", grown),
            ("this Python process, workers closed", ended),
            (f"the {len(workers)} workers together", whole),
        )
    ]
    if len(workers) != _WORKERS:
        raise RuntimeError(f"{len(workers)} processes instead of {_WORKERS}: {stats}")
    return Part(
        lines=[
            table(("memory", "RSS MB", "PSS MB", "anonymous MB"), rows),
            f"a worker's PSS: {min(each):.0f}–{max(each):.0f} MB; {stats['workers']}",
        ],
        goals=[
            Goal(
                name=f"growth with {_WORKERS} workers (the largest)",
                value=max(grown.values()),
                unit=" MB",
                limits=(30,),
            )
        ],
        data={"before": before, "after": after, "ended": ended, "workers": workers, "stats": stats},
    )
