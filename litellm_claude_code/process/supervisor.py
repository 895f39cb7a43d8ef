"""Run a command and, when it has ended, kill every process that it started, including those that left its session.

This is a script, run as `python -I -S supervisor.py PARENT COMMAND…`. It imports nothing from this package. Linux makes
it the parent of orphans among its descendants (`PR_SET_CHILD_SUBREAPER`), so a process cannot escape by detaching
itself. It ends when the process PARENT ends. On SIGTERM it sends SIGTERM to the command, and kills it if it still runs
two seconds later.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time

_SET_DEATH_SIGNAL, _SET_SUBREAPER = 1, 36
_END_WITHIN_S = 2
_KILL_WITHIN_S = 5.0
_LOOK_EVERY_S = 0.01


def main(parent: int, command: list[str]) -> int:
    """Run the command to its end and return its exit status."""
    for name in os.environ.pop("LITELLM_CLAUDE_CODE_DROP", "").split():
        os.environ.pop(name, None)
    control = ctypes.CDLL(None).prctl
    control(_SET_SUBREAPER, 1, 0, 0, 0)
    control(_SET_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # the parent ended before the death signal was set
        return 1
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    child = os.fork()
    if child == 0:
        control(_SET_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        try:
            os.execv(command[0], command)
        except OSError as error:
            print(f"{command[0]}: {error.strerror}", file=sys.stderr)
            os._exit(127)
    _let_go_of_stdio()
    signal.signal(signal.SIGTERM, lambda *_: _ask_to_end(child))
    signal.signal(signal.SIGALRM, lambda *_: _send(child, signal.SIGKILL))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    status = _wait_for(child)
    signal.alarm(0)
    _kill_descendants()
    return os.waitstatus_to_exitcode(status) % 256


def _let_go_of_stdio() -> None:
    """Close this process's copies of stdin and stdout, so that they close when the command ends."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)


def _ask_to_end(child: int) -> None:
    _send(child, signal.SIGTERM)
    signal.alarm(_END_WITHIN_S)


def _send(process: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(process, number)


def _wait_for(child: int) -> int:
    while True:
        process, status = os.waitpid(-1, 0)
        if process == child:
            return status


def _kill_descendants() -> None:
    """Kill descendants until this process has no children. The children of a killed process become its own."""
    until = time.monotonic() + _KILL_WITHIN_S
    while time.monotonic() < until:
        for process in _descendants():
            _send(process, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(_LOOK_EVERY_S)


def _descendants() -> list[int]:
    children: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", errors="replace") as file:
            # pid (program name, which may contain any character) state parent…
            children.setdefault(int(file.read().rpartition(")")[2].split()[1]), []).append(int(name))
    found, to_do = [], [os.getpid()]
    while to_do:
        below = children.get(to_do.pop(), [])
        found += below
        to_do += below
    return found


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
