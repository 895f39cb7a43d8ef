"""Parallel calls, streams, an optimizer's run, and memory: `python benchmarks/load.py [PART]`.

README.md in this folder says what the parts are and how to read the output.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import first_chunk
import memory
import optimizer
import surroundings
import throughput
from measuring import Part, table

# Memory comes first, because it must be measured in a fresh process.
PARTS: Final[Mapping[str, Callable[[], Part]]] = {
    "memory": memory.measure,
    "first_chunk": first_chunk.measure,
    "throughput": throughput.measure,
    "optimizer": optimizer.measure,
}


def main() -> None:
    """Measure and print the report."""
    parser = argparse.ArgumentParser(description="Throughput, first chunks, an optimizer-shaped run, and memory.")
    parser.add_argument("part", nargs="?", choices=[*PARTS, "all"], default="all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured to this file")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # so that everything is cleaned up
    began = time.monotonic()
    measured: dict[str, Part] = {}
    with surroundings.scratch_home():
        machine = surroundings.machine()
        print("\n".join(f"{name + ':':<18} {value}" for name, value in machine.items()), flush=True)
        for name in PARTS if options.part == "all" else [options.part]:
            measured[name] = PARTS[name]()
            print("", *measured[name].lines, sep="\n", flush=True)
    goals = [goal for part in measured.values() for goal in part.goals]
    if goals:
        held = [(goal.name, f"{goal.value:.2f}{goal.unit}", "; ".join(goal.verdicts())) for goal in goals]
        print(f"\n{table(('goal', 'measured', 'limit'), held)}")
    print(f"\n{time.monotonic() - began:.0f} s")
    if options.json is not None:
        whole = {
            "machine": machine,
            "parts": {name: part.data for name, part in measured.items()},
            "goals": {goal.name: {"value": goal.value, "verdicts": goal.verdicts()} for goal in goals},
        }
        options.json.write_text(json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    main()
