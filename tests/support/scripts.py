"""Scripts of a user's, each in a Python process of its own, without the seconds that importing litellm takes.

A script is forked from a process that has imported litellm and the Claude Agent SDK, but nothing of ours: the script
imports `litellm_claude_code` itself, as in a fresh process. It leads a session of its own, and ends as Python ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from .processes import claude_processes, wait_until_ended
from .waiting import wait_until

_FORKER = """
import json, os, signal, sys
import claude_agent_sdk, litellm
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # a script that has ended is no zombie
for line in sys.stdin:
    if (pid := os.fork()) == 0:
        break
    print(pid, flush=True)
else:
    sys.exit()
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
script = json.loads(line)
os.setsid()
for number, path in enumerate((os.devnull, script["out"], script["errors"])):
    opened = os.open(path, os.O_RDWR)
    os.dup2(opened, number)
    os.close(opened)
os.environ.clear()
os.environ.update(script["env"])
sys.argv = ["-c", *script["arguments"]]
exec(compile(script["code"], "<script>", "exec"), {"__name__": "__main__"})
"""


class Script:
    """A running script, and the Claude Code processes that it started."""

    def __init__(self, pid: int, home: Path) -> None:
        self.pid = pid
        self._home = home

    def wait_until_ready(self) -> None:
        """Wait until the script has printed the line `ready`."""

        def is_ready() -> bool:
            has_ended = not psutil.pid_exists(self.pid)
            told = "ready\n" in (self._home / "out").read_text()
            assert told or not has_ended, (self._home / "errors").read_text()
            return told

        wait_until(is_ready, lambda: (self._home / "errors").read_text())

    def wait(self) -> tuple[str, str]:
        """Wait until the script has ended, and return what it printed to stdout and stderr."""
        wait_until(lambda: not psutil.pid_exists(self.pid), lambda: f"the script still runs, as process {self.pid}")
        return (self._home / "out").read_text(), (self._home / "errors").read_text()

    def claude_processes(self) -> list[int]:
        return claude_processes(self._home)

    def wait_until_nothing_is_left(self) -> None:
        wait_until_ended(self._home)

    def kill_its_session(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


class Forker:
    """The process that scripts are forked from."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self, code: str, *arguments: str, home: Path, **env: str) -> Script:
        """Start a script in the environment of the tests, with changes, and with `home` for its files."""
        request = {"code": code, "arguments": arguments, "env": environment(home, **env)}
        for name in ("out", "errors"):
            request[name] = str(home / name)
            (home / name).touch()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return Script(int(self._process.stdout.readline()), home)


@contextlib.contextmanager
def forker() -> Iterator[Forker]:
    """Start the process that scripts are forked from, and end it afterwards."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", _FORKER], stdin=pipe, stdout=pipe, text=True) as process:
        yield Forker(process)


def environment(home: Path, **env: str) -> dict[str, str]:
    """Return the environment of the tests with a configuration and cache folder in `home`, and with other changes."""
    return {**os.environ, "CLAUDE_CONFIG_DIR": str(home), "XDG_CACHE_HOME": str(home / "cache"), **env}


def remember_check(checked_cli: Path, cache: Path) -> None:
    """Copy the result of the run's self-check into another cache folder, so that a program need not repeat it."""
    (cache / "litellm_claude_code").mkdir(parents=True, mode=0o700)
    shutil.copy(checked_cli, cache / "litellm_claude_code")
