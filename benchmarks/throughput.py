"""Calls per second with eight in flight, compared with a process per call."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import surroundings
from measuring import Goal, Part, at_once, table

THREADS: Final = 8
_ROUNDS: Final = 4
_WITHIN_S: Final = 120.0
_BOOTING_S: Final = 2.0
_REST_S: Final = 0.2


@dataclass(kw_only=True)
class _Row:
    """One way of calling, and the duration of each round of `calls` calls."""

    name: str
    ask: Callable[[str], str]
    calls: int
    walls_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def play(self) -> None:
        began, cpu = time.perf_counter(), time.process_time()
        users = [f"Say {began}, {number}." for number in range(self.calls)]
        answers = at_once([partial(self.ask, user) for user in users], threads=THREADS, within_s=_WITHIN_S)
        self.walls_s.append(time.perf_counter() - began)
        self.cpu_s.append(time.process_time() - cpu)
        if sorted(answers) != sorted(f"You said: {user}" for user in users):
            raise RuntimeError(f"{self.name}: the answers are not those to the questions")

    @property
    def per_s(self) -> float:
        return self.calls * len(self.walls_s) / sum(self.walls_s)

    @property
    def own_cpu_ms(self) -> float:
        return 1000 * sum(self.cpu_s) / (self.calls * len(self.cpu_s))

    @property
    def rates(self) -> list[float]:
        return sorted(self.calls / wall_s for wall_s in self.walls_s)


def measure() -> Part:
    """Run rounds of all contenders. Those that keep processes use warm ones."""
    # Imported here, within the scratch home: litellm and the SDK read the environment on import.
    import contenders

    import litellm_claude_code

    with surroundings.stand_in() as address:
        ours, query, direct = (
            contenders.claude_code(address),
            contenders.QueryPerCall(address),
            contenders.anthropic(address),
        )
        rows = [
            _Row(name="claude_code/", ask=ours.call, calls=10 * THREADS),
            _Row(name="claude_agent_sdk.query(), a process per call", ask=query.call, calls=2 * THREADS),
            _Row(name="anthropic/", ask=direct.call, calls=10 * THREADS),
        ]
        try:
            for row in rows:
                at_once([partial(row.ask, "Warm up.")] * THREADS, threads=THREADS, within_s=_WITHIN_S)
            time.sleep(_BOOTING_S)
            for _ in range(_ROUNDS):
                for row in rows:
                    row.play()
                    time.sleep(_REST_S)
            workers = litellm_claude_code.stats().get("workers", {})
        finally:
            for contender in (ours, query, direct):
                contender.close()
    return _part(rows, workers)


def _part(rows: list[_Row], workers: dict[str, int]) -> Part:
    lines = [
        (
            row.name,
            str(row.calls * len(row.walls_s)),
            f"{row.per_s:.1f}",
            f"{row.rates[0]:.1f}–{row.rates[-1]:.1f}",
            f"{row.own_cpu_ms:.1f}",
        )
        for row in rows
    ]
    return Part(
        lines=[
            table(
                (f"{THREADS} threads, answers at once", "calls", "calls/s", "of a round", "own CPU ms a call"), lines
            ),
            f"workers at the end: {workers}",
        ],
        goals=[
            Goal(
                name="throughput, claude_code/ / query()",
                value=rows[0].per_s / rows[1].per_s,
                unit="x",
                limits=(8,),
                is_ceiling=False,
            )
        ],
        data={
            "rows": {row.name: {"calls": row.calls, "walls_s": row.walls_s, "own_cpu_s": row.cpu_s} for row in rows},
            "workers": workers,
        },
    )
