"""How long the first calls take: `python benchmarks/first.py [PART]`.

README.md in this folder says how to read the output.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import surroundings
from measuring import Goal, Part, percentile, table, timed_ms
from measuring import run as run_parts
from optimizer import children_cpu_s
from surroundings import Address

_PROMPT: Final = "Say one."
_WITHIN_S: Final = 60.0
_EARLY: Final = 30
_HOT_AFTER: Final = 150
_HOT: Final = 30
_QUERIES: Final = 2
_REST_S: Final = 0.5

IMPORTS: Final = "import litellm"
ASK: Final = "litellm-claude-code ask"
OURS: Final = "claude_code/, a fresh Python process"
PRINTS: Final = "claude -p, the same lean options"

FIRST: Final = "claude_code/, call 1 of a new pool"
EARLY: Final = f"claude_code/, calls 2 to {_EARLY}"
HOT: Final = f"claude_code/, calls {_HOT_AFTER + 1} to {_HOT_AFTER + _HOT}"
QUERY: Final = "query(), a process per call"

# Prints the seconds that the imports take, and those of the first call.
_FRESH: Final = """
import json, sys, time
began = time.perf_counter()
import litellm, litellm_claude_code
imported = time.perf_counter()
url, key, prompt = sys.argv[1:]
messages = [{"role": "user", "content": prompt}]
response = litellm.completion(model="claude_code/sonnet", messages=messages, api_base=url, api_key=key)
assert prompt in response.choices[0].message.content
print(json.dumps([imported - began, time.perf_counter() - imported]))
"""


@dataclass(kw_only=True)
class Command:
    """A program that is started anew for each measurement."""

    name: str
    command: list[str]
    env: Mapping[str, str] = field(repr=False)
    cwd: Path | None = None
    seconds_of: Callable[[str, float], float] = lambda _, wall_s: wall_s
    """Returns the seconds to report, from what the program printed and the seconds that it ran."""
    seconds: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    """CPU of the program and of the processes that it has started."""

    def play(self) -> None:
        """Run the program once. Raises an exception if it fails."""
        cpu_s, began = children_cpu_s(), time.perf_counter()
        ran = subprocess.run(
            self.command,
            env=self.env,
            cwd=self.cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_WITHIN_S,
            check=False,
        )
        wall_s = time.perf_counter() - began
        if ran.returncode != 0:
            raise RuntimeError(f"{self.name} failed: {ran.stderr[-1000:]}{ran.stdout[-1000:]}")
        self.seconds.append(self.seconds_of(ran.stdout, wall_s))
        self.cpu_s.append(children_cpu_s() - cpu_s)


def measure_first(rounds: int) -> Part:
    """Start all programs in each round. The self-check has passed before, and the disk is warm."""
    with surroundings.stand_in() as address, tempfile.TemporaryDirectory(dir=os.environ["TMPDIR"]) as empty:
        commands = _commands(address, Path(empty))
        for command in commands:
            command.play()  # the self-check, and the first reading of the files
            command.seconds.clear()
            command.cpu_s.clear()
        for _ in range(rounds):
            for command in commands:
                command.play()
                time.sleep(_REST_S)
    by_name = {command.name: command for command in commands}
    beyond_s = _median_difference(by_name[ASK], by_name[IMPORTS])
    first_s = statistics.median(by_name[OURS].seconds)
    return Part(
        lines=[
            table(
                ("the first call", "starts", "median s", "max s", "CPU s"),
                [
                    (
                        command.name,
                        str(len(command.seconds)),
                        f"{statistics.median(command.seconds):.2f}",
                        f"{max(command.seconds):.2f}",
                        f"{statistics.median(command.cpu_s):.2f}",
                    )
                    for command in commands
                ],
            ),
            f"The seconds of '{OURS}' are those of its first call, without the imports.",
        ],
        goals=[
            Goal(name="ask, beyond importing litellm", value=beyond_s, unit=" s", limits=(1.0,)),
            Goal(name="the first call, beyond the imports", value=first_s, unit=" s", limits=(0.8,)),
            Goal(
                name="the first call / claude -p",
                value=first_s / statistics.median(by_name[PRINTS].seconds),
                unit="x",
                limits=(1.3,),
            ),
        ],
        data={"rows": {command.name: {"seconds": command.seconds, "cpu_s": command.cpu_s} for command in commands}},
    )


def _commands(address: Address, empty: Path) -> list[Command]:
    from contenders import MODEL, SYSTEM, gateway  # here, within the scratch home, as in the other benchmarks

    from litellm_claude_code.install import find_cli

    python, cli = sys.executable, str(find_cli())
    gateway_env = {"ANTHROPIC_BASE_URL": address.base_url, "ANTHROPIC_AUTH_TOKEN": address.api_key}
    lean = ["--tools", "", "--max-turns", "1", "--strict-mcp-config", "--setting-sources=", "--no-session-persistence"]
    return [
        Command(name=IMPORTS, command=[python, "-c", IMPORTS], env=os.environ),
        Command(
            name=ASK,
            command=[python, "-m", "litellm_claude_code_cli", "ask", _PROMPT],
            env={**os.environ, **gateway_env},
        ),
        Command(
            name=OURS,
            command=[python, "-c", _FRESH, address.base_url, address.api_key, _PROMPT],
            env=os.environ,
            seconds_of=lambda printed, _: float(json.loads(printed)[1]),
        ),
        Command(
            name=PRINTS,
            command=[cli, "-p", _PROMPT, "--model", MODEL, "--system-prompt", SYSTEM, *lean],
            env={**os.environ, **gateway(address).environment(), "CLAUDE_CODE_TMPDIR": str(empty.parent)},
            cwd=empty,
        ),
    ]


def _median_difference(one: Command, other: Command) -> float:
    return statistics.median(a - b for a, b in zip(one.seconds, other.seconds, strict=True))


def measure_early(rounds: int) -> Part:
    """In each round, make calls back to back on a new pool until it is hot, and a few with `query()`."""
    import contenders  # here, within the scratch home: litellm and the SDK read the environment on import

    rounds_ms: list[list[float]] = []
    taken: dict[str, list[float]] = {name: [] for name in (FIRST, EARLY, HOT, QUERY)}
    with surroundings.stand_in() as address:
        ours, query = contenders.claude_code(address), contenders.QueryPerCall(address)
        try:
            ours.call(_PROMPT)  # imports, and litellm's one-time work
            query.call(_PROMPT)
            for _ in range(rounds):
                ours.close()
                time.sleep(_REST_S)
                calls_ms = [timed_ms(ours.call) for _ in range(_HOT_AFTER + _HOT)]
                rounds_ms.append(calls_ms)
                taken[FIRST] += calls_ms[:1]
                taken[EARLY] += calls_ms[1:_EARLY]
                taken[HOT] += calls_ms[_HOT_AFTER:]
                time.sleep(_REST_S)
                taken[QUERY] += [timed_ms(query.call) for _ in range(_QUERIES)]
        finally:
            ours.close()
    median_ms = {name: statistics.median(each) for name, each in taken.items()}
    return Part(
        lines=[
            table(
                ("back to back, answered at once", "calls", "median ms", "p90 ms"),
                [
                    (name, str(len(each)), f"{median_ms[name]:.1f}", f"{percentile(each, 0.9):.1f}")
                    for name, each in taken.items()
                ],
            )
        ],
        goals=[
            Goal(
                name=f"query() / calls 2 to {_EARLY}",
                value=median_ms[QUERY] / median_ms[EARLY],
                unit="x",
                limits=(11,),
                is_ceiling=False,
            ),
            Goal(
                name=f"calls 2 to {_EARLY} / hot calls",
                value=median_ms[EARLY] / median_ms[HOT],
                unit="x",
                limits=(1.3,),
            ),
        ],
        data={"rounds_ms": rounds_ms, "query_ms": taken[QUERY]},
    )


PARTS: Final[Mapping[str, Callable[[int], Part]]] = {"first": measure_first, "early": measure_early}


def _parts(options: argparse.Namespace) -> Iterator[tuple[str, Part]]:
    for name in PARTS if options.part == "all" else [options.part]:
        yield name, PARTS[name](options.rounds)


def main() -> None:
    """Measure the parts that the command line names."""
    parser = argparse.ArgumentParser(
        description="The first call of a Python process, of `ask`, and the calls after it."
    )
    parser.add_argument("part", nargs="?", choices=[*PARTS, "all"], default="all")
    parser.add_argument("--rounds", type=int, default=6, metavar="N")
    run_parts(parser, _parts)


if __name__ == "__main__":
    main()
