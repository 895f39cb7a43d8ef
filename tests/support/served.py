"""Server processes: `litellm-claude-code serve` on a free port, over a stand-in, as a user starts it or forked."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litellm_claude_code.testing import StandIn

from .processes import COMMAND, RUN_COMMAND
from .scripts import Forker, Program
from .waiting import wait_until

_UP_WITHIN_S = 180


@dataclass(kw_only=True)
class Served:
    """A running server."""

    url: str
    key: str
    process: subprocess.Popen[bytes] | Program
    log: Path
    claude_config: Path

    @property
    def where(self) -> dict[str, str]:
        return {"api_base": self.url, "api_key": self.key}

    def logged(self, pattern: str) -> str:
        """Wait until a line of the log matches. Return the log: a request's line may come after its response."""

        def text() -> str:
            return self.log.read_text()

        wait_until(lambda: re.search(pattern, text(), re.MULTILINE), text)
        return text()

    def stop(self) -> int:
        """Send SIGTERM, as an init system does; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)


def environment(folder: Path, stand_in: StandIn | None, **more: str) -> dict[str, str]:
    env = {**os.environ, "CLAUDE_CONFIG_DIR": str(folder / "claude"), "PYTHONUNBUFFERED": "1"}
    del env["LITELLM_CLAUDE_CODE_MAX_WORKERS"]  # as users have it
    if stand_in is not None:
        env |= {"ANTHROPIC_BASE_URL": stand_in.base_url, "ANTHROPIC_AUTH_TOKEN": str(stand_in.api_key)}
    return {**env, **more}


@contextlib.contextmanager
def serving(
    folder: Path, stand_in: StandIn | None, *options: str, forks: Forker | None = None, **env: str
) -> Iterator[Served]:
    """Start a server whose stdout and stderr go to one file, and end it afterwards.

    Its model is the stand-in, or the service that the environment names if `stand_in` is None. With `forks`, the server
    is forked from a process that has already imported litellm's proxy, which saves most of the start-up time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.txt"
    port = () if "--port" in options else ("--port", "0")
    arguments = ["serve", *port, *options]
    environ = environment(folder, stand_in, **env)
    process: subprocess.Popen[bytes] | Program
    with log.open("wb") as out:
        if forks is None:
            streams: Any = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": out}
            process = subprocess.Popen([*COMMAND, *arguments], env=environ, **streams)
        else:
            process = forks.fork(RUN_COMMAND, *arguments, env=environ, out=log, errors=log)
    try:
        said = _wait_until_ready(process, log)
        key = re.search(r"shown only here: (\S+)", said)
        yield Served(
            url=re.findall(r"http://\S+", said)[0],
            key=key[1] if key else env["LITELLM_MASTER_KEY"],
            process=process,
            log=log,
            claude_config=folder / "claude",
        )
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(60)
            except (subprocess.TimeoutExpired, AssertionError):
                process.kill()
                process.wait(60)


def _wait_until_ready(process: subprocess.Popen[bytes] | Program, log: Path) -> str:
    def is_ready() -> bool:
        assert process.poll() is None, f"the server did not start:\n{log.read_text()}"
        return "models: " in log.read_text()

    wait_until(is_ready, log.read_text, _UP_WITHIN_S)
    return log.read_text()
