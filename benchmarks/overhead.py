"""The overhead of a plain call, compared with other ways to make it: `python benchmarks/overhead.py`.

README.md in this folder says how to read the output.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import surroundings
from measuring import Goal, Row, interleave, table
from surroundings import Address

_PAUSE_S: Final = 0.05
_COUNTED_PER_ROUND: Final = 4
_WARM_UP_ROUNDS: Final = 3
_BOOTING_S: Final = 2.0
"""Time to boot the spare processes that the warm-up has started."""

PACED: Final = "claude_code/, 50 ms between calls"
BACK_TO_BACK: Final = "claude_code/, back to back"
QUERY: Final = "claude_agent_sdk.query(), a process per call"
BARE: Final = "bare worker protocol, 50 ms between calls"
ANTHROPIC: Final = "anthropic/, 50 ms between calls"


@contextmanager
def contending(address: Address) -> Iterator[list[Row]]:
    """Yield the rows of the table, and end all their processes afterwards."""
    import contenders  # here, within the scratch home: litellm and the SDK read the environment on import

    ours = contenders.claude_code(address)
    query, bare, direct = (
        contenders.QueryPerCall(address),
        contenders.BareWorker(address),
        contenders.anthropic(address),
    )
    each = _COUNTED_PER_ROUND + 1
    try:
        yield [
            Row(name=PACED, contender=ours, calls_per_round=each, pause_s=_PAUSE_S),
            Row(name=BACK_TO_BACK, contender=ours, calls_per_round=each, pause_s=0.0),
            Row(name=BARE, contender=bare, calls_per_round=each, pause_s=_PAUSE_S),
            Row(name=ANTHROPIC, contender=direct, calls_per_round=each, pause_s=_PAUSE_S),
            Row(name=QUERY, contender=query, calls_per_round=1, lead_in=0, pause_s=_PAUSE_S),
        ]
    finally:
        for contender in (ours, query, bare, direct):
            contender.close()


def goals(rows: dict[str, Row]) -> list[Goal]:
    """Compare the medians with this project's goals."""
    ours, bare, query = rows[PACED], rows[BARE], rows[QUERY]
    own_cpu_ms = ours.median_cpu_ms - rows[ANTHROPIC].median_cpu_ms
    return [
        Goal(
            name="query() / claude_code/",
            value=query.median_ms / ours.median_ms,
            unit="x",
            limits=(8, 12),
            is_ceiling=False,
        ),
        Goal(name="claude_code/ / bare protocol", value=ours.median_ms / bare.median_ms, unit="x", limits=(1.4, 1.2)),
        Goal(name="our own Python per call, CPU", value=own_cpu_ms, unit=" ms", limits=(3,)),
    ]


def measure(calls: int) -> tuple[dict[str, str], dict[str, Row], str]:
    """Return the machine, the measured rows by name, and whether each call was one request."""
    rounds = max(1, math.ceil(calls / _COUNTED_PER_ROUND))
    with surroundings.scratch_home(), surroundings.stand_in() as address, contending(address) as rows:
        machine = surroundings.machine()
        print("\n".join(f"{name + ':':<18} {value}" for name, value in machine.items()), flush=True)
        interleave(rows, rounds=_WARM_UP_ROUNDS, rest_s=_PAUSE_S)
        time.sleep(_BOOTING_S)
        for row in rows:
            row.forget()
        before = surroundings.requests_seen(address)
        interleave(rows, rounds=rounds, rest_s=_PAUSE_S)
        seen = surroundings.requests_seen(address) - before
        made = rounds * sum(row.calls_per_round for row in rows)
    requests = f"{seen} requests for {made} calls" + ("" if seen == made else "  << NOT ONE EACH")
    return machine, {row.name: row for row in rows}, requests


def report(rows: dict[str, Row], requests: str) -> str:
    """Return the report: tables of what was measured, and whether the goals are met."""
    lines = [
        (
            row.name,
            str(len(row.latencies_ms)),
            f"{row.median_ms:.1f}",
            f"{row.p90_ms:.1f}",
            f"{row.median_cpu_ms:.1f}",
        )
        for row in rows.values()
    ]
    held = [(goal.name, f"{goal.value:.2f}{goal.unit}", "; ".join(goal.verdicts())) for goal in goals(rows)]
    return "\n\n".join(
        [
            table(("one plain call", "calls", "median ms", "p90 ms", "own CPU ms"), lines),
            table(("ratio of medians", "measured", "goal now; later"), held),
            requests,
        ]
    )


def as_json(machine: dict[str, str], rows: dict[str, Row]) -> dict[str, Any]:
    """Return all measurements, for other programs."""
    return {
        "machine": machine,
        "rows": {
            row.name: {
                "median_ms": row.median_ms,
                "p90_ms": row.p90_ms,
                "own_cpu_ms": row.median_cpu_ms,
                "latencies_ms": row.latencies_ms,
                "lead_in_ms": row.lead_in_ms,
                "own_cpu_ms_by_round": row.cpu_ms,
            }
            for row in rows.values()
        },
        "goals": {
            goal.name: {"value": goal.value, "met": {f"{limit:g}": goal.keeps(limit) for limit in goal.limits}}
            for goal in goals(rows)
        },
    }


def main() -> None:
    """Measure and print the report."""
    parser = argparse.ArgumentParser(description="Latency and CPU of one plain call, next to other ways of making it.")
    parser.add_argument("--calls", type=int, default=100, metavar="N", help="timed calls a row; query(): N/4")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured to this file")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # so that everything is cleaned up
    began = time.monotonic()
    machine, rows, requests = measure(options.calls)
    print(f"\n{report(rows, requests)}; {time.monotonic() - began:.0f} s")
    if options.json is not None:
        options.json.write_text(json.dumps(as_json(machine, rows), indent=1) + "\n")


if __name__ == "__main__":
    main()
