"""How long one plain call takes: `python benchmarks/overhead.py`.

README.md in this folder says how to read the output.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from typing import Final

import surroundings
from measuring import Goal, Part, Row, interleave, rows_table, run, warmed_up

_PAUSE_S: Final = 0.05
_COUNTED_PER_ROUND: Final = 4

PACED: Final = "claude_code/, 50 ms between calls"
BACK_TO_BACK: Final = "claude_code/, back to back"
QUERY: Final = "claude_agent_sdk.query(), a process per call"
BARE: Final = "bare worker protocol, 50 ms between calls"
ANTHROPIC: Final = "anthropic/, 50 ms between calls"


def measure(calls: int) -> Part:
    """Play rounds of all rows on warm processes. `query()` makes a quarter of `calls`."""
    import contenders  # here, within the scratch home: litellm and the SDK read the environment on import

    rounds, each = max(1, math.ceil(calls / _COUNTED_PER_ROUND)), _COUNTED_PER_ROUND + 1
    with surroundings.stand_in() as address:
        ours, direct = contenders.claude_code(address), contenders.anthropic(address)
        query, bare = contenders.QueryPerCall(address), contenders.BareWorker(address)
        rows = [
            Row(name=PACED, contender=ours, calls_per_round=each, pause_s=_PAUSE_S),
            Row(name=BACK_TO_BACK, contender=ours, calls_per_round=each, pause_s=0.0),
            Row(name=BARE, contender=bare, calls_per_round=each, pause_s=_PAUSE_S),
            Row(name=ANTHROPIC, contender=direct, calls_per_round=each, pause_s=_PAUSE_S),
            Row(name=QUERY, contender=query, calls_per_round=1, lead_in=0, pause_s=_PAUSE_S),
        ]
        try:
            warmed_up(rows, rest_s=_PAUSE_S)
            before = surroundings.requests_seen(address)
            interleave(rows, rounds=rounds, rest_s=_PAUSE_S)
            seen = surroundings.requests_seen(address) - before
        finally:
            for contender in (ours, direct, query, bare):
                contender.close()
    made = rounds * sum(row.calls_per_round for row in rows)
    requests = f"{seen} requests for {made} calls" + ("" if seen == made else "  << NOT ONE EACH")
    return Part(
        lines=[rows_table("one plain call", rows), requests],
        goals=_goals({row.name: row for row in rows}),
        data={"rows": {row.name: row.data() for row in rows}},
    )


def _goals(rows: dict[str, Row]) -> list[Goal]:
    ours_ms = rows[PACED].median_ms
    own_cpu_ms = rows[PACED].median_cpu_ms - rows[ANTHROPIC].median_cpu_ms
    faster = rows[QUERY].median_ms / ours_ms
    return [
        Goal(name="query() / claude_code/", value=faster, unit="x", limits=(8, 12), is_ceiling=False),
        Goal(name="claude_code/ / bare protocol", value=ours_ms / rows[BARE].median_ms, unit="x", limits=(1.4, 1.2)),
        Goal(name="our own Python per call, CPU", value=own_cpu_ms, unit=" ms", limits=(3,)),
    ]


def _parts(options: argparse.Namespace) -> Iterator[tuple[str, Part]]:
    yield "call", measure(options.calls)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Latency and CPU of one plain call, next to other ways of making it.")
    parser.add_argument("--calls", type=int, default=100, metavar="N", help="timed calls a row; query(): N/4")
    run(parser, _parts)
