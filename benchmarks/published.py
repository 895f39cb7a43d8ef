"""Published GEPA runs, played again: as many questions at once as then, and answers that take as long, or a tenth.

    python benchmarks/published.py monitor     # 8 threads, 106 s for each contender
    python benchmarks/published.py hover       # 64 threads, 95 s; more with fewer processes
    python benchmarks/published.py aime        # 32 threads, 12 minutes

Nothing is optimized here. What is played is the schedule: the evaluations with their numbers of examples, the
proposals between them, and how long the model took. All contenders get the same questions and wait equally long.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import random
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import psutil
import surroundings
from measuring import Goal, Part, at_once, repeated, run, table
from optimizer import DIRECT, OURS, QUERY, Asked, children_cpu_s
from surroundings import Address

if TYPE_CHECKING:
    from contenders import Question

COMMAND_LINE: Final = "claude -p, a process per call"
_SEED: Final = 17
_SPREAD: Final = 0.5
"""Of the logarithm of an answer's time. Some examples take three times as long as others."""
_WEIGH_EVERY_S: Final = 5.0
"""Not often, because it takes CPU from the contender."""
_WITHIN_S: Final = 3600.0
_WAIT: Final = re.compile(r"\[answer after ([\d.]+) s\]")
_PROMPT: Final = "You solve the task, step by step, and you name the rule that you applied. " * 40
_WORDS: Final = 60
"""The number of words in an answer. Each is a frame of the stream, which costs CPU."""

# Seconds, and how many examples were evaluated in them; 0 stands for a proposal of the reflection model.
# From the outputs of DSPy's notebooks docs/docs/tutorials/gepa_aime (2025-08-12) and gepa_trusted_monitor (2025-10-14).
_AIME: Final = (
    (45, 159), (3, 191), (0, 84), (3, 29), (45, 198), (3, 177), (0, 67), (3, 200), (3, 197), (0, 81), (3, 101),
    (3, 156), (0, 79), (3, 20), (3, 28), (0, 109), (3, 26), (45, 156), (3, 20), (3, 71), (0, 142), (3, 16), (45, 127),
    (3, 98), (0, 81), (3, 49), (45, 150), (3, 149), (0, 69), (3, 36), (45, 316), (3, 69), (0, 137), (3, 36), (45, 135),
    (3, 25), (3, 80), (0, 126), (3, 24), (45, 220), (3, 113), (0, 105), (3, 51), (3, 26), (3, 94), (0, 85), (3, 21),
    (45, 160), (3, 56), (0, 76), (3, 57), (3, 39), (0, 68), (3, 29), (3, 133), (0, 85), (3, 9), (45, 116), (3, 63),
    (3, 47), (0, 95), (3, 52), (3, 43), (0, 144), (3, 14), (150, 1403),
)  # fmt: skip
_MONITOR: Final = (
    (100, 84), (3, 6), (3, 6), (0, 114), (3, 6), (100, 70), (3, 5), (3, 5), (3, 5), (3, 10), (3, 8), (0, 83), (3, 5),
    (3, 9), (3, 6), (3, 5), (0, 79), (3, 6), (100, 74), (3, 6), (3, 6), (3, 10), (3, 6), (3, 10), (3, 6), (0, 64),
    (3, 5), (100, 58), (3, 6), (3, 5), (3, 4), (0, 81), (3, 4), (100, 57), (3, 5), (0, 80), (3, 5), (100, 53),
)  # fmt: skip
# A tenth of the budget of GEPA's blog of 2026-07-30 (3,000 rollouts of eight calls, 64 workers, 8 parents x 2
# mutations, 14 minutes): the seed's validation, one step of 16 proposals, and a part of a validation. The seconds are
# the budget's over the workers, as in the blog's model of the run.
_HOVER: Final = ((150, 42), (48, 13), (-16, 13), (48, 13), (54, 14))


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published run: its threads, the calls that an example takes one after the other, and its evaluations."""

    threads: int
    calls_per_example: int
    stages: tuple[tuple[int, int], ...]
    """The number of examples, 0 for a proposal, or minus the number of proposals that are made at once; seconds."""
    scale: float
    """By how much the answers are shorter than in the published run."""


RUNS: Final[Mapping[str, Published]] = {
    "monitor": Published(threads=8, calls_per_example=2, stages=_MONITOR, scale=10),
    "hover": Published(threads=64, calls_per_example=8, stages=_HOVER, scale=1),
    "aime": Published(threads=32, calls_per_example=1, stages=_AIME, scale=10),
}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What runs at once: for each example or proposal, the seconds of its calls, made one after the other."""

    is_proposal: bool
    waits_s: tuple[tuple[float, ...], ...]


@dataclass(kw_only=True)
class Played:
    """What one contender needed for a run."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    """Of this Python process and of the Claude Code processes, which have ended by then."""
    requests: int = 0
    most_processes: int = 0
    most_pss_mb: float = 0.0
    failed: list[str] = field(default_factory=list)
    """The types of the exceptions."""


def stages(published: Published, shorter: float) -> list[Stage]:
    """Draw how long each answer takes, so that threads that are always served at once need the published time."""
    draw = random.Random(_SEED)
    drawn = []
    for number, took_s in published.stages:
        calls = published.calls_per_example if number > 0 else 1
        waits_s = [[draw.lognormvariate(0, _SPREAD) for _ in range(calls)] for _ in range(abs(number) or 1)]
        factor = took_s / (published.scale * shorter) / ideal_s([sum(each) for each in waits_s], published.threads)
        scaled = tuple(tuple(factor * wait_s for wait_s in each) for each in waits_s)
        drawn.append(Stage(is_proposal=number <= 0, waits_s=scaled))
    return drawn


def ideal_s(tasks_s: Sequence[float], threads: int) -> float:
    """Return how long threads take for tasks that they begin in order, if nothing else costs time."""
    free_at = [0.0] * threads
    for task_s in tasks_s:
        heapq.heappush(free_at, heapq.heappop(free_at) + task_s)
    return max(free_at)


def play(contender: Asked, address: Address, published: Published, plan: Sequence[Stage]) -> Played:
    """Play a run with a contender, from a cold start, and end its processes. A failed call is counted, not repeated."""
    from contenders import ALIAS, OTHER_ALIAS, Question

    with suppress(Exception):
        contender.ask(Question(user="Begin. [answer after 0 s]"))  # imports, and litellm's one-time work
    contender.close()
    played = Played()
    seen = surroundings.requests_seen(address)
    cpu_s, began = time.process_time() + children_cpu_s(), time.perf_counter()
    weigh = partial(_weigh, played, psutil.Process().children(recursive=True))  # the stand-in does not count
    with repeated(weigh, every_s=_WEIGH_EVERY_S):
        candidate = 0
        for number, stage in enumerate(plan):
            candidate += stage.is_proposal
            system, alias = f"Candidate {candidate}. {_PROMPT}", OTHER_ALIAS if stage.is_proposal else ALIAS
            items = [
                [
                    Question(user=f"{number}.{item}.{step} [answer after {wait_s:.3f} s]", system=system, alias=alias)
                    for step, wait_s in enumerate(waits_s)
                ]
                for item, waits_s in enumerate(stage.waits_s)
            ]
            jobs = [partial(_do, contender, played, questions) for questions in items]
            at_once(jobs, threads=published.threads, within_s=_WITHIN_S)
    played.wall_s = time.perf_counter() - began
    played.requests = surroundings.requests_seen(address) - seen
    contender.close()
    played.cpu_s = time.process_time() + children_cpu_s() - cpu_s
    return played


def _do(contender: Asked, played: Played, questions: Sequence[Question]) -> None:
    for question in questions:
        _ask(contender, played, question)


def _ask(contender: Asked, played: Played, question: Question) -> None:
    try:
        answered = contender.ask(question)
    except Exception as error:
        played.failed.append(type(error).__name__)
        return
    if question.user not in answered:
        played.failed.append("another answer")


def _weigh(played: Played, others: Collection[psutil.Process]) -> None:
    """Note how many child processes there are besides `others`, and their memory."""
    children = [child for child in psutil.Process().children(recursive=True) if child not in others]
    pss = 0
    for child in children:
        with suppress(psutil.Error, AttributeError):  # it has ended; only Linux tells the PSS
            pss += child.memory_full_info().pss
    played.most_processes = max(played.most_processes, len(children))
    played.most_pss_mb = max(played.most_pss_mb, pss / 1e6)


def serve() -> None:
    """Run the stand-in until SIGTERM or SIGINT. A question says after how many seconds it is answered."""
    from litellm_claude_code.testing import RecordedRequest, StandIn, answer

    def respond(request: RecordedRequest) -> Any:
        told = [line for line in _texts(request.body["messages"]) if _WAIT.search(line)]
        if not told:
            return "Done."  # a request of the CLI's own
        line = told[-1].splitlines()[-1]
        return answer(line + " word" * _WORDS, delay_s=float(_WAIT.findall(line)[-1]))

    with StandIn(respond=respond, models=["*"], validate=False) as stand_in:
        print(json.dumps({"base_url": stand_in.base_url, "api_key": stand_in.api_key}), flush=True)
        signal.sigwait([signal.SIGTERM, signal.SIGINT])


def _texts(messages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for message in messages:
        content = message["content"]
        for block in [{"text": content}] if isinstance(content, str) else content:
            yield from block.get("text", "").split("\n\n")


def measure(name: str, who: Sequence[str], shorter: float) -> Part:
    """Play a published run with each contender."""
    # Imported here, within the scratch home: litellm and the SDK read the environment on import.
    import contenders

    ways: dict[str, Callable[[Address], Asked]] = {
        OURS: contenders.claude_code,
        DIRECT: contenders.anthropic,
        QUERY: contenders.QueryPerCall,
        COMMAND_LINE: contenders.CommandLine,
    }
    published = RUNS[name]
    plan = stages(published, shorter)
    ideal = sum(ideal_s([sum(each) for each in stage.waits_s], published.threads) for stage in plan)
    calls = sum(len(each) for stage in plan for each in stage.waits_s)
    all_played: dict[str, Played] = {}
    for contender_name in who:
        with surroundings.served([sys.executable, __file__, "--serve"]) as address:
            contender = ways[contender_name](address)
            try:
                all_played[contender_name] = play(contender, address, published, plan)
            finally:
                contender.close()
        print(f"  {name}, {contender_name}: {all_played[contender_name].wall_s:.1f} s", file=sys.stderr)
    lines = [
        (
            who,
            f"{played.wall_s:.1f}",
            f"{played.wall_s / ideal:.2f}x",
            f"{played.cpu_s:.1f}",
            str(played.most_processes),
            f"{played.most_pss_mb:.0f}",
            str(played.requests),
            " ".join(f"{count} {kind}" for kind, count in Counter(played.failed).items()) or "0",
        )
        for who, played in all_played.items()
    ]
    head = (name, "wall s", "of ideal", "CPU s", "processes", "PSS MB", "requests", "failed calls")
    goals = []
    if OURS in all_played and DIRECT in all_played:
        ratio = all_played[OURS].wall_s / all_played[DIRECT].wall_s
        goals.append(Goal(name=f"{name}: {OURS} / {DIRECT}", value=ratio, unit="x", limits=(1.1,)))
    told = f"{calls} calls on {published.threads} threads; {ideal:.1f} s if nothing but the answers took time"
    return Part(
        lines=[told, table(head, lines)],
        goals=goals,
        data={"ideal_s": ideal, "calls": calls, "played": {who: vars(each) for who, each in all_played.items()}},
    )


def _parts(options: argparse.Namespace) -> Iterator[tuple[str, Part]]:
    if options.max_workers:
        os.environ["LITELLM_CLAUDE_CODE_MAX_WORKERS"] = str(options.max_workers)  # within the scratch home
    for name in options.runs or RUNS:
        yield name, measure(name, options.only or (OURS, DIRECT, QUERY, COMMAND_LINE), options.shorter)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Published GEPA runs, played again with several ways to call.")
    parser.add_argument("runs", nargs="*", metavar="RUN", help=f"of {', '.join(RUNS)} (default: all)")
    parser.add_argument("--only", nargs="+", metavar="WAY", help="these contenders, by name (default: all)")
    parser.add_argument("--shorter", type=float, default=1, metavar="N", help="divide all answer times by this, too")
    parser.add_argument("--max-workers", type=int, metavar="N", help="at most N processes of claude_code/'s")
    if sys.argv[1:2] == ["--serve"]:  # the process of the stand-in
        serve()
    else:
        run(parser, _parts)
