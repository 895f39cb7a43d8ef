"""Timing in interleaved rounds and in threads, and the report. Independent of what is measured."""

from __future__ import annotations

import argparse
import json
import math
import random
import signal
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import surroundings

T = TypeVar("T")

THREADS: Final = 8
_WITHIN_S: Final = 120.0
_WARM_UP_ROUNDS: Final = 3
_BOOTING_S: Final = 2.0
"""Time to boot the spare processes that the warm-up has started."""


class Timed(Protocol):
    """A contender: one way to ask. Its first call starts the processes that it needs."""

    def call(self, user: str) -> str:
        """Ask with a short system prompt and this message. Return the text as soon as a caller could use it."""

    def settle(self) -> None:
        """Prepare for the next call in the caller's thread. Does not wait for work in the background."""


def timed_ms(call: Callable[[str], str]) -> float:
    """Make one call, and return how many milliseconds it took. Raises `RuntimeError` for a wrong answer."""
    user, began = f"Say {time.perf_counter_ns()}.", time.perf_counter()
    answer = call(user)
    took_ms = 1000 * (time.perf_counter() - began)
    if user not in answer:  # the stand-in echoes the message
        raise RuntimeError(f"{answer!r} is not the answer to {user!r}")
    return took_ms


@contextmanager
def repeated(look: Callable[[], None], *, every_s: float) -> Iterator[None]:
    """Call `look` in a thread, at once and then every `every_s` seconds, until the block ends."""
    is_over = threading.Event()

    def work() -> None:
        while not is_over.is_set():
            look()
            is_over.wait(every_s)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@dataclass(kw_only=True)
class Row:
    """One way of calling one contender, and its measurements.

    In each round it makes `calls_per_round` calls with `pause_s` after each. Latency excludes the first `lead_in` calls
    of a round, because the machine's caches are then full of another contender's data. CPU includes all calls.
    """

    name: str
    contender: Timed
    calls_per_round: int
    lead_in: int = 1
    pause_s: float
    latencies_ms: list[float] = field(default_factory=list)
    lead_in_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    """CPU of this Python process per call, one number per round. Child processes are not included."""

    def play(self, rest_s: float) -> None:
        """Make the calls of one round, then wait `rest_s` for the work in the background after the last one.

        Raises `RuntimeError` for a wrong answer.
        """
        cpu = time.process_time()
        for number in range(self.calls_per_round):
            took = timed_ms(self.contender.call)
            (self.lead_in_ms if number < self.lead_in else self.latencies_ms).append(took)
            self.contender.settle()
            time.sleep(self.pause_s)
        time.sleep(max(0.0, rest_s - self.pause_s))
        self.cpu_ms.append(1000 * (time.process_time() - cpu) / self.calls_per_round)

    def forget(self) -> None:
        """Drop the measurements of the warm-up."""
        for measured in (self.latencies_ms, self.lead_in_ms, self.cpu_ms):
            measured.clear()

    @property
    def median_ms(self) -> float:
        return statistics.median(self.latencies_ms)

    @property
    def median_cpu_ms(self) -> float:
        return statistics.median(self.cpu_ms)

    def data(self) -> dict[str, Any]:
        """Return the measurements, for other programs."""
        return {"latencies_ms": self.latencies_ms, "lead_in_ms": self.lead_in_ms, "own_cpu_ms_by_round": self.cpu_ms}


def warmed_up(rows: Sequence[Row], *, rest_s: float) -> None:
    """Play a few rounds, wait for the processes that they have started, and forget the measurements."""
    interleave(rows, rounds=_WARM_UP_ROUNDS, rest_s=rest_s)
    time.sleep(_BOOTING_S)
    for row in rows:
        row.forget()


def interleave(rows: Sequence[Row], *, rounds: int, rest_s: float) -> None:
    """Play all rows in each round, in a random order, so that noise affects all rows alike.

    The orders are the same in every run of the benchmark.
    """
    order = list(rows)
    shuffle = random.Random(8).shuffle

    def play() -> None:
        for _ in range(rounds):
            shuffle(order)
            for row in order:
                row.play(rest_s)

    at_once([play], threads=1, within_s=_WITHIN_S * max(1, rounds / 10))  # a stream that hangs has a deadline, too


def rows_table(title: str, rows: Iterable[Row]) -> str:
    """Return a table of latencies, and of the CPU of this Python process."""
    return table(
        (title, "calls", "median ms", "p90 ms", "own CPU ms"),
        [
            (
                row.name,
                str(len(row.latencies_ms)),
                f"{row.median_ms:.1f}",
                f"{percentile(row.latencies_ms, 0.9):.1f}",
                f"{row.median_cpu_ms:.1f}",
            )
            for row in rows
        ],
    )


@dataclass(kw_only=True)
class Batch:
    """One way of calling from `THREADS` threads, and the duration of each round of `calls` calls."""

    name: str
    ask: Callable[[str], str]
    calls: int
    walls_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def warm_up(self) -> None:
        """Start the processes that the calls need."""
        at_once([partial(self.ask, "Warm up.")] * THREADS, threads=THREADS, within_s=_WITHIN_S)

    def play(self) -> None:
        """Make the calls of one round. Raises `RuntimeError` for a wrong answer."""
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


def at_once(jobs: Iterable[Callable[[], T]], *, threads: int, within_s: float) -> list[T]:
    """Run the jobs in threads, which take them in order; return their results in the order in which they end.

    Raises the first error of a job, or `TimeoutError` if the jobs are not done in time. A thread that hangs keeps
    running until this Python process ends.
    """
    todo = deque(jobs)
    done: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        while not errors:
            try:
                job = todo.popleft()
            except IndexError:
                return
            try:
                done.append(job())
            except BaseException as error:
                errors.append(error)

    crew = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
    deadline = time.monotonic() + within_s
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join(max(0.0, deadline - time.monotonic()))
    if errors:
        raise errors[0]
    if any(thread.is_alive() for thread in crew):
        raise TimeoutError(f"not done within {within_s:g} s")
    return done


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of the values do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A number and its limits: the one of today, and perhaps a stricter one for later."""

    name: str
    value: float
    unit: str
    limits: tuple[float, ...]
    is_ceiling: bool = True

    def verdicts(self) -> list[str]:
        """Return, for each limit, whether it is met."""
        sign = "≤" if self.is_ceiling else "≥"
        return [
            f"{sign} {limit:g}{self.unit} {'met' if (self.value <= limit) is self.is_ceiling else 'MISSED'}"
            for limit in self.limits
        ]


@dataclass(frozen=True, kw_only=True)
class Part:
    """The results of one part of a benchmark: lines to print, goals, and all data for other programs."""

    lines: list[str]
    goals: list[Goal]
    data: dict[str, Any]


def run(parser: argparse.ArgumentParser, measure: Callable[[argparse.Namespace], Iterable[tuple[str, Part]]]) -> None:
    """Measure in a scratch home; print the machine, each part and the goals; write everything to `--json`'s file."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured to this file")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # so that everything is cleaned up
    began = time.monotonic()
    parts: dict[str, Part] = {}
    with surroundings.scratch_home():
        machine = surroundings.machine()
        print("\n".join(f"{name + ':':<18} {value}" for name, value in machine.items()), flush=True)
        for name, part in measure(options):
            parts[name] = part
            print("", *part.lines, sep="\n", flush=True)
    goals = [goal for part in parts.values() for goal in part.goals]
    if goals:
        held = [(goal.name, f"{goal.value:.2f}{goal.unit}", "; ".join(goal.verdicts())) for goal in goals]
        print(f"\n{table(('goal', 'measured', 'limit'), held)}")
    print(f"\n{time.monotonic() - began:.0f} s")
    if options.json is not None:
        whole = {
            "machine": machine,
            "parts": {name: part.data for name, part in parts.items()},
            "goals": {goal.name: {"value": goal.value, "verdicts": goal.verdicts()} for goal in goals},
        }
        options.json.write_text(json.dumps(whole, indent=1) + "\n")


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a plain-text table with the first column aligned left and the others aligned right."""
    cells = [list(head), *(list(line) for line in lines)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    )
