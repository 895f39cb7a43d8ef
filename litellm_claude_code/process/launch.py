"""How a Claude Code process is started: its command line, its environment, and what ends it with its parent.

None of it contains the caller's request, which is sent on stdin later (`worker.py`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from .. import cli_protocol as cli
from ..errors import NoCli
from ..in_force import SettingsGuard
from ..install import NO_CLI, absolute_path, find_cli, find_program, sdk_version
from ..login import Login
from ..settings import Settings
from .cli_process import CliProcess
from .credential_programs import without_request
from .folders import empty_folder, private_folder
from .spawning import Start

_SHELL: Final = "/bin/sh"
_SUPERVISOR: Final = Path(__file__).with_name("supervisor.py")
# A shell script that replaces itself with the command in its arguments, and ends it once the process $1 is gone.
_WATCHED: Final = """
watched=$1 signal=$2 sleep=$3
shift 3
(
    trap '' HUP INT TERM
    while kill -0 "$watched" && kill -0 $$; do "$sleep" 1; done
    kill -0 "$watched" || kill -"$signal" $$
) </dev/null >/dev/null 2>&1 &
exec "$@"
"""


def plain_process(login: Login, *, settings: Settings, on_exit: Callable[[], None]) -> CliProcess:
    """Return the process of a worker, ready to boot. `on_exit` is called when it has ended.

    Raises `NoCli` if there is no CLI, and `UntrustedFolder` if another user could change its folder.
    """
    own = login.environment()
    env = environment(login, own=own)
    start = Start(
        command=(*bound_to_parent(), str(cli_of(settings)), *cli.WORKER_ARGUMENTS),
        env=without_request(env) if login.cloud == "bedrock" else env,
        cwd=empty_folder(),
    )
    return CliProcess(start, login=login, guard=SettingsGuard(environment=own), settings=settings, on_exit=on_exit)


def cli_of(settings: Settings) -> Path:
    """Return the path of the CLI to start. Raises `NoCli` if there is none."""
    found = find_cli(settings.cli_path)
    if found is None:
        raise NoCli(NO_CLI)
    return found


def environment(login: Login, *, own: Mapping[str, str]) -> dict[str, str]:
    """Return the complete environment of a process: the variables passed on from this process, and those set for it.

    `own` are the variables to set: those of the login, for a worker or an agent.
    """
    # Another thread may remove a variable from `os.environ` while this reads it.
    kept = {name: os.environ.get(name) for name in list(os.environ) if login.passes_on(name)}
    return {
        **{name: value for name, value in kept.items() if value is not None},
        "PATH": absolute_path(kept.get("PATH")),
        cli.ENTRYPOINT: "sdk-py",
        cli.TMPDIR: str(private_folder()),
        **own,
        cli.SDK_VERSION: sdk_version(),
    }


def bound_to_parent(death_signal: str = "KILL") -> list[str]:
    """Return a command prefix that makes a process receive `death_signal` when this Python process ends in any way.

    On Linux, `setpriv` asks the kernel to send it. The kernel does so when the *thread* that spawned the process ends,
    so spawn it on the background loop's long-lived thread. Without `setpriv`, a shell checks once a second.
    """
    setpriv = find_program("setpriv") if sys.platform == "linux" else None
    if setpriv is not None:
        return [str(setpriv), "--pdeathsig", death_signal, "--"]
    sleep = find_program("sleep") or "/bin/sleep"
    return [_SHELL, "-c", _WATCHED, "sh", str(os.getpid()), death_signal, str(sleep)]


def supervised() -> list[str] | None:
    """Return a command prefix that ends all processes a command has started when it ends, detached ones too.

    Returns `None` if that is not possible. It works only on Linux, where a process can adopt its orphaned descendants,
    and not in a frozen program, which has no Python to run the supervisor.
    """
    if sys.platform != "linux" or not sys.executable or getattr(sys, "frozen", False):
        return None
    return [sys.executable, "-I", "-S", str(_SUPERVISOR), str(os.getpid())]
