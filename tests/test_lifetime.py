"""No Claude Code process outlives the Python process that started it, however that ends."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from litellm_claude_code.testing import Answer, StandIn, Text

from .support.scripts import Forker, Script, remember_check
from .support.waiting import wait_until

HEAD = """
import os, signal, sys, threading, time
import litellm, litellm_claude_code
where = {"api_base": sys.argv[1], "api_key": sys.argv[2]}
def ask(text, **more):
    return litellm.completion("claude_code/sonnet", messages=[{"role": "user", "content": text}], **where, **more)
def ready():
    print("ready", flush=True)
def wait_until_all_are_idle():
    while set(litellm_claude_code.stats()["workers"]) != {"idle"}:
        time.sleep(0.01)
"""
IDLE = "ask('hello'); ready()\n"
BUSY = {
    "idle": IDLE,
    "waiting for the first byte": """
threading.Thread(target=ask, args=("hang",), daemon=True).start()
litellm_claude_code.warm_up("sonnet", **where); ready()
""",
    "streaming": "stream = ask('slow', stream=True); next(stream); next(stream); next(stream); ready()\n",
    "booting": "threading.Thread(target=ask, args=('hello',), daemon=True).start(); ready()\n",
    "streaming with a forked child": """
stream = ask('slow', stream=True); next(stream); next(stream)
child = os.fork()
if child == 0: time.sleep(600); os._exit(0)
ready()
""",
}


LOOPS = {
    "asyncio": "",
    "uvloop": """
import asyncio, uvloop, warnings
warnings.simplefilter("ignore", DeprecationWarning)
asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
""",
}
"""Which event loops a program may have chosen for all of its threads, and so for ours."""


def respond(record: Any) -> Answer:
    text = str(record.body["messages"])
    if "hang" in text:
        return Answer(content=[Text("late")], delay_s=600)
    return Answer(content=[Text("word " * 4000)], between_s=0.05) if "slow" in text else Answer(content=[Text("hello")])


@pytest.fixture
def script(stand_in: StandIn, forks: Forker, checked_cli: Path, tmp_path: Path) -> Iterator[Callable[..., Script]]:
    """Start a script in a home of its own, in which the CLI counts as checked."""
    stand_in.respond = respond
    started: list[Script] = []

    def start(code: str, *, is_checked: bool = True, **env: str) -> Script:
        if is_checked:
            remember_check(checked_cli, tmp_path / "cache")
        started.append(forks.start(HEAD + code, stand_in.base_url, str(stand_in.api_key), home=tmp_path, **env))
        return started[-1]

    yield start
    for one in started:
        one.kill_its_session()


def run_folders(home: Path) -> list[Path]:
    return list((home / "cache" / "litellm_claude_code" / "run").iterdir())


A_SPARE = {"LITELLM_CLAUDE_CODE_SPARE_WORKERS": "1"}  # as users have it
ENDS: dict[str, str] = {
    "a return": "",
    "an exception": "raise RuntimeError('boom')",
    "sys.exit": "sys.exit(3)",
    "close": "litellm_claude_code.close()",
}


@pytest.mark.parametrize(
    ("state", "end"),
    [("idle", "close"), ("idle", "sys.exit"), ("streaming", "a return"), ("streaming", "an exception")],
)
def test_nothing_outlives_a_script_that_ends_by_itself(
    script: Callable[..., Script], tmp_path: Path, state: str, end: str
) -> None:
    one = script(BUSY[state] + ENDS[end], **A_SPARE)
    one.wait_until_ready()
    _, errors = one.wait()
    assert one.claude_processes() == []
    assert errors == "" or (end == "an exception" and errors.strip().endswith("RuntimeError: boom"))
    assert run_folders(tmp_path) == []


SIGNALS = [
    ("idle", signal.SIGKILL),
    ("waiting for the first byte", signal.SIGKILL),
    ("booting", signal.SIGKILL),
    ("streaming with a forked child", signal.SIGKILL),
    ("idle", signal.SIGTERM),
    ("streaming with a forked child", signal.SIGTERM),
    ("idle", signal.SIGINT),
    ("waiting for the first byte", signal.SIGINT),
]


@pytest.mark.parametrize(("state", "number"), SIGNALS, ids=lambda value: getattr(value, "name", value))
def test_nothing_outlives_a_signal(
    script: Callable[..., Script], stand_in: StandIn, state: str, number: signal.Signals
) -> None:
    one = script(BUSY[state] + "time.sleep(600)\n", **A_SPARE)
    one.wait_until_ready()
    wait_until(one.claude_processes)
    if state == "waiting for the first byte":
        stand_in.wait_for(timeout_s=60)
    os.kill(one.pid, number)
    one.wait()
    one.wait_until_nothing_is_left()


@pytest.mark.parametrize("missing", [("setpriv",), ("setpriv", "setsid")], ids=" and ".join)
def test_nothing_outlives_a_kill_without_the_kernels_help(
    script: Callable[..., Script], tmp_path: Path, missing: tuple[str, ...]
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in {"sh", "sleep", "setsid", "setpriv"} - {*missing}:
        (tools / tool).symlink_to(str(shutil.which(tool)))
    one = script(BUSY["streaming with a forked child"] + "time.sleep(600)\n", PATH=str(tools))
    one.wait_until_ready()
    pids = [pid for pid in one.claude_processes() if psutil.Process(pid).name() == "claude"]  # and not its watchdog
    assert pids
    assert all(os.getsid(pid) not in (one.pid, os.getsid(0)) for pid in pids)
    os.kill(one.pid, signal.SIGKILL)
    one.wait()
    one.wait_until_nothing_is_left()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_nothing_outlives_a_signal_while_the_cli_is_checked(
    script: Callable[..., Script], number: signal.Signals
) -> None:
    one = script(BUSY["booting"] + "time.sleep(600)\n", is_checked=False)
    one.wait_until_ready()
    wait_until(one.claude_processes)
    os.kill(one.pid, number)
    one.wait()
    one.wait_until_nothing_is_left()


def test_what_a_killed_script_left_is_swept_by_the_next(script: Callable[..., Script], tmp_path: Path) -> None:
    assert script(IDLE + "os.kill(os.getpid(), signal.SIGKILL)\n").program.wait() == -signal.SIGKILL
    assert len(run_folders(tmp_path)) == 1
    assert script(IDLE, is_checked=False).program.wait() == 0  # the first one's result lies there
    assert run_folders(tmp_path) == []


def test_nothing_outlives_a_kill_on_uvloop(script: Callable[..., Script]) -> None:
    one = script(LOOPS["uvloop"] + BUSY["streaming with a forked child"] + "time.sleep(600)\n")
    one.wait_until_ready()
    assert one.claude_processes()
    os.kill(one.pid, signal.SIGKILL)
    one.wait()
    one.wait_until_nothing_is_left()


@pytest.mark.parametrize("loop", LOOPS)
def test_a_forked_child_has_a_pool_of_its_own_and_leaves_the_parents_processes(
    script: Callable[..., Script], loop: str
) -> None:
    one = script(
        LOOPS[loop]
        + """
ask("hello")
child = os.fork()
if child == 0:
    assert litellm_claude_code.stats() == {}
    print(ask("child").choices[0].message.content, flush=True)
    litellm_claude_code.close()
    os._exit(0)
os.waitpid(child, 0)
wait_until_all_are_idle()
child = os.fork()
if child == 0: sys.exit(0)  # ends by itself, without a call
os.waitpid(child, 0)
before = litellm_claude_code.stats()["boots"]
print(ask("parent").choices[0].message.content, litellm_claude_code.stats()["boots"] - before, flush=True)
"""
    )
    assert one.wait() == ("hello\nhello 0\n", "")


def test_ctrl_c_in_a_script_stops_the_request_and_the_next_call_works(
    script: Callable[..., Script], stand_in: StandIn
) -> None:
    one = script(
        """
signal.signal(signal.SIGINT, signal.default_int_handler)
ask("hello"); ready()
try:
    ask("hang")
except KeyboardInterrupt:
    print(ask("again").choices[0].message.content, flush=True)
"""
    )
    one.wait_until_ready()
    assert stand_in.wait_for(count=2, timeout_s=60)
    os.killpg(one.pid, signal.SIGINT)  # as a terminal or a notebook does it: to the whole group
    assert one.wait() == ("ready\nhello\n", "")
    assert stand_in.wait_for_disconnect(1, timeout_s=60)
