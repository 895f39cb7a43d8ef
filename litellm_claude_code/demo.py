"""A small evolution run, end to end: `litellm-claude-code demo`, or with `--live` on the user's own login.

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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from litellm.exceptions import AuthenticationError

from .auth import choose_login
from .models import PROVIDER
from .provider import provider
from .settings import Settings

INSTRUCTION: Final = "Route the support ticket to the team that answers it."
TEAMS: Final = ("billing", "care", "legal", "shipping", "technical")
# The rules of this house, half of them not what one would guess, and six tickets for each: two to learn from, two to
# choose an instruction by, two to score it on.
TICKETS: Final[Mapping[str, tuple[str, ...]]] = {
    "Tickets about an unknown or double charge go to legal.": (
        "There is a charge of 49 euros on my card that is unknown to me.",
        "I was charged twice. Please explain the double payment.",
        "An unknown company with your name took a payment from my account.",
        "My statement shows a double charge for the blue lamp.",
        "Who made this charge? The amount is unknown to me.",
        "You took the price of the chair double.",
    ),
    "Tickets about a broken or damaged parcel go to billing.": (
        "The parcel came today and the vase in it is broken.",
        "My package was damaged by the courier, the lid is bent.",
        "The delivery arrived, but two of the six glasses are broken.",
        "A damaged box, a wet book: what a parcel!",
        "The mirror was broken when I opened the package.",
        "Your courier handed me a damaged parcel.",
    ),
    "Tickets about a forgotten password or a locked account go to care.": (
        "I have forgotten my password and the mail does not come.",
        "My account is locked since this morning.",
        "The website says that my account was locked.",
        "What do I do about a forgotten password?",
        "Three wrong tries and now the account is locked.",
        "My daughter has forgotten the password of her account.",
    ),
    "Tickets about cancelling or pausing a subscription go to care.": (
        "Please cancel my subscription at the end of the month.",
        "Can I pause the subscription while I am abroad?",
        "I want to cancel the coffee subscription, it is too much.",
        "Is pausing for two months possible?",
        "How does one cancel the monthly box?",
        "We are moving, so we would like to pause our subscription.",
    ),
    "Tickets about a late or lost parcel go to shipping.": (
        "My parcel is four days late.",
        "The courier says that the package is lost.",
        "Is my delivery lost? Nobody knows where it is.",
        "The parcel was promised for Monday and is late.",
        "Late again! When does the package come?",
        "I think that the courier lost my parcel.",
    ),
    "Tickets about an error or a crash of the app go to technical.": (
        "The app shows error 17 when I search.",
        "Since the update the app crashes on my phone.",
        "Every photo I add makes the app crash.",
        "The website answers with an error page.",
        "An error appears when I open my basket.",
        "After a crash of the app my list was empty.",
    ),
    "Tickets about an invoice or a receipt go to billing.": (
        "Please send the invoice for order 1180 again.",
        "I need a receipt with the name of my firm.",
        "The address on the invoice is wrong.",
        "Where do I find the receipt for last week's payment?",
        "Our accountant asks for the invoice of May.",
        "No receipt was in the parcel.",
    ),
}
_QUIET_FOR_AT_MOST_S: Final = 5.0


class Stopped(BaseException):
    """A call failed for good. Not an `Exception`: to optimizers those are answers that score nothing."""


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
        """Count a call, and say so when nothing has been said for a while. Raises `Stopped` for one that failed."""
        if isinstance(exception, Exception):
            raise Stopped(str(exception).partition("\n")[0]) from exception
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
            _evolve(dspy, options, reach)
        print(f'Next: `--live` runs this on your own login; README.md has more of "{PROVIDER}/sonnet".')
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    except ModuleNotFoundError as missing:
        if missing.name != "dspy":
            raise
        print('The demo needs DSPy: pip install "litellm_claude_code[dspy]"', file=sys.stderr)
        return 1
    except (Stopped, AuthenticationError) as stopped:
        print(f"The run was stopped, because a call failed: {stopped}", file=sys.stderr)
        return 1
    return 0


@contextlib.contextmanager
def _reach(options: Options) -> Iterator[Mapping[str, str]]:
    """Say who answers, give what `dspy.LM` needs to reach them, and say in the end what the numbers mean."""
    if options.is_live:
        payer = choose_login(api_key=None, api_base=None, settings=Settings(), model=options.model).payer
        print(f"Live: Claude itself answers, about {options.budget + 50} calls, paid by your {payer}.", flush=True)
        yield {}
        print("\nCosts are at API prices; a subscription is not charged by the token.")
        return
    from .testing import StandIn
    from .testing.scripted_model import respond

    print(
        "Stand-in: no login is used and no quota spent; the Claude Code CLI is the real one, its answers are scripted, "
        "by a little model that follows its prompt.",
        flush=True,
    )
    with StandIn(respond=respond) as stand_in:
        yield {"api_base": stand_in.base_url, "api_key": stand_in.api_key}
        print(f"\nThe stand-in saw {len(stand_in.requests)} requests. It estimates tokens; costs are at API prices.")


@contextlib.contextmanager
def _private_dspy() -> Iterator[Any]:
    """Import DSPy without a cache, with its files in a folder that is removed, and with only errors logged."""
    os.environ["TQDM_DISABLE"] = "1"  # GEPA's bar: it is no use next to our lines
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="litellm-claude-code-demo-") as folder:
        os.environ["DSPY_CACHEDIR"] = folder
        dspy = importlib.import_module("dspy")
        dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
        for name in ("dspy", "LiteLLM"):
            logging.getLogger(name).setLevel(logging.ERROR)
        yield dspy


def _evolve(dspy: Any, options: Options, reach: Mapping[str, str]) -> None:
    """Score the program, have GEPA look for a better instruction, score again and report."""
    progress = Progress()
    lms = [
        dspy.LM(f"{PROVIDER}/{name}", callbacks=[progress], cache=False, **reach)
        for name in (options.model, options.optimizer_model)
    ]
    dspy.configure(lm=lms[0])
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
        reflection_lm=lms[1],
        num_threads=options.threads,
        gepa_kwargs={"callbacks": [progress]},
    )
    progress.tell(f"scoring {len(held_back)} tickets that nothing is learned from")
    before = score(program).score
    progress.tell(f"score before: {before:.0f} %")
    # DSPy draws a bar on stdout for each of GEPA's evaluations; `progress` kept the stdout it had.
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        evolved = optimizer.compile(program, trainset=learn, valset=choose)
    after = score(evolved).score
    progress.tell(f"score after: {after:.0f} %")
    _report(progress, lms, scores=(before, after), instruction=evolved.signature.instructions)


def _examples(dspy: Any, which: slice) -> list[Any]:
    return [
        dspy.Example(ticket=ticket, team=rule.removesuffix(".").split()[-1], rule=rule).with_inputs("ticket")
        for rule, tickets in TICKETS.items()
        for ticket in tickets[which]
    ]


def _report(progress: Progress, lms: Sequence[Any], *, scores: tuple[float, float], instruction: str) -> None:
    """Print what came of the run and what it took; tokens and costs are those of DSPy's history, at API prices."""
    print(f"\n{'':24}{'calls':>8}{'tokens in':>12}{'tokens out':>12}{'cost, USD':>12}")
    totals = [0, 0, 0, 0.0]
    for lm in lms:
        used = [
            len(lm.history),
            sum(entry["usage"]["prompt_tokens"] for entry in lm.history),
            sum(entry["usage"]["completion_tokens"] for entry in lm.history),
            sum(entry["cost"] or 0.0 for entry in lm.history),
        ]
        totals = [total + part for total, part in zip(totals, used, strict=True)]
        print(_row(lm.model, used))
    print(_row("all", totals))
    print(f"\nscore   {scores[0]:.0f} % → {scores[1]:.0f} %\ntime    {progress.elapsed_s:.1f} s")
    for when, text in (("before", INSTRUCTION), ("after", instruction)):
        print(f"\nInstruction {when}:\n{textwrap.indent(text, '  ')}")


def _row(name: str, used: Sequence[float]) -> str:
    calls, tokens_in, tokens_out, cost_usd = used
    return f"{name:24}{calls:8}{tokens_in:12}{tokens_out:12}{cost_usd:12.4f}"


def _leave(code: int) -> NoReturn:
    """Exit; after a failure without waiting for DSPy's threads, which would only repeat the calls they have lost."""
    if code == 0:
        sys.exit()
    atexit._run_exitfuncs()
    os._exit(code)
