"""Programs of a user's, each in a Python process of its own, without the seconds that importing litellm takes.

A program is forked from a process that has imported litellm and the Claude Agent SDK, and litellm's proxy or DSPy
besides, but nothing of ours: the program imports `litellm_claude_code` itself, as in a fresh process. It leads a
session of its own, and ends as Python ends.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from .processes import claude_processes, wait_until_ended
from .waiting import wait_until

# Between the forker and a program is a process that waits for its end, and writes down its exit code.
_FORKER = """
import gc, importlib, json, os, sys
gc.disable()
for name in sys.argv[1:]:
    importlib.import_module(name)
gc.enable()
gc.freeze()  # what is imported stays; a collection in a program need not look at it
waiting = 0
for line in sys.stdin:
    while waiting and os.waitpid(-1, os.WNOHANG)[0]:
        waiting -= 1
    waiting += 1
    if os.fork() == 0:
        break
else:
    sys.exit()
program = json.loads(line)
if (pid := os.fork()) != 0:
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with open(program["code_file"] + ".new", "w") as file:
        file.write(str(code))
    os.rename(program["code_file"] + ".new", program["code_file"])
    os._exit(0)
os.setsid()
print(os.getpid(), flush=True)
for number, path in enumerate((os.devnull, program["out"], program["errors"])):
    opened = os.open(path, os.O_RDWR | os.O_APPEND)
    os.dup2(opened, number)
    os.close(opened)
sys.stdout.reconfigure(write_through=True)
os.chdir(program["cwd"])
os.environ.clear()
os.environ.update(program["env"])
sys.argv = ["-c", *program["arguments"]]
exec(compile(program["code"], "<script>", "exec"), {"__name__": "__main__"})
"""


class Program:
    """A forked process, with what tests and Jupyter need of `subprocess.Popen`."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int, code_file: Path) -> None:
        self.pid = pid
        self._code_file = code_file

    def poll(self) -> int | None:
        return int(self._code_file.read_text()) if self._code_file.exists() else None

    def wait(self, timeout: float = 90) -> int:
        wait_until(lambda: self.poll() is not None, lambda: f"process {self.pid} still runs", timeout)
        return int(self._code_file.read_text())

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended just now
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Script:
    """A running script, and the Claude Code processes that it started."""

    def __init__(self, program: Program, home: Path) -> None:
        self.pid = program.pid
        self.program = program
        self.home = home

    def wait_until_ready(self) -> None:
        """Wait until the script has printed the line `ready`."""

        def is_ready() -> bool:
            has_ended = self.program.poll() is not None
            told = "ready\n" in (self.home / "out").read_text()
            assert told or not has_ended, (self.home / "errors").read_text()
            return told

        wait_until(is_ready, lambda: (self.home / "errors").read_text())

    def wait(self) -> tuple[str, str]:
        """Wait until the script has ended, and return what it printed to stdout and stderr."""
        self.program.wait()
        return (self.home / "out").read_text(), (self.home / "errors").read_text()

    def claude_processes(self) -> list[int]:
        return claude_processes(self.home)

    def wait_until_nothing_is_left(self) -> None:
        wait_until_ended(self.home)

    def kill_its_session(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


class Forker:
    """The process that programs are forked from. It reads what to fork, and answers with process ids."""

    def __init__(self, reads: IO[str], answers: IO[str]) -> None:
        self._reads = reads
        self._answers = answers
        self._codes = tempfile.TemporaryDirectory(prefix="exit-codes-")
        self._numbers = itertools.count()

    def start(self, code: str, *arguments: str, home: Path, **env: str) -> Script:
        """Start a script in the environment of the tests, with changes, and with `home` for its files."""
        env = environment(home, **env)
        for name in ("out", "errors"):
            (home / name).write_text("")
        return Script(self.fork(code, *arguments, env=env, out=home / "out", errors=home / "errors"), home)

    def fork(
        self, code: str, *arguments: str, env: dict[str, str], out: Path, errors: Path, cwd: Path | None = None
    ) -> Program:
        """Run Python code with exactly this environment. What it prints is appended to existing files."""
        code_file = Path(self._codes.name) / str(next(self._numbers))
        files = {"out": str(out), "errors": str(errors), "code_file": str(code_file), "cwd": str(cwd or Path.cwd())}
        program = {"code": code, "arguments": arguments, "env": env, **files}
        print(json.dumps(program), file=self._reads, flush=True)
        return Program(int(self._answers.readline()), code_file)

    @contextlib.contextmanager
    def with_imports(self, *modules: str) -> Iterator[Forker]:
        """Start a second such process, forked from this one, which has imported these modules as well."""
        with tempfile.TemporaryDirectory(prefix="forker-") as folder:
            read, answers, errors = (Path(folder) / name for name in ("read", "answers", "errors"))
            os.mkfifo(read)
            os.mkfifo(answers)
            errors.touch()
            code = f"import os; os.dup2(os.open({str(read)!r}, os.O_RDONLY), 0)\n{_FORKER}"
            program = self.fork(code, *modules, env=dict(os.environ), out=answers, errors=errors)
            with answers.open() as answering:
                with read.open("w") as reading:
                    started = Forker(reading, answering)
                    yield started
                    started.close()
                assert program.wait() == 0, errors.read_text()

    def close(self) -> None:
        self._codes.cleanup()


@contextlib.contextmanager
def forker(*modules: str) -> Iterator[Forker]:
    """Start the process that programs are forked from, which has imported these modules, and end it afterwards."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", _FORKER, *modules], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        started = Forker(process.stdin, process.stdout)
        yield started
        started.close()


def environment(home: Path, **env: str) -> dict[str, str]:
    """Return the environment of the tests with a configuration and cache folder in `home`, and with other changes."""
    return {**os.environ, "CLAUDE_CONFIG_DIR": str(home), "XDG_CACHE_HOME": str(home / "cache"), **env}


def remember_check(checked_cli: Path, cache: Path) -> None:
    """Copy the result of the run's self-check into another cache folder, so that a program need not repeat it."""
    (cache / "litellm_claude_code").mkdir(parents=True, mode=0o700)
    shutil.copy(checked_cli, cache / "litellm_claude_code")
