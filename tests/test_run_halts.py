"""`litellm-claude-code run` halts programs that we do not own, and its reports are right: on the real CLI."""

from __future__ import annotations

import itertools
import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import litellm
import psutil
import pytest

from litellm_claude_code.testing import Failure, RecordedRequest, Reply, StandIn, Usage, answer
from litellm_claude_code.testing.made_up import respond as made_up_answer
from litellm_claude_code_cli.exits import ExitCode

from .support.forked_run import FORKED_RUN
from .support.limits import limited
from .support.processes import RUN_COMMAND
from .support.scripts import Forker, Script, remember_check

ROOT = Path(__file__).parent.parent
MODELS = ("claude_code/haiku", "claude_code/opus")
# A stranger's optimizer, of the kind of hermes-agent-self-evolution. It catches what it can, and saves at its end.
EVOLVE_SKILL = """
import sys
from pathlib import Path
import dspy

def metric(example, answer, *_):
    return dspy.Prediction(score=0.5, feedback="More.")

def main(eval_model, optimizer_model):
    dspy.configure(lm=dspy.LM(eval_model))
    examples = [dspy.Example(question=str(n), answer="Paris").with_inputs("question") for n in range(8)]
    optimizer = dspy.GEPA(
        metric=metric, max_metric_calls=200, reflection_lm=dspy.LM(optimizer_model), num_threads=4, seed=1
    )
    try:
        optimizer.compile(dspy.Predict("question -> answer"), trainset=examples, valset=examples)
        print("Optimization completed")
    except Exception:
        print("Optimization failed")
    finally:
        Path("saved").touch()

if __name__ == "__main__":
    main(*sys.argv[1:])
"""
ASK = """
import asyncio, concurrent.futures, multiprocessing, os, subprocess, sys, threading, time
import litellm

def ask(text, model="claude_code/haiku", **more):
    return litellm.completion(model=model, messages=[{"role": "user", "content": str(text)}], num_retries=0, **more)

def until_the_end(text):
    while True:  # catches all there is, and sleeps: the seconds until it is ended cost little
        try:
            ask(text)
        except BaseException:
            time.sleep(0.5)
"""
# Programs that swallow exceptions: in tasks, and in processes with threads.
TASKS = f"""{ASK}
async def main():
    async def one(n):
        await litellm.acompletion(model="claude_code/haiku", messages=[{{"role": "user", "content": str(n)}}])
    while True:
        await asyncio.gather(*[one(n) for n in range(4)], return_exceptions=True)
        await asyncio.sleep(0.1)  # so that the seconds until it is ended cost little
try:
    asyncio.run(main())
finally:
    open("saved", "w")
"""
WORKERS = f"""{ASK}
if __name__ == "__main__":
    for n in range(2):
        multiprocessing.get_context("fork").Process(target=until_the_end, args=(n,)).start()
    subprocess.Popen([sys.executable, "sleeper.py"], start_new_session=True)
    threading.Thread(target=until_the_end, args=(5,)).start()
    time.sleep(600)
"""
USED = Usage(input_tokens=1_000, output_tokens=100)


class Model:
    """Answers so many requests, and then does something else."""

    def __init__(self, answers: int, then: Callable[[], Reply]) -> None:
        self._left = itertools.count(answers, -1)
        self._then = then
        self.answered: list[str] = []

    def __call__(self, request: RecordedRequest) -> Reply:
        if next(self._left) <= 0:
            return self._then()
        self.answered.append(request.body["model"])
        return replace(made_up_answer(request), usage=USED)

    @property
    def usd(self) -> float:
        tokens = {"prompt_tokens": USED.input_tokens, "completion_tokens": USED.output_tokens}
        return sum(sum(litellm.cost_per_token(model=model, **tokens)) for model in self.answered)


Start = Callable[..., Script]


@pytest.fixture
def start(gateway: StandIn, login: Any, checked_cli: Path, tmp_path: Path) -> Iterator[Start]:
    """Start a program under `run`. A subscription pays, since only subscriptions have limits; the stand-in answers."""
    login.delenv("ANTHROPIC_AUTH_TOKEN")
    remember_check(checked_cli, tmp_path / "cache")
    started: list[Script] = []

    def begin(forks: Forker, run: str, *arguments: str, **env: str) -> Script:
        arguments = ("run", "--report", "report.json", *arguments)
        few = {"LITELLM_CLAUDE_CODE_MAX_WORKERS": "2"}  # each takes longer to start than to answer these questions
        env = {"PYTHONPATH": str(ROOT), "DSPY_CACHEDIR": str(tmp_path / "dspy"), **few, **env}
        code = f"import os; os.chdir({str(tmp_path)!r})\n{run}"
        started.append(forks.start(code, *arguments, home=tmp_path, **env))
        return started[-1]

    yield begin
    for each in started:
        each.kill_its_session()


def report_in(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


def processes_in(folder: Path) -> list[str]:
    """Return the command lines of the processes whose working directory this is."""
    processes = psutil.process_iter(["cwd", "cmdline"])
    return [" ".join(each.info["cmdline"] or []) for each in processes if each.info["cwd"] == str(folder)]


def assert_is_right(report: dict[str, Any], stand_in: StandIn, model: Model) -> None:
    """Compare the report with the stand-in's log: requests, tokens and dollars."""
    total = report["total"]
    answered = len(model.answered)
    assert (total["requests"], total["input_tokens"], total["output_tokens"]) == (
        len(stand_in.requests),
        answered * USED.input_tokens,
        answered * USED.output_tokens,
    )
    assert total["cost_usd"] == pytest.approx(model.usd)
    assert total["in_flight"] == 0


def assert_told(errors: str, what: str) -> None:
    """Check that stderr says in one line what happened, prints the summary, and has no traceback."""
    assert "Traceback" not in errors, errors
    told = [line for line in errors.splitlines() if line.startswith("litellm-claude-code: ")]
    assert len(told) == 1, errors
    assert what in told[0]
    assert "To continue, " in told[0]
    assert "tokens in" in errors


@pytest.mark.parametrize(
    ("options", "then", "code", "told"),
    [
        ([], lambda: Failure(401), ExitCode.NOBODY_PAYS, "setup-token"),
        ([], lambda: limited(3_600), ExitCode.LIMIT, "--on-limit wait"),
        (
            ["--max-calls", "12", "--progress"],
            lambda: Failure(500),
            ExitCode.LIMIT,
            "The run's budget of 12 calls is spent.",
        ),
        ([], lambda: answer("late", delay_s=60), ExitCode.INTERRUPTED, "Interrupted."),
    ],
    ids=["401", "limit", "budget", "Ctrl-C"],
)
def test_an_optimizer_of_plain_lms_is_halted_and_accounted_for(
    start: Start,
    stand_in: StandIn,
    dspy_forks: Forker,
    tmp_path: Path,
    options: list[str],
    then: Any,
    code: ExitCode,
    told: str,
) -> None:
    (tmp_path / "evolution").mkdir()
    (tmp_path / "evolution" / "evolve_skill.py").write_text(EVOLVE_SKILL)
    stand_in.respond = model = Model(12, then)
    script = start(dspy_forks, FORKED_RUN, *options, "-m", "evolution.evolve_skill", *MODELS)
    if code == ExitCode.INTERRUPTED:
        stand_in.wait_for(13, timeout_s=100)
        os.killpg(script.pid, signal.SIGINT)  # as a terminal does: to the whole group
    out, errors = script.wait()
    assert script.program.poll() == code, errors
    assert "completed" not in out
    assert ("score 50, best 50, " in errors) == ("--progress" in options)
    assert_told(errors, told)
    assert_is_right(report_in(tmp_path), stand_in, model)
    assert len(stand_in.requests) <= (12 if "--max-calls" in options else 12 + 4)
    assert (tmp_path / "saved").exists()


@pytest.mark.parametrize("program", [TASKS, WORKERS], ids=["tasks", "processes"])
def test_a_budget_holds_over_tasks_and_over_processes_with_threads_and_ends_them(
    start: Start, stand_in: StandIn, forks: Forker, tmp_path: Path, program: str
) -> None:
    (tmp_path / "workers.py").write_text(program)
    (tmp_path / "sleeper.py").write_text("import time; open('sleeps', 'w'); time.sleep(600)")
    stand_in.respond = model = Model(100, lambda: Failure(500))
    script = start(forks, FORKED_RUN if program is TASKS else RUN_COMMAND, "--max-calls", "10", "workers.py")
    _, errors = script.wait()
    assert script.program.poll() == ExitCode.LIMIT, errors
    assert "The run's budget of 10 calls is spent." in errors
    assert_is_right(report_in(tmp_path), stand_in, model)
    assert len(stand_in.requests) == 10
    if program is TASKS:
        assert (tmp_path / "saved").exists()
    else:
        assert (tmp_path / "sleeps").exists()
        assert processes_in(tmp_path) == []


# A child that is killed with a call in flight, and a program that kills itself.
KILLS = f"""{ASK}
import signal
from litellm_claude_code_runs.run_file import current_run

if __name__ == "__main__":
    if (child := os.fork()) == 0:
        ask("late")
    while not (os.path.exists("seen") and sum(call.requests for call in current_run().report().calls)):
        time.sleep(0.05)
    os.kill(child, 9)
    os.waitpid(child, 0)
    for n in range(9):
        ask(n)
"""


def test_a_killed_process_does_not_block_the_budget(
    start: Start, stand_in: StandIn, forks: Forker, tmp_path: Path
) -> None:
    (tmp_path / "workers.py").write_text(KILLS)
    model = Model(100, lambda: Failure(500))

    def respond(request: RecordedRequest) -> Reply:
        if "late" not in str(request.body["messages"]):
            return model(request)
        (tmp_path / "seen").touch()
        return answer("late", delay_s=60)

    stand_in.respond = respond
    script = start(forks, FORKED_RUN, "--max-tokens", "3300", "workers.py")
    _, errors = script.wait()
    assert script.program.poll() == ExitCode.LIMIT, errors
    assert len(model.answered) == 3  # of 1,100 tokens
    report = report_in(tmp_path)
    assert_is_right(report, stand_in, model)
    assert [call["error"] for call in report["calls"]] == ["ProcessEnded", None, None, None]


def test_a_program_is_tried_on_a_stand_in_and_reported_on_even_if_it_is_killed(
    start: Start, forks: Forker, tmp_path: Path
) -> None:
    (tmp_path / "tried.py").write_text(
        f"{ASK}\nprint(ask(1).choices[0].message.content)\nask(2, 'claude_code/opus', temperature=0.5)\n"
        "os.kill(os.getpid(), 9)"
    )
    elsewhere = {"ANTHROPIC_BASE_URL": "http://127.0.0.1:9", "CLAUDE_CODE_USE_BEDROCK": "1"}
    script = start(forks, RUN_COMMAND, "--stand-in", "--drop-params", "tried.py", **elsewhere)
    out, errors = script.wait()
    assert (script.program.poll(), out) == (-signal.SIGKILL, "This answer is made up.\n"), errors
    assert "The stand-in answered: nothing was spent." in errors
    assert "temperature" in errors
    assert [(call["model"], call["requests"]) for call in report_in(tmp_path)["calls"]] == [("haiku", 1), ("opus", 1)]


OWN_RUN = """
import os, sys
import litellm, litellm_claude_code

def ask():
    litellm.completion(model="claude_code/haiku", messages=[{"role": "user", "content": "Hello"}])

if (child := os.fork()) == 0:
    ask()
    os._exit(0)
os.waitpid(child, 0)
ask()
for _ in range(2):
    try:
        ask()
    except BaseException as error:
        print(type(error).__name__, error.reason, flush=True)
"""


def test_settings_give_a_program_that_imports_the_package_a_run(
    gateway: StandIn, forks: Forker, checked_cli: Path, tmp_path: Path
) -> None:
    remember_check(checked_cli, tmp_path / "cache")
    gateway.respond = model = Model(100, lambda: Failure(500))
    settings = {"LITELLM_CLAUDE_CODE_MAX_CALLS": "2", "LITELLM_CLAUDE_CODE_REPORT": str(tmp_path / "report.json")}
    out, errors = forks.start(OWN_RUN, home=tmp_path, **settings).wait()
    assert out == "RunHalted budget\n" * 2, errors
    assert "tokens in" in errors
    assert_is_right(json.loads((tmp_path / "report.json").read_text()), gateway, model)
    assert len(gateway.requests) == 2
