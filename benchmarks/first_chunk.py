"""Time to the first text of a stream, compared with the bare worker protocol."""

from __future__ import annotations

import time
from functools import partial
from typing import Final

import surroundings
from measuring import Goal, Part, Row, at_once, begins_echo, interleave, table

_PAUSE_S: Final = 0.05
_WARM_UP_ROUNDS: Final = 3
_BOOTING_S: Final = 2.0
_ROUNDS: Final = 15
_CALLS_PER_ROUND: Final = 5
_WITHIN_S: Final = 120.0


def measure() -> Part:
    """Run interleaved rounds on warm processes, with a pause between calls.

    `anthropic/` is left out: litellm 1.106.2 leaves the responses of its streams to the garbage collector. It once
    closed one while httpcore's pool held its own lock, which caused a deadlock.
    """
    import contenders  # here, within the scratch home: litellm and the SDK read the environment on import

    with surroundings.stand_in() as address:
        streams: dict[str, contenders.FirstChunk | contenders.BareFirstChunk] = {
            "claude_code/": contenders.FirstChunk(contenders.claude_code(address)),
            "bare worker protocol": contenders.BareFirstChunk(address),
        }
        rows = [
            Row(name=name, contender=stream, calls_per_round=_CALLS_PER_ROUND, pause_s=_PAUSE_S, is_answer=begins_echo)
            for name, stream in streams.items()
        ]
        try:
            _play(rows, rounds=_WARM_UP_ROUNDS)
            time.sleep(_BOOTING_S)
            for row in rows:
                row.forget()
            _play(rows, rounds=_ROUNDS)
        finally:
            for stream in streams.values():
                stream.close()
    return _part(rows)


def _play(rows: list[Row], *, rounds: int) -> None:
    # In a thread, so that a stream that hangs also has a deadline.
    at_once([partial(interleave, rows, rounds=rounds, rest_s=_PAUSE_S)], threads=1, within_s=_WITHIN_S)


def _part(rows: list[Row]) -> Part:
    ours, bare = rows
    lines = [
        (row.name, str(len(row.latencies_ms)), f"{row.median_ms:.1f}", f"{row.p90_ms:.1f}", f"{row.median_cpu_ms:.1f}")
        for row in rows
    ]
    head = (f"first text of a stream, {1000 * _PAUSE_S:.0f} ms between calls", "calls", "median ms", "p90 ms")
    return Part(
        lines=[table((*head, "own CPU ms a stream"), lines)],
        goals=[
            Goal(
                name="first chunk, claude_code/ / bare protocol",
                value=ours.median_ms / bare.median_ms,
                unit="x",
                limits=(1.3,),
            )
        ],
        data={
            "rows": {
                row.name: {
                    "median_ms": row.median_ms,
                    "p90_ms": row.p90_ms,
                    "latencies_ms": row.latencies_ms,
                    "own_cpu_ms_by_round": row.cpu_ms,
                }
                for row in rows
            }
        },
    )
