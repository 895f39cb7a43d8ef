"""A small optimization, end to end: `make demo`, or with `--live` on the user's own login.

DSPy's GEPA looks for a better instruction for a program that routes support tickets. Every call goes through litellm
and the Claude Code CLI; unless `--live` is given, the CLI asks the stand-in, where a scripted model answers. Either way
the scores are DSPy's, for the answers that came back.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import logging
import os
import sys
import tempfile
import textwrap
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from litellm.exceptions import AuthenticationError

from litellm_claude_code.auth import choose_login
from litellm_claude_code.models import PROVIDER
from litellm_claude_code.provider import provider
from litellm_claude_code.settings import Settings
from litellm_claude_code.testing import StandIn

from .scripted_model import respond
from .tickets import INSTRUCTION, TEAMS, labelled

_QUIET_FOR_AT_MOST_S: Final = 5.0


class Progress:
    """What the run has done so far, told line by line. DSPy's and GEPA's callbacks; they come from many threads."""

    def __init__(self) -> None:
        self.calls = 0
        self._out = sys.stdout
        self._lock = threading.Lock()
        self._started_at = self._told_at = time.monotonic()
        self._minibatch: list[str] = []

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._started_at

    def tell(self, what: str) -> None:
        """Print a line, with the time and the calls so far, to what stdout was at the start."""
        self._told_at = time.monotonic()
        print(f"[{self.elapsed_s:5.1f} s {self.calls:5} calls]  {what}", file=self._out, flush=True)

    def on_lm_start(self, call_id: str, instance: object, inputs: object) -> None:
        """Do nothing: DSPy tells of both ends of a call."""

    def on_lm_end(self, call_id: str, outputs: object, exception: BaseException | None = None) -> None:
        """Count a call, and say so when nothing has been said for a while."""
        with self._lock:
            self.calls += exception is None
            if time.monotonic() - self._told_at > _QUIET_FOR_AT_MOST_S:
                self.tell("…")

    def on_evaluation_end(self, event: Mapping[str, Any]) -> None:
        """Note how an instruction did on the few tickets that GEPA reflects on: first the old one, then the new."""
        scores = event["scores"]
        self._minibatch = [*self._minibatch, f"{sum(scores):g}/{len(scores)}"][-2:]

    def on_candidate_rejected(self, event: Mapping[str, Any]) -> None:
        """Tell of an instruction that did no better."""
        self.tell(f"round {event['iteration']}: {self._on_minibatch}, dropped")

    def on_valset_evaluated(self, event: Mapping[str, Any]) -> None:
        """Tell of an instruction that did better, and was then tried on all tickets to choose by."""
        score = f"{event['average_score']:.0%} of the {event['total_valset_size']} tickets to choose by"
        if event["iteration"] == 0:
            self.tell(f"GEPA starts from {score}")
        else:
            best = ", the best so far" if event["is_best_program"] else ""
            self.tell(f"round {event['iteration']}: {self._on_minibatch}, kept: {score}{best}")

    @property
    def _on_minibatch(self) -> str:
        return f"{' → '.join(self._minibatch)} of the tickets it learned from"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a run is made of."""

    is_live: bool
    """Claude itself answers, on the user's login, and not a scripted model."""
    model: str
    """Routes the tickets."""
    optimizer_model: str
    """Writes instructions."""
    budget: int
    """Answers that GEPA may use."""
    threads: int
    """Calls in flight."""


def demonstrate(options: Options) -> NoReturn:
    """Run the demo and exit: with 0 when the run went through, 1 when it could not, 130 on Ctrl-C."""
    _leave(_run(options))


def _run(options: Options) -> int:
    try:
        with _private_dspy() as dspy, _reach(options) as reach, contextlib.closing(provider):
            from dspy_adapter import RunHalted  # brings DSPy with it

            try:
                _evolve(dspy, options, reach)
            except RunHalted as halted:
                print(halted, file=sys.stderr)
                return 1
        print(f'Next: `make demo LIVE=1` runs this on your own login. README.md shows more of "{PROVIDER}/sonnet".')
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    except ModuleNotFoundError as missing:
        if missing.name != "dspy":
            raise
        print('The demo needs DSPy. Run: pip install "litellm_claude_code[dspy]"', file=sys.stderr)
        return 1
    except AuthenticationError as refused:
        print(refused.message, file=sys.stderr)
        return 1
    return 0


@contextlib.contextmanager
def _reach(options: Options) -> Iterator[Mapping[str, Any]]:
    """Say who answers, give what `dspy.LM` needs to reach them, and say in the end what the numbers mean."""
    if options.is_live:
        payer = choose_login(api_key=None, api_base=None, settings=Settings(), model=options.model).payer
        print(f"Live: Claude itself answers about {options.budget + 50} calls. Your {payer} pays.", flush=True)
        yield {}
        return
    print(
        "Stand-in: no login is used, and nothing is spent. The Claude Code CLI is real. Its answers are scripted, by a "
        "small model that follows its prompt.",
        flush=True,
    )
    with StandIn(respond=respond) as stand_in:
        yield {"api_base": stand_in.base_url, "api_key": stand_in.api_key}
        print(f"\nThe stand-in saw {len(stand_in.requests)} requests. It estimates tokens; costs are at API prices.")


@contextlib.contextmanager
def _private_dspy() -> Iterator[Any]:
    """Import DSPy without a cache, with its files in a folder that is removed, and with only errors logged."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="litellm-claude-code-demo-") as folder:
        os.environ["DSPY_CACHEDIR"] = folder
        dspy = importlib.import_module("dspy")
        dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
        for name in ("dspy", "LiteLLM"):
            logging.getLogger(name).setLevel(logging.ERROR)
        yield dspy


def _evolve(dspy: Any, options: Options, reach: Mapping[str, Any]) -> None:
    """Score the program, have GEPA look for a better instruction, score again and report."""
    from dspy_adapter import ClaudeCodeLM, track_run

    progress = Progress()
    task, prompt = (
        ClaudeCodeLM(name, callbacks=[progress], cache=False, **reach)
        for name in (options.model, options.optimizer_model)
    )
    dspy.configure(lm=task)
    teams = ", ".join(map(repr, TEAMS))
    program = dspy.Predict(dspy.Signature(f"ticket: str -> team: Literal[{teams}]", INSTRUCTION))
    learn, choose, held_back = (_examples(dspy, slice(start, start + 2)) for start in (0, 2, 4))

    def is_right(example: Any, answer: Any, *_: object) -> float:
        return float(answer.team == example.team)

    def feedback(example: Any, answer: Any, *_: object) -> Any:
        right = is_right(example, answer)
        text = "Right." if right else f"Wrong, the team is {example.team}. {example.rule}"
        return dspy.Prediction(score=right, feedback=text)

    score = dspy.Evaluate(devset=held_back, metric=is_right, num_threads=options.threads)
    optimizer = dspy.GEPA(
        metric=feedback,
        max_metric_calls=options.budget,
        reflection_lm=prompt,
        num_threads=options.threads,
        gepa_kwargs={"callbacks": [progress]},
    )
    with track_run() as run:
        progress.tell(f"scoring {len(held_back)} tickets that nothing is learned from")
        before = score(program).score
        progress.tell(f"score before: {before:.0f} %")
        # DSPy draws a bar on stdout for each of GEPA's evaluations; `progress` kept the stdout it had.
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            evolved = optimizer.compile(program, trainset=learn, valset=choose)
        after = score(evolved).score
        progress.tell(f"score after: {after:.0f} %")
    print(f"\n{run}\n\nscore   {before:.0f} % → {after:.0f} %")
    for when, text in (("before", INSTRUCTION), ("after", evolved.signature.instructions)):
        print(f"\nInstruction {when}:\n{textwrap.indent(text, '  ')}")


def _examples(dspy: Any, which: slice) -> list[Any]:
    return [
        dspy.Example(ticket=ticket, team=team, rule=rule).with_inputs("ticket")
        for ticket, team, rule in labelled(which)
    ]


def _leave(code: int) -> NoReturn:
    """Exit; after a failure without waiting for DSPy's threads, which would only repeat the calls they have lost."""
    if code == 0:
        sys.exit()
    atexit._run_exitfuncs()
    os._exit(code)
