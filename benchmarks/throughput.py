"""Calls per second with eight in flight, compared with a process per call: hot, and from a cold start."""

from __future__ import annotations

import time
from typing import Final

import surroundings
from measuring import THREADS, Batch, Goal, Part, table

_ROUNDS: Final = 4
_COLD_CALLS: Final = 100
OURS: Final = "claude_code/"
QUERY: Final = "claude_agent_sdk.query(), a process per call"
COLD: Final = f"claude_code/, {_COLD_CALLS} calls from a cold start"
QUERY_AGAIN: Final = "query(), next to these"
_BOOTING_S: Final = 2.0
_REST_S: Final = 0.2


def measure() -> Part:
    """Run rounds of all contenders on warm processes. Then run rounds in which ours starts without a process."""
    # Imported here, within the scratch home: litellm and the SDK read the environment on import.
    import contenders

    import litellm_claude_code

    with surroundings.stand_in() as address:
        ours, direct = contenders.claude_code(address), contenders.anthropic(address)
        query = contenders.QueryPerCall(address)
        batches = [
            Batch(name=OURS, ask=ours.call, calls=10 * THREADS),
            Batch(name=QUERY, ask=query.call, calls=2 * THREADS),
            Batch(name="anthropic/", ask=direct.call, calls=10 * THREADS),
        ]
        cold = [
            Batch(name=COLD, ask=ours.call, calls=_COLD_CALLS),
            Batch(name=QUERY_AGAIN, ask=query.call, calls=2 * THREADS),
        ]
        boots = []
        try:
            for batch in batches:
                batch.warm_up()
            time.sleep(_BOOTING_S)
            for _ in range(_ROUNDS):
                for batch in batches:
                    batch.play()
                    time.sleep(_REST_S)
            workers = litellm_claude_code.stats().get("workers", {})
            for _ in range(_ROUNDS):
                ours.close()
                for batch in cold:
                    time.sleep(_REST_S)
                    batch.play()
                boots.append(litellm_claude_code.stats().get("boots", 0))
        finally:
            ours.close()
    return _part([*batches, *cold], workers, boots)


def _part(batches: list[Batch], workers: dict[str, int], boots: list[int]) -> Part:
    lines = []
    for batch in batches:
        rates = sorted(batch.calls / wall_s for wall_s in batch.walls_s)
        calls = batch.calls * len(rates)
        own_cpu_ms = 1000 * sum(batch.cpu_s) / calls
        spread = f"{rates[0]:.1f}–{rates[-1]:.1f}"
        lines.append((batch.name, str(calls), f"{batch.per_s:.1f}", spread, f"{own_cpu_ms:.1f}"))
    head = (f"{THREADS} threads, answers at once", "calls", "calls/s", "of a round", "own CPU ms a call")
    per_s = {batch.name: batch.per_s for batch in batches}
    faster, cold_faster = per_s[OURS] / per_s[QUERY], per_s[COLD] / per_s[QUERY_AGAIN]
    return Part(
        lines=[table(head, lines), f"workers at the end, hot: {workers}; boots from a cold start: {boots}"],
        goals=[
            Goal(name="throughput, claude_code/ / query()", value=faster, unit="x", limits=(8,), is_ceiling=False),
            Goal(name="the same from a cold start", value=cold_faster, unit="x", limits=(9,), is_ceiling=False),
        ],
        data={
            "rows": {batch.name: {"calls": batch.calls, "walls_s": batch.walls_s, "own_cpu_s": batch.cpu_s}
                     for batch in batches},
            "workers": workers,
            "boots": boots,
        },
    )  # fmt: skip
