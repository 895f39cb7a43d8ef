"""Timing in interleaved rounds, and tables of the results. Independent of what is measured."""

from __future__ import annotations

import math
import random
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Timed(Protocol):
    """The part of a contender that timing needs."""

    def call(self, user: str) -> str: ...
    def settle(self) -> None: ...


def _is_echo(answer: str, user: str) -> bool:
    return user in answer


def begins_echo(answer: str, user: str) -> bool:
    """Return whether `answer` can be the beginning of the stand-in's echo."""
    return answer != "" and f"You said: {user}".startswith(answer)


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
    is_answer: Callable[[str, str], bool] = _is_echo
    cpu_ms: list[float] = field(default_factory=list)
    """CPU of this Python process per call, one number per round. Child processes are not included."""

    def play(self, rest_s: float) -> None:
        """Make the calls of one round, then wait `rest_s` for the work in the background after the last one.

        Raises `RuntimeError` for a wrong answer.
        """
        cpu = time.process_time()
        for number in range(self.calls_per_round):
            user = f"Say {time.perf_counter_ns()}."
            began = time.perf_counter()
            answer = self.contender.call(user)
            took = 1000 * (time.perf_counter() - began)
            if not self.is_answer(answer, user):
                raise RuntimeError(f"{self.name} answered {answer!r} to {user!r}")
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
    def p90_ms(self) -> float:
        return percentile(self.latencies_ms, 0.9)

    @property
    def median_cpu_ms(self) -> float:
        return statistics.median(self.cpu_ms)


def interleave(
    rows: Sequence[Row], *, rounds: int, rest_s: float, on_round: Callable[[int], None] = lambda _: None
) -> None:
    """Play all rows in each round, in a random order, so that noise affects all rows alike.

    The orders are the same in every run of the benchmark.
    """
    order = list(rows)
    shuffle = random.Random(8).shuffle
    for number in range(1, rounds + 1):
        shuffle(order)
        for row in order:
            row.play(rest_s)
        on_round(number)


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
        return [f"{sign} {limit:g}{self.unit} {'met' if self.keeps(limit) else 'MISSED'}" for limit in self.limits]

    def keeps(self, limit: float) -> bool:
        """Return whether the value is within the limit."""
        return self.value <= limit if self.is_ceiling else self.value >= limit


@dataclass(frozen=True, kw_only=True)
class Part:
    """The results of one part of a benchmark: lines to print, goals, and all data for other programs."""

    lines: list[str]
    goals: list[Goal]
    data: dict[str, Any]


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
