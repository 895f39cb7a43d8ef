"""A run like that of a DSPy optimizer: phases with a system prompt each, eight threads, a proposal per phase."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import surroundings
from measuring import THREADS, Goal, Part, at_once, percentile, repeated, table
from surroundings import Address

if TYPE_CHECKING:
    from contenders import Question

_PHASES: Final = 8
_CALLS_PER_PHASE: Final = 24
_EXAMPLES: Final = (0, 1, 3, 4)
"""Examples per call, by phase: 2, 4, 8 and 10 messages including the system prompt and the question."""
_SAMPLE_EVERY_S: Final = 0.05
_PHASE_WITHIN_S: Final = 120.0

OURS: Final = "claude_code/"
OURS_AGAIN: Final = "claude_code/, once more"
OURS_WARM: Final = "claude_code/, warmed up"
FLOOR: Final = "bare workers, warmed up"
QUERY: Final = "query(), a process per call"
DIRECT: Final = "anthropic/"
_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "0.2": (OURS, DIRECT, QUERY, OURS_AGAIN),
    "1": (OURS, DIRECT, OURS_WARM, FLOOR),
}
"""The contenders by the seconds after which the stand-in answers, in the order in which they run."""
_MANY_CORES: Final = 4


class Asked(Protocol):
    """The part of a contender that this benchmark needs."""

    def ask(self, question: Question) -> str: ...
    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A proposal, then items that run in parallel. The calls of an item are sequential, as in a DSPy program."""

    proposal: Question
    items: tuple[tuple[Question, ...], ...]

    @property
    def calls(self) -> int:
        return 1 + sum(len(item) for item in self.items)


def schedule() -> list[Phase]:
    """Return the phases. In every other phase, an item also makes a call with the previous phase's system prompt."""
    from contenders import OTHER_ALIAS, Question

    phases = []
    systems = [f"{number}. " + "You answer questions about the text you are given. " * 20 for number in range(_PHASES)]
    for number, system in enumerate(systems):
        examples = tuple(
            (f"Question {n}: " + "some words " * 20, f"Answer {n}: " + "more words " * 20)
            for n in range(_EXAMPLES[number % len(_EXAMPLES)])
        )
        under = (system,) if number % 2 == 0 else (system, systems[number - 1])
        items = tuple(
            tuple(
                Question(user=f"Phase {number}, item {item}, step {step}.", system=prompt, examples=examples)
                for step, prompt in enumerate(under)
            )
            for item in range(_CALLS_PER_PHASE // len(under))
        )
        proposal = Question(user=f"Propose {number}.", system="You write instructions. " * 20, alias=OTHER_ALIAS)
        phases.append(Phase(proposal=proposal, items=items))
    return phases


@dataclass(kw_only=True)
class Run:
    """The measurements of one contender on the schedule."""

    name: str
    wall_s: float = 0.0
    own_cpu_s: float = 0.0
    children_cpu_s: float = 0.0
    """CPU of the Claude Code processes, known after they have ended."""
    latencies_s: list[float] = field(default_factory=list)
    stats: dict[str, Any] = field(default_factory=dict)
    timeline: list[tuple[float, dict[str, int]]] = field(default_factory=list)
    requests: int = 0


def play(
    name: str,
    contender: Asked,
    address: Address,
    phases: list[Phase],
    *,
    stats: Callable[[], Any],
    prepare: Callable[[], None],
) -> Run:
    """Run the schedule with one contender, and end its processes. Raises if an answer is wrong.

    This is a cold start, except for what `prepare` does before the clock starts.
    """
    contender.ask(phases[0].proposal)  # imports, and litellm's one-time work
    contender.close()
    prepare()
    run = Run(name=name)
    seen = surroundings.requests_seen(address)
    cli_cpu_s, own_cpu_s = children_cpu_s(), time.process_time()
    began = time.perf_counter()

    def sample() -> None:
        run.timeline.append((round(time.perf_counter() - began, 3), stats().get("workers", {})))

    with repeated(sample, every_s=_SAMPLE_EVERY_S):
        for phase in phases:
            run.latencies_s.append(_ask(contender, phase.proposal))
            items = [partial(_do, contender, item) for item in phase.items]
            for took_s in at_once(items, threads=THREADS, within_s=_PHASE_WITHIN_S):
                run.latencies_s += took_s
    run.wall_s = time.perf_counter() - began
    run.own_cpu_s = time.process_time() - own_cpu_s
    run.stats = stats()
    run.requests = surroundings.requests_seen(address) - seen
    contender.close()
    run.children_cpu_s = children_cpu_s() - cli_cpu_s
    return run


def _do(contender: Asked, item: tuple[Question, ...]) -> list[float]:
    return [_ask(contender, question) for question in item]


def _ask(contender: Asked, question: Question) -> float:
    began = time.perf_counter()
    answer = contender.ask(question)
    if question.user not in answer:  # the stand-in echoes the question
        raise RuntimeError(f"{answer!r} is not the answer to {question.user!r}")
    return time.perf_counter() - began


def children_cpu_s() -> float:
    """Return the CPU of all child processes that have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def measure(delays: Sequence[str] = ("0.2", "1")) -> Part:
    """Run the schedule with answers after 0.2 s (our provider before and after `query()`), then after 1 s."""
    # Imported here, within the scratch home: litellm and the SDK read the environment on import.
    import contenders

    import litellm_claude_code

    phases = schedule()
    ways: dict[str, Callable[[Address], Asked]] = {
        OURS: contenders.claude_code,
        DIRECT: contenders.anthropic,
        QUERY: contenders.QueryPerCall,
        OURS_AGAIN: contenders.claude_code,
        OURS_WARM: contenders.claude_code,
        FLOOR: lambda address: contenders.BareWorkers(address, THREADS + 1),
    }
    runs: dict[str, dict[str, Run]] = {}
    for delay_s in delays:
        runs[delay_s] = {}
        with surroundings.stand_in("--delay-s", delay_s) as address:
            for name in _NAMES[delay_s]:
                contender = ways[name](address)
                stats = litellm_claude_code.stats if ways[name] is contenders.claude_code else dict
                prepare: Callable[[], None] = lambda: None  # noqa: E731
                if name == OURS_WARM:
                    prepare = partial(contenders.warm_up, address, THREADS)
                elif isinstance(contender, contenders.BareWorkers):
                    prepare = contender.warm_up
                try:
                    run = play(name, contender, address, phases, stats=stats, prepare=prepare)
                finally:
                    contender.close()
                runs[delay_s][name] = run
                print(f"  optimizer, {delay_s} s, {name}: {run.wall_s:.1f} s", file=sys.stderr)
    return _part(phases, runs)


def _part(phases: list[Phase], runs: dict[str, dict[str, Run]]) -> Part:
    from litellm_claude_code.settings import cores

    calls = sum(phase.calls for phase in phases)
    goals = []
    if quick := runs.get("0.2"):
        faster = 2 * quick[QUERY].wall_s / (quick[OURS].wall_s + quick[OURS_AGAIN].wall_s)
        goals.append(
            Goal(name="optimizer, 0.2 s: query() / claude_code/", value=faster, unit="x", limits=(3,), is_ceiling=False)
        )
    if slow := runs.get("1"):
        limit = 1.13 if cores() < _MANY_CORES else 1.05
        for ours in (OURS, OURS_WARM):
            slower = slow[ours].wall_s / slow[DIRECT].wall_s
            name = f"optimizer, 1 s, {cores()} cores: {ours} / anthropic/"
            goals.append(Goal(name=name, value=slower, unit="x", limits=(limit,)))
    return Part(
        lines=[
            f"{len(phases)} phases, {calls} calls, {THREADS} threads; from a cold start unless warmed up",
            *(_table(f"answers after {delay_s} s", each) for delay_s, each in runs.items()),
            *(
                f"{run.name}: {run.requests} requests for {calls} calls  << NOT ONE EACH"
                for each in runs.values()
                for run in each.values()
                if run.requests != calls
            ),
        ],
        goals=goals,
        data={
            "calls": calls,
            "runs": {delay_s: {name: vars(run) for name, run in each.items()} for delay_s, each in runs.items()},
        },
    )


def _table(title: str, runs: dict[str, Run]) -> str:
    head = (title, "wall s", "own CPU s", "CLI CPU s", "boots", "binds", "waited s", "median s", "p90 s", "max s")
    return table(
        head,
        [
            (
                run.name,
                *(f"{seconds:.1f}" for seconds in (run.wall_s, run.own_cpu_s, run.children_cpu_s)),
                *(str(run.stats.get(name, "–")) for name in ("boots", "binds")),
                f"{run.stats['waited_s']:.1f}" if run.stats else "–",
                *(f"{percentile(run.latencies_s, share):.2f}" for share in (0.5, 0.9, 1.0)),
            )
            for run in runs.values()
        ],
    )
