"""Ctrl-C, with and without `litellm-claude-code run`: what it ends, what it says, and what it leaves alone."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.support_tickets.scripted_model import respond as route_ticket
from litellm_claude_code.testing import Failure, RecordedRequest, Reply, StandIn, answer
from litellm_claude_code.testing.made_up import respond as made_up_answer
from litellm_claude_code_cli.exits import ExitCode

from .support.calls import read
from .support.forked_run import FORKED_RUN
from .support.processes import RUN_COMMAND
from .support.scripts import Forker, Script, environment, remember_check
from .support.waiting import wait_until

ROOT = Path(__file__).parent.parent
Start = Callable[..., Script]
# What a user writes after reading docs/dspy.md, on any LM.
GEPA = """
import sys
import dspy
import litellm_claude_code
from dspy_adapter import ClaudeCodeLM, track_run

def metric(example, answer, *_):
    return dspy.Prediction(score=0.5, feedback="More.")

def evolve(task, reflection):
    examples = [dspy.Example(question=str(n), answer="Paris").with_inputs("question") for n in range(16)]
    optimizer = dspy.GEPA(metric=metric, max_metric_calls=400, reflection_lm=reflection, num_threads=4, seed=1)
    with dspy.context(lm=task):
        optimizer.compile(dspy.Predict("question -> answer"), trainset=examples, valset=examples)

if sys.argv[1] == "ClaudeCodeLM":
    try:
        with track_run() as run:
            evolve(ClaudeCodeLM("haiku"), ClaudeCodeLM("opus"))
    finally:
        run.save("report.json")
else:
    evolve(dspy.LM("claude_code/haiku"), dspy.LM("claude_code/opus"))
"""
ASK = """
import atexit, os, signal, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
import litellm, litellm_claude_code

def ask(text):
    messages = [{"role": "user", "content": text}]
    response = litellm.completion(model="claude_code/haiku", messages=messages, num_retries=0)
    return response.choices[0].message.content
"""
OPEN_TERMINAL = """
import os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever started the tests, nohup for example
terminal = os.open(sys.argv.pop(), os.O_RDWR)  # the first that a session's leader opens is the session's own
for number in range(3):
    os.dup2(terminal, number)
"""
IN_TERMINAL = f"""{OPEN_TERMINAL}{ASK}
threading.Thread(target=ask, args=("late",)).start()
threading.Thread(target=time.sleep, args=(600,)).start()  # Python waits for it
time.sleep(600)
"""
CALLERS_STAY = f"""{ASK}
def until_the_end():
    try:
        ask("late")
    except BaseException:
        time.sleep(600)

sys.stdout.reconfigure(write_through=False)
atexit.register(print, "at exit")
with ThreadPoolExecutor() as pool:
    pool.submit(until_the_end)
"""
GOES_ON = f"""{ASK}
def read():
    messages = [{{"role": "user", "content": "stream"}}]
    for chunk in litellm.completion(model="claude_code/haiku", messages=messages, stream=True):
        began.set()

def reason_of(call):
    return getattr(call.exception(), "reason", call.exception())

began = threading.Event()
with ThreadPoolExecutor() as readers, ThreadPoolExecutor(1) as old:
    stream = readers.submit(read)
    began.wait()
    late, later = old.submit(ask, "late"), old.submit(ask, "later")
    try:
        with ThreadPoolExecutor() as waiting:
            waiting.submit(late.exception).result()
    except KeyboardInterrupt:
        print(reason_of(late), reason_of(later), reason_of(stream))
        with ThreadPoolExecutor() as new:
            print(new.submit(ask, "new").result())
print(ask("main"), signal.getsignal(signal.SIGINT) is signal.default_int_handler)

signal.signal(signal.SIGINT, lambda *_: print("a handler of its own"))
with ThreadPoolExecutor() as pool:
    print(pool.submit(ask, "slow").result())

signal.signal(signal.SIGINT, signal.default_int_handler)
with ThreadPoolExecutor() as pool:
    try:
        with litellm_claude_code.provider.track_run() as run:
            late = pool.submit(ask, "late")
            time.sleep(600)
    except KeyboardInterrupt:
        pass
    print(reason_of(late), run.summary().in_flight)
"""
IN_A_THREAD = """
import threading, time
threading.Thread(target=dspy.LM("claude_code/haiku", cache=False, **WHERE), args=("late",)).start()
time.sleep(600)
"""


@pytest.fixture
def start(forks: Forker, checked_cli: Path, gateway: StandIn, tmp_path: Path) -> Iterator[Start]:
    """Start a forked script. Its files go to the test's folder, and its calls to the stand-in."""
    remember_check(checked_cli, tmp_path / "cache")
    started: list[Script] = []

    def begin(code: str, *arguments: str, forks: Forker = forks, **env: str) -> Script:
        env = {"DSPY_CACHEDIR": str(tmp_path / "dspy"), "PYTHONPATH": str(ROOT), **env}
        started.append(forks.start(f"import os; os.chdir({str(tmp_path)!r})\n{code}", *arguments, home=tmp_path, **env))
        return started[-1]

    yield begin
    for each in started:
        each.kill_its_session()


@pytest.fixture
def terminal() -> Iterator[tuple[int, str]]:
    """Our end of a terminal, and the path of the other."""
    ours, theirs = os.openpty()
    yield ours, os.ttyname(theirs)
    os.close(theirs)
    os.close(ours)


def late_after(count: int) -> Callable[[RecordedRequest], Reply]:
    """Answer so many requests at once, and all others only after the test."""
    left = iter(range(count))
    return lambda request: made_up_answer(request) if next(left, None) is not None else answer("late", delay_s=600)


def press_ctrl_c(script: Script) -> None:
    os.killpg(script.pid, signal.SIGINT)  # as a terminal does: to the whole group


def read_until(terminal: int, text: str) -> str:
    shown = b""
    while text.encode() not in shown:
        assert select.select([terminal], [], [], 90)[0], shown
        shown += os.read(terminal, 4096)
    return shown.decode()


@pytest.mark.parametrize("lm", ["LM", "ClaudeCodeLM"])
def test_ctrl_c_ends_gepa_on_four_threads_with_one_line(
    start: Start, stand_in: StandIn, dspy_forks: Forker, tmp_path: Path, terminal: tuple[int, str], lm: str
) -> None:
    ours, path = terminal
    stand_in.respond = late_after(5)
    script = start(f"{OPEN_TERMINAL}{GEPA}", lm, path, forks=dspy_forks)
    stand_in.wait_for(5 + 4, timeout_s=90)
    os.write(ours, b"\x03")
    shown = read_until(ours, "from DSPy's cache.")
    assert script.program.wait() == -signal.SIGINT  # 130 in a shell
    assert "Traceback" not in shown
    assert [line for line in re.split(r"[\r\n]+", shown) if "Interrupted" in line] == [
        "Interrupted: 5 calls answered, and 4 cancelled. To continue, start the same program again, which takes "
        "finished answers from DSPy's cache."
    ]
    script.wait_until_nothing_is_left()
    assert len(stand_in.requests) == 5 + 4
    if lm == "ClaudeCodeLM":
        total = json.loads((tmp_path / "report.json").read_text())["total"]
        assert (total["requests"], total["failed"], total["in_flight"]) == (9, 4, 0)


def test_a_second_ctrl_c_ends_a_program_that_python_waits_for(
    start: Start, stand_in: StandIn, terminal: tuple[int, str]
) -> None:
    stand_in.respond = late_after(0)
    ours, path = terminal
    script = start(IN_TERMINAL, path)
    stand_in.wait_for(1, timeout_s=60)
    os.write(ours, b"\x03")
    shown = read_until(ours, "start the same program again.")
    assert "Traceback" not in shown
    stand_in.wait_for_disconnect(0, timeout_s=60)
    assert script.program.poll() is None
    os.write(ours, b"\x03")
    assert script.program.wait() == -signal.SIGINT
    script.wait_until_nothing_is_left()


def test_threads_that_have_made_calls_do_not_keep_the_program(start: Start, stand_in: StandIn) -> None:
    stand_in.respond = late_after(0)
    script = start(CALLERS_STAY)
    stand_in.wait_for(1, timeout_s=60)
    press_ctrl_c(script)
    out, errors = script.wait()
    assert (script.program.poll(), out) == (-signal.SIGINT, "at exit\n")
    assert errors == "Interrupted: 0 calls answered, and 1 cancelled. To continue, start the same program again.\n"


def test_a_program_that_catches_ctrl_c_goes_on_and_handlers_are_left_alone(start: Start, stand_in: StandIn) -> None:
    may_answer = threading.Event()

    def respond(request: RecordedRequest) -> Reply:
        text = str(request.body["messages"])
        if "slow" in text:
            may_answer.wait(60)
        if "stream" in text:
            return answer("in the middle of a stream", between_s=600)
        return answer("late", delay_s=600) if "late" in text else "ok"

    stand_in.respond = respond
    script = start(GOES_ON)
    stand_in.wait_for(2, timeout_s=60)
    press_ctrl_c(script)
    stand_in.wait_for(5, timeout_s=60)
    press_ctrl_c(script)
    wait_until(lambda: "a handler of its own" in (script.home / "out").read_text())
    may_answer.set()
    stand_in.wait_for(6, timeout_s=60)
    press_ctrl_c(script)
    assert script.wait() == ("ended ended ended\nok\nok True\na handler of its own\nok\nended 0\n", "")
    assert len(stand_in.requests) == 6


def cells_of_notebook_3(where: dict[str, Any]) -> list[str]:
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(ROOT / "notebooks" / "03_evolve_a_prompt.ipynb", 4)
    sources = [cell.source.replace("reach(LOGIN)", repr(where)) for cell in notebook.cells if cell.cell_type == "code"]
    return [source.replace("max_metric_calls=160", "max_metric_calls=20") for source in sources]


@pytest.mark.usefixtures("forked_kernels")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the Jupyter client's own
def test_interrupting_a_notebooks_kernel_ends_its_run_and_the_queue(
    stand_in: StandIn, checked_cli: Path, tmp_path: Path
) -> None:
    manager = pytest.importorskip("jupyter_client.manager")
    remember_check(checked_cli, tmp_path / "cache")
    answers = 15  # enough for the cells before the evolution, and for its beginning
    answered, before = iter(range(answers)), threading.Event()

    def respond(request: RecordedRequest) -> Reply:
        if next(answered, None) is not None:
            return route_ticket(request)
        before.set()
        return answer("late", delay_s=600)

    stand_in.respond = respond
    cells = cells_of_notebook_3({"api_base": stand_in.base_url, "api_key": stand_in.api_key})
    [evolution] = [number for number, cell in enumerate(cells) if "dspy.GEPA(" in cell]
    env = environment(tmp_path, IPYTHONDIR=str(tmp_path), LITELLM_CLAUDE_CODE_MAX_WORKERS="2")
    kernel, client = manager.start_new_kernel(cwd=str(ROOT / "notebooks"), env=env)
    try:
        asked = [client.execute(cell, stop_on_error=True) for cell in cells]
        assert before.wait(90)
        kernel.interrupt_kernel()
        replies: dict[str, Any] = {}
        while not replies.keys() >= {*asked}:
            reply = client.get_shell_msg(timeout=60)
            replies[reply["parent_header"]["msg_id"]] = reply["content"]
        statuses = [replies[number]["status"] for number in asked]
        assert statuses == ["ok"] * evolution + ["error"] + ["aborted"] * (len(cells) - evolution - 1)
        shown = replies[asked[evolution]]
        assert shown["ename"] == "KeyboardInterrupt"
        [line] = shown["traceback"]
        assert re.fullmatch(
            r"KeyboardInterrupt: interrupted after \d+ calls?, \d+ requests?, \$0\.\d+\. To .*again\.", line
        )
        wait_until(lambda: all(request.closed_early for request in stand_in.requests[answers:]))
        requests = len(stand_in.requests)
        stand_in.respond = route_ticket
        assert client.execute_interactive(cells[evolution], timeout=90)["content"]["status"] == "ok"
        assert len(stand_in.requests) > requests

        stand_in.respond = late_after(0)
        requests = len(stand_in.requests)
        client.execute(IN_A_THREAD)
        stand_in.wait_for(requests + 1, timeout_s=60)
        kernel.interrupt_kernel()
        stand_in.wait_for_disconnect(requests, timeout_s=60)
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)


# Under `litellm-claude-code run`

GOES_ON_UNDER_RUN = """
import signal, time
signal.signal(signal.SIGINT, lambda *_: print("goes on", flush=True))
print("started", flush=True)
while True:
    time.sleep(600)
"""
CALLS_AND_SLEEPS = """
import sys, time
import litellm
litellm.completion(model="claude_code/haiku", messages=[{"role": "user", "content": "Hello"}])
print("called", flush=True)
time.sleep(600)
"""
EXITS_AT_ONCE = """
import os
import litellm
for model in ("haiku@reader", "opus"):
    litellm.completion(model=f"claude_code/{model}", messages=[{"role": "user", "content": "When is the launch?"}])
os._exit(7)
"""
CELLS = """
import litellm
print(litellm.completion(model="claude_code/haiku", messages=[{"role": "user", "content": "Hello"}]).usage.total_tokens)
"""


UNDER_RUN = ("run", "--report", "report.json")


def total_of(folder: Path) -> dict[str, Any]:
    total: dict[str, Any] = json.loads((folder / "report.json").read_text())["total"]
    return total


def test_a_second_ctrl_c_ends_a_program_that_catches_the_first(
    start: Start, tmp_path: Path, terminal: tuple[int, str]
) -> None:
    ours, path = terminal
    (tmp_path / "program.py").write_text(GOES_ON_UNDER_RUN)
    script = start(f"{OPEN_TERMINAL}{RUN_COMMAND}", *UNDER_RUN, "program.py", path)
    read_until(ours, "started")
    os.write(ours, b"\x03")
    read_until(ours, "goes on")
    assert script.program.poll() is None

    def is_over() -> bool:
        os.write(ours, b"\x03")  # what counts as a second one follows the first within a second
        return script.program.poll() is not None

    wait_until(is_over)
    assert script.program.poll() in (ExitCode.INTERRUPTED, -signal.SIGINT)  # both are 130 in a shell
    assert "litellm-claude-code: Interrupted." in read_until(ours, "To continue")
    assert total_of(tmp_path)["calls"] == 0


def test_a_terminal_that_is_closed_ends_the_program_and_its_report_is_saved(
    start: Start, stand_in: StandIn, tmp_path: Path
) -> None:
    ours, theirs = os.openpty()
    (tmp_path / "program.py").write_text(CALLS_AND_SLEEPS)
    script = start(f"{OPEN_TERMINAL}{FORKED_RUN}", *UNDER_RUN, "program.py", os.ttyname(theirs))
    read_until(ours, "called")
    os.close(theirs)
    os.close(ours)
    assert script.program.wait() == -signal.SIGHUP
    script.wait_until_nothing_is_left()
    assert total_of(tmp_path)["requests"] == len(stand_in.requests) == 1


def test_a_program_that_exits_without_python_has_its_report_and_an_agents_requests_are_in_it(
    start: Start, stand_in: StandIn, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("The launch is on Tuesday.\n")
    (tmp_path / "agents.toml").write_text(f'[reader]\ntools = ["Read"]\ncwd = "{tmp_path}"\n')
    (tmp_path / "program.py").write_text(EXITS_AT_ONCE)
    stand_in.script(answer(read(tmp_path)), "On Tuesday.", "On Wednesday.")
    script = start(FORKED_RUN, *UNDER_RUN, "program.py", LITELLM_CLAUDE_CODE_PROFILES=str(tmp_path / "agents.toml"))
    _, errors = script.wait()
    assert script.program.poll() == 7, errors
    script.wait_until_nothing_is_left()
    report = json.loads((tmp_path / "report.json").read_text())
    assert {model: each["requests"] for model, each in report["models"].items()} == {"haiku@reader": 2, "opus": 1}
    assert len(stand_in.requests) == 3


def test_in_a_notebook_under_run_only_the_cell_fails_and_its_calls_are_reported(
    start: Start, stand_in: StandIn, tmp_path: Path
) -> None:
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("nbclient")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELLS) for _ in range(2)])
    notebook.cells[0].metadata.tags = ["raises-exception"]
    nbformat.write(notebook, tmp_path / "notebook.ipynb")
    stand_in.script(Failure(401), "Hello.")
    script = start(
        RUN_COMMAND, *UNDER_RUN, "-m", "jupyter", "execute", "notebook.ipynb", "--inplace", IPYTHONDIR=str(tmp_path)
    )
    _, errors = script.wait()
    assert script.program.poll() == 0, errors
    failed, answered = nbformat.read(tmp_path / "notebook.ipynb", 4).cells
    assert (failed.outputs[-1].ename, len(failed.outputs[-1].traceback)) == ("RunHalted", 1)
    assert answered.outputs[-1].output_type == "stream"
    assert total_of(tmp_path)["requests"] == len(stand_in.requests)
