"""Whole DSPy optimizer runs with different contenders: MIPROv2 light and GEPA light, on eight threads.

    python benchmarks/evolution.py --answer-after 1      # compared with litellm's anthropic/
    python benchmarks/evolution.py --answer-after 0.2    # compared with one query() per call

The stand-in answers after that many seconds. Its answers do not depend on how a contender lays out the prompt, so all
contenders make the same run. DSPy's cache is off.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import surroundings
from measuring import THREADS, Goal, Part, run, table
from optimizer import children_cpu_s
from surroundings import Address

sys.path.insert(0, str(Path(__file__).parent.parent))  # where `examples` is

OURS: Final = "ClaudeCodeLM"
DIRECT: Final = "anthropic/"
QUERY: Final = "query(), a process per call"
MIPRO: Final = "MIPROv2 light"
GEPA: Final = "GEPA light"
_AT_MOST: Final = 1.1
_AT_LEAST: Final = 3.0
_QUICK_S: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of an optimizer with one contender."""

    wall_s: float
    requests: int
    own_cpu_s: float
    children_cpu_s: float
    """CPU of the Claude Code processes, known after they have ended."""
    stats: Mapping[str, Any]


def serve(answer_after_s: float) -> None:
    """Run the stand-in for these runs until SIGTERM or SIGINT."""
    from examples.support_tickets.scripted_model import asked_for
    from litellm_claude_code.testing import RecordedRequest, StandIn, answer

    proposals = itertools.count(1)

    def one(name: str) -> str:
        return f"Route the ticket, version {next(proposals)}." if "instruction" in name else "billing"

    def respond(request: RecordedRequest) -> Any:
        # Search all messages: with query(), the CLI adds one of its own after the question.
        contents = [message["content"] for message in request.body["messages"]]
        blocks = itertools.chain.from_iterable([{"text": c}] if isinstance(c, str) else c for c in contents)
        asked = "\n".join(block.get("text", "") for block in blocks)
        fields = [f"[[ ## {name} ## ]]\n{one(name)}" for name in asked_for(asked)]
        text = "\n\n".join(fields) or f"```\n{one('instruction')}\n```"
        return answer(text, delay_s=answer_after_s)

    with StandIn(respond=respond) as stand_in:
        print(json.dumps({"base_url": stand_in.base_url, "api_key": stand_in.api_key}), flush=True)
        signal.sigwait([signal.SIGTERM, signal.SIGINT])


def measure(answer_after_s: float, others: str, names: Sequence[str]) -> dict[str, dict[str, Run]]:
    """Run each optimizer with each contender, from a cold start."""
    import dspy

    import litellm_claude_code

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    runs: dict[str, dict[str, Run]] = {}
    command = [sys.executable, __file__, "--serve", str(answer_after_s)]
    for name in names:
        optimize = {MIPRO: _mipro, GEPA: _gepa}[name]
        runs[name] = {}
        for who in (OURS, others):
            with surroundings.served(command) as address:
                make = partial(_lm, who, address)
                make()("Hello")  # imports, and litellm's one-time work
                litellm_claude_code.close()
                runs[name][who] = _timed(optimize, make, address)
            print(f"  {name}, {who}: {runs[name][who].wall_s:.1f} s", file=sys.stderr)
    return runs


def _timed(optimize: Callable[[Any], None], make: Callable[[], Any], address: Address) -> Run:
    import dspy

    import litellm_claude_code

    seen, cli_cpu_s, own_cpu_s = surroundings.requests_seen(address), children_cpu_s(), time.process_time()
    began = time.perf_counter()
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        lm = make()
        with dspy.context(lm=lm):
            optimize(lm)
    wall_s, own_cpu_s = time.perf_counter() - began, time.process_time() - own_cpu_s
    requests, stats = surroundings.requests_seen(address) - seen, litellm_claude_code.stats()
    litellm_claude_code.close()
    return Run(
        wall_s=wall_s,
        requests=requests,
        own_cpu_s=own_cpu_s,
        children_cpu_s=children_cpu_s() - cli_cpu_s,
        stats=stats,
    )


def _lm(who: str, address: Address) -> Any:
    """Return a new LM for a contender. Each run needs its own, because LMs keep their history."""
    import contenders
    import dspy

    from dspy_adapter import ClaudeCodeLM

    where: dict[str, Any] = {
        "api_base": address.base_url,
        "api_key": address.api_key,
        "max_tokens": contenders.MAX_TOKENS,
    }
    if who == OURS:
        return ClaudeCodeLM(contenders.ALIAS, cache=False, **where)
    if who == DIRECT:
        return dspy.LM(f"anthropic/{contenders.MODEL}", cache=False, engine="litellm", **where, drop_params=True)
    return _query_lm(address)


def _query_lm(address: Address) -> Any:
    import contenders
    import dspy
    import litellm

    class QueryLM(dspy.BaseLM):  # type: ignore[misc]
        """Makes one `query()` per call. Earlier messages become text in its prompt."""

        def forward(self, prompt: str | None = None, messages: Any = None, **_params: Any) -> Any:
            turns = messages or [{"role": "user", "content": prompt}]
            system = "\n".join(turn["content"] for turn in turns if turn["role"] == "system")
            said = [turn["content"] for turn in turns if turn["role"] != "system"]
            examples = tuple(zip(said[:-1:2], said[1::2], strict=False))
            question = contenders.Question(user=said[-1], system=system or contenders.SYSTEM, examples=examples)
            text = contenders.QueryPerCall(address).ask(question)
            return litellm.ModelResponse(
                model="query",
                choices=[{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
                usage={"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            )

    return QueryLM("query")


def _tickets() -> tuple[list[Any], list[Any]]:
    import dspy

    from examples.support_tickets.tickets import TICKETS

    examples = [
        dspy.Example(ticket=ticket, team=rule.removesuffix(".").split()[-1]).with_inputs("ticket")
        for tickets in zip(*TICKETS.values(), strict=True)
        for rule, ticket in zip(TICKETS, tickets, strict=True)
    ]
    return examples[:14], examples[14:28]


def _program() -> Any:
    import dspy

    return dspy.Predict(dspy.Signature("ticket -> team", "Route the support ticket to the team that answers it."))


def _is_right(example: Any, answer: Any, *_: object) -> float:
    return float(answer.team == example.team)


def _mipro(lm: Any) -> None:
    import dspy

    optimizer = dspy.MIPROv2(metric=_is_right, auto="light", num_threads=THREADS, seed=1)
    optimizer.compile(_program(), trainset=_tickets()[0], valset=_tickets()[1])


def _gepa(lm: Any) -> None:
    import dspy

    def feedback(example: Any, answer: Any, *_: object) -> Any:
        return dspy.Prediction(score=_is_right(example, answer), feedback=f"The team is {example.team}.")

    optimizer = dspy.GEPA(metric=feedback, auto="light", reflection_lm=lm, num_threads=THREADS, seed=1)
    optimizer.compile(_program(), trainset=_tickets()[0], valset=_tickets()[1])


def _part(answer_after_s: float, others: str, runs: Mapping[str, Mapping[str, Run]]) -> Part:
    """Compare wall time per request, because one contender's run may need a few more requests."""
    lines, goals = [], []
    for name, each in runs.items():
        for who, one in each.items():
            seconds = (f"{one.wall_s:.1f}", str(one.requests), f"{one.own_cpu_s:.1f}", f"{one.children_cpu_s:.1f}")
            counts = (str(one.stats.get(count, "–")) if who == OURS else "–" for count in ("boots", "binds"))
            lines.append((f"{name}, {who}", *seconds, *counts))
        ratio = (each[OURS].wall_s / each[OURS].requests) / (each[others].wall_s / each[others].requests)
        if others == DIRECT:
            goals.append(Goal(name=f"{name}: {OURS} / {DIRECT}", value=ratio, unit="x", limits=(_AT_MOST,)))
        else:
            faster = f"{name}: {others} / {OURS}"
            goals.append(Goal(name=faster, value=1 / ratio, unit="x", limits=(_AT_LEAST,), is_ceiling=False))
    head = (f"answers after {answer_after_s:g} s", "wall s", "requests", "own CPU s", "CLI CPU s", "boots", "binds")
    data = {name: {who: vars(one) for who, one in each.items()} for name, each in runs.items()}
    return Part(lines=[table(head, lines)], goals=goals, data={"runs": data})


def _parts(options: argparse.Namespace) -> Iterator[tuple[str, Part]]:
    others = QUERY if options.answer_after <= _QUICK_S else DIRECT
    runs = measure(options.answer_after, others, options.only or (MIPRO, GEPA))
    yield "evolution", _part(options.answer_after, others, runs)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Whole optimizer runs of DSPy's, by who makes their calls.")
    parser.add_argument("--answer-after", type=float, default=1.0, metavar="S", help="seconds (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=(MIPRO, GEPA), help="these optimizers (default: both)")
    if sys.argv[1:2] == ["--serve"]:  # the process of the stand-in
        serve(float(sys.argv[2]))
    else:
        run(parser, _parts)
