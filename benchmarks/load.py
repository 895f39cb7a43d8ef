"""Parallel calls, an optimizer's run, and memory: `python benchmarks/load.py [PART] [--answer-after S]`.

README.md in this folder says what the parts are and how to read the output.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final

import memory
import optimizer
import throughput
from measuring import Part, run

# Memory comes first, because it must be measured in a fresh process.
PARTS: Final[Mapping[str, Callable[[], Part]]] = {
    "memory": memory.measure,
    "throughput": throughput.measure,
    "optimizer": optimizer.measure,
}


def _parts(options: argparse.Namespace) -> Iterator[tuple[str, Part]]:
    for name in PARTS if options.part == "all" else [options.part]:
        measure = PARTS[name]
        if name == "optimizer" and options.answer_after:
            measure = partial(optimizer.measure, [options.answer_after])
        yield name, measure()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Throughput, an optimizer-shaped run, and memory.")
    parser.add_argument("part", nargs="?", choices=[*PARTS, "all"], default="all")
    parser.add_argument("--answer-after", choices=("0.2", "1"), metavar="S", help="the optimizer's run with 0.2 or 1")
    run(parser, _parts)
