"""`run`'s parent process: it starts the program, ends it if the run is halted, and reports on the run.

The program is in the same process group, so a terminal's signals reach both. This process stays small: it imports
neither litellm nor the SDK.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn, TypeAlias

import psutil

from litellm_claude_code_runs.ending import show_progress, write_report
from litellm_claude_code_runs.halt import Reason
from litellm_claude_code_runs.run_file import RUN_VARIABLE, RunFile, interrupted

from .exits import ExitCode

_Steps: TypeAlias = tuple[tuple[float, int], ...]
_LOOK_EVERY_S: Final = 0.25
_FORWARDED: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_INTERRUPT: Final[int] = signal.SIGINT
# After a halt the program normally ends by the exception `RunHalted`. These are for one that catches it: the seconds
# since the halt, and the signal.
_AFTER_A_HALT: Final[_Steps] = ((3.0, signal.SIGINT), (6.0, signal.SIGTERM), (7.0, signal.SIGKILL))
_AFTER_CTRL_C: Final[_Steps] = ((1.3, signal.SIGTERM), (1.6, signal.SIGKILL))
_FORWARD_CTRL_C_AFTER_S: Final = 0.3
_END_OTHERS_WITHIN_S: Final = 0.5
_EXIT_CODES: Final[dict[Reason, ExitCode]] = {
    "login": ExitCode.NOBODY_PAYS,
    "billing": ExitCode.NOBODY_PAYS,
    "model": ExitCode.REFUSED,
    "limit": ExitCode.LIMIT,
    "budget": ExitCode.LIMIT,
    "ended": ExitCode.INTERRUPTED,
}


def supervise(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    report: Path | None,
    has_progress: bool,
    answered_by: str | None = None,
) -> NoReturn:
    """Run a program to its end, report on it, and end as it did, or with the exit code of why it was halted."""
    run = RunFile.create(answered_by=answered_by)
    try:
        program = _Program(run)
        program.start(command, {**environment, RUN_VARIABLE: str(run.path)})
        ticker = show_progress(run) if has_progress else None
        program.wait()
        if ticker is not None:
            ticker.stop()
            ticker.join()
        halted = run.halted()
        if halted is None and program.is_interrupted and program.code < 0:
            halted = interrupted()
        if halted is not None:
            _end_others(run)
            _tell(f"litellm-claude-code: {' '.join(str(halted).split())}")
        try:
            write_report(run, to=report, tell=_tell)
        except OSError as error:
            _tell(f"litellm-claude-code: cannot write {report}: {error.strerror}")
    finally:
        run.remove()
    _exit(_EXIT_CODES[halted.reason] if halted is not None else program.code)


class _Program:
    """The program, from its start to its end."""

    def __init__(self, run: RunFile) -> None:
        self._run = run
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []
        self._interrupts = 0
        self._interrupted_at: float | None = None
        self._ends_since: float | None = None
        self._steps: list[tuple[float, int]] = []

    @property
    def is_interrupted(self) -> bool:
        """Return whether there was a Ctrl-C."""
        return self._interrupts > 0

    @property
    def code(self) -> int:
        """Return the exit code of the ended program; if a signal ended it, its negative number."""
        assert self._process is not None
        code = self._process.returncode
        assert code is not None
        return code

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start the program. From now on signals to this process are for the program."""
        self._wakes, writes = os.pipe()
        for end in (self._wakes, writes):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (*_FORWARDED, _INTERRUPT, signal.SIGQUIT):
            if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup`, or a background job
                signal.signal(number, self._on_signal)
        sys.stdout.flush()
        self._process = subprocess.Popen(command, env=environment, close_fds=False)
        for number in self._early:
            self._on_signal(number)

    def wait(self) -> None:
        """Wait until the program has ended. End it if the run is halted, or if it is stuck after Ctrl-C."""
        assert self._process is not None
        while self._process.poll() is None:
            select.select([self._wakes], [], [], _LOOK_EVERY_S)
            with contextlib.suppress(BlockingIOError):
                os.read(self._wakes, 4096)
            self._look()

    def _on_signal(self, number: int, _frame: object = None) -> None:
        if self._process is None:
            self._early.append(number)
        elif number == _INTERRUPT:
            self._interrupts += 1
            if self._interrupted_at is not None:
                self._process.kill()  # the second Ctrl-C
            self._interrupted_at = time.monotonic()
        elif number in _FORWARDED:
            self._process.send_signal(number)

    def _look(self) -> None:
        assert self._process is not None
        now = time.monotonic()
        if self._ends_since is None and (halted := self._run.halted()) is not None:
            self._ends_since = self._interrupted_at or now
            self._steps = list(_AFTER_CTRL_C if halted.reason == "ended" else _AFTER_A_HALT)
        elif self._ends_since is None and self._interrupted_at is not None:
            self._look_after_ctrl_c(now - self._interrupted_at)
        while self._steps and self._ends_since is not None and now - self._ends_since >= self._steps[0][0]:
            self._process.send_signal(self._steps.pop(0)[1])

    def _look_after_ctrl_c(self, since_s: float) -> None:
        """End a program that still has calls in flight after Ctrl-C. One without them may have chosen to continue."""
        assert self._process is not None
        if since_s >= _AFTER_CTRL_C[0][0]:
            if _has_calls_in_flight(self._run):
                self._ends_since = self._interrupted_at
                self._steps = list(_AFTER_CTRL_C)
            self._interrupted_at = None
        elif since_s >= _FORWARD_CTRL_C_AFTER_S and self._interrupts == 1 and not _is_in_foreground():
            self._interrupts += 1  # `kill -INT` of this process only
            self._process.send_signal(_INTERRUPT)


def _is_in_foreground() -> bool:
    """Return whether Ctrl-C in a terminal reaches this process group."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _has_calls_in_flight(run: RunFile) -> bool:
    """Return whether calls are in flight in processes that Ctrl-C has reached."""
    for pid in run.flying_processes():
        with contextlib.suppress(OSError):
            if os.getpgid(pid) == os.getpgrp():
                return True
    return False


def _end_others(run: RunFile) -> None:
    """End the processes that a halted program has left: SIGTERM, then SIGKILL."""
    left = list(_processes_of(run))
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(left, timeout=_END_OTHERS_WITHIN_S)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()


def _processes_of(run: RunFile) -> Iterator[psutil.Process]:
    """Yield the processes that the program has started, which have the run in their environment."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.uids().real == os.getuid() and process.environ().get(RUN_VARIABLE) == str(run.path):
                yield process


def _tell(text: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # stderr is closed, or there is none
        print(text, file=sys.stderr, flush=True)


def _exit(code: int) -> NoReturn:
    """End with this exit code, or by this signal if it is negative."""
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))  # it was not us
        with contextlib.suppress(OSError, ValueError):  # SIGKILL has no handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)
