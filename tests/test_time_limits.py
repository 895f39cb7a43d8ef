"""If a process stops answering, its call ends within `timeout`, and only that process is lost."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import litellm
import pytest

import litellm_claude_code
from litellm_claude_code.install import find_cli
from litellm_claude_code.testing import Answer, StandIn, Text, answer

from .support.calls import ask
from .support.cli_frames import BETWEEN, INSTEAD
from .support.processes import claude_processes
from .support.waiting import wait_until


def wait_until_idle() -> None:
    wait_until(lambda: "idle" in litellm_claude_code.stats()["workers"], litellm_claude_code.stats)


@pytest.fixture
def fresh(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A pool of one process. The process is gone afterwards, even if it was stopped by a signal."""
    litellm_claude_code.close()
    monkeypatch.setenv("LITELLM_CLAUDE_CODE_MAX_WORKERS", "1")
    monkeypatch.setenv("LITELLM_CLAUDE_CODE_SPARE_WORKERS", "0")
    monkeypatch.setenv("LITELLM_CLAUDE_CODE_STEP_TIMEOUT_S", "8")  # more than a good process takes on a busy machine
    yield monkeypatch
    litellm_claude_code.close()
    while left := claude_processes():
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def stop(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # it has ended just now
            os.kill(pid, signal.SIGSTOP)


@pytest.mark.parametrize("stream", [False, True])
def test_a_process_that_stopped_while_idle(stand_in: StandIn, fresh: Any, stream: bool) -> None:
    fresh.setenv("LITELLM_CLAUDE_CODE_STEP_TIMEOUT_S", "600")  # its place is free again before that
    assert ask(stand_in).choices[0].message.content
    wait_until_idle()
    stop(claude_processes())
    with pytest.raises(litellm.Timeout):
        list(ask(stand_in, timeout=2, stream=stream, max_retries=0))
    assert ask(stand_in, timeout=60).choices[0].message.content
    assert litellm_claude_code.stats()["boots"] == 2


@pytest.mark.parametrize("stream", [False, True])
def test_a_process_that_stopped_in_an_answer(stand_in: StandIn, fresh: Any, stream: bool) -> None:
    assert ask(stand_in).choices[0].message.content
    wait_until_idle()

    def respond(request: Any) -> Any:
        stop(claude_processes())
        return answer("It goes on and on.")

    before, stand_in.respond = stand_in.respond, respond
    with pytest.raises(litellm.Timeout):
        list(ask(stand_in, timeout=2, stream=stream, max_retries=0))
    stand_in.respond = before
    assert ask(stand_in, timeout=60).choices[0].message.content
    assert litellm_claude_code.stats()["boots"] == 2


def test_a_process_that_stops_while_it_boots(stand_in: StandIn, fresh: Any, tmp_path: Path) -> None:
    cli = tmp_path / "claude"
    cli.write_text(
        f'#!/bin/sh\n[ -e {tmp_path}/again ] || {{ touch {tmp_path}/again; kill -STOP $$; }}\nexec {find_cli()} "$@"'
    )
    cli.chmod(0o700)
    fresh.setenv("LITELLM_CLAUDE_CODE_CLI_PATH", str(cli))
    fresh.setenv("LITELLM_CLAUDE_CODE_SELF_CHECK", "false")
    fresh.setenv("LITELLM_CLAUDE_CODE_BOOT_TIMEOUT_S", "10")
    with pytest.raises(litellm.Timeout):
        ask(stand_in, timeout=1, max_retries=0)
    assert ask(stand_in, timeout=60).choices[0].message.content  # a process that does not boot is replaced


LOST = {
    "/clear has no result": "if frame.get('message', {}).get('content') == '/clear': continue",
    "a rewind is not answered": "if subtype == 'rewind_conversation': continue",
}


@pytest.fixture
def between(fresh: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Withhold some frames from the first process that is started."""

    def install(change: str) -> None:
        program, cli = tmp_path / "between.py", tmp_path / "claude"
        program.write_text(BETWEEN.format(cli=str(find_cli()), change=change))
        cli.write_text(
            f'#!/bin/sh\n[ -e {tmp_path}/again ] && exec {find_cli()} "$@"\n'
            f'touch {tmp_path}/again\nexec {sys.executable} {program} "$@"'
        )
        cli.chmod(0o700)
        fresh.setenv("LITELLM_CLAUDE_CODE_CLI_PATH", str(cli))
        fresh.setenv("LITELLM_CLAUDE_CODE_SELF_CHECK", "false")

    return install


@pytest.mark.parametrize("name", LOST)
def test_a_reset_that_never_ends_costs_the_process_and_no_answer(stand_in: StandIn, between: Any, name: str) -> None:
    between(LOST[name])
    assert ask(stand_in, timeout=60).choices[0].message.content
    assert ask(stand_in, timeout=60, max_retries=0).choices[0].message.content
    assert (litellm_claude_code.stats()["boots"], len(stand_in.requests)) == (2, 2)


@pytest.mark.parametrize("stream", [False, True])
def test_an_interrupt_that_is_acknowledged_and_lost_costs_the_process(
    stand_in: StandIn, between: Any, stream: bool
) -> None:
    between(INSTEAD.format(when="subtype == 'interrupt'", reply={"subtype": "success"}))
    assert ask(stand_in, timeout=60).choices[0].message.content
    wait_until_idle()
    stand_in.script(Answer(content=[Text("It goes on")], hang_after=3))
    with pytest.raises(litellm.Timeout):
        list(ask(stand_in, timeout=2, stream=stream, max_retries=0))
    assert ask(stand_in, timeout=60, max_retries=0).choices[0].message.content
    assert (litellm_claude_code.stats()["boots"], len(stand_in.requests)) == (2, 3)
