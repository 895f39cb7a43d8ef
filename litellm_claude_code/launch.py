"""What a Claude Code process is started with: its command line, its environment and its folders.

Nothing the caller wrote is part of it; that travels on stdin, later (`worker.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import sys
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Final

from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, CLIConnectionError, CLINotFoundError
from claude_agent_sdk._internal.transport import subprocess_cli
from claude_agent_sdk._internal.transport.subprocess_cli import SubprocessCLITransport

from .auth import Login, wrong_login
from .errors import CallFailed, Failure
from .installed import NO_CLI, cache_folder, find_cli
from .settings import Settings
from .transport import ControlTransport

_LARGEST_FRAME_BYTES: Final = 256 << 20
_LAUNCHER: Final = "launch.sh"
_LOCK: Final = "lock"
_private_folders: dict[int, tuple[Path, int]] = {}


@dataclass(frozen=True, kw_only=True)
class Launch:
    """A process about to be spawned: connect `transport` to spawn it."""

    transport: ControlTransport
    options: ClaudeAgentOptions = field(repr=False)
    stderr: deque[str] = field(repr=False)
    """The last lines of stderr. Only those of the boot may be shown: no prompt has been sent by then."""


def prepare(login: Login, *, settings: Settings, on_exit: Callable[[], None]) -> Launch:
    """Return a process that is ready to be spawned; `on_exit` is called when it has ended.

    Raises `CLINotFoundError` where there is no CLI.
    """
    stderr: deque[str] = deque(maxlen=20)
    options = ClaudeAgentOptions(
        tools=[],
        setting_sources=[],
        strict_mcp_config=True,
        max_turns=1,
        max_budget_usd=1e-9,
        include_partial_messages=True,
        max_buffer_size=_LARGEST_FRAME_BYTES,
        # The CLI may record the first system prompt and repeat it; here each call brings its own.
        extra_args={"no-session-persistence": None, "system-prompt-snapshot": "off"},
        cwd=empty_folder(),
        cli_path=launcher(),
        stderr=stderr.append,
        env=environment(login, settings=settings),
    )
    transport = ControlTransport(subprocess(options), on_exit=on_exit)
    return Launch(transport=transport, options=options, stderr=stderr)


class _Subprocess(SubprocessCLITransport):
    """The SDK's transport, whose process this package ends.

    At exit the SDK (0.2.184) signals those it knows of: also in a forked child, whose parent's they are, and in the
    middle of asyncio's own look at one that has just ended, which then complains on stderr.
    """

    async def connect(self) -> None:
        await super().connect()
        getattr(subprocess_cli, "_ACTIVE_CHILDREN", set()).discard(self._process)


def subprocess(options: ClaudeAgentOptions) -> SubprocessCLITransport:
    """Return the SDK's own transport for a process that is yet to be spawned, and gets its prompts later."""
    return _Subprocess(prompt=_no_prompt(), options=options)


async def shake_hands(client: ClaudeSDKClient, transport: ControlTransport, *, login: Login) -> dict[str, Any]:
    """Have the SDK's client greet a process, and return what the CLI tells of itself.

    Raises `CallFailed` where the process would pay in another way than `login`, and what has ended it where it ends:
    the client would not notice.
    """
    connecting = asyncio.ensure_future(client.connect())
    exited = asyncio.ensure_future(transport.exited.wait())
    try:
        await asyncio.wait({connecting, exited}, return_when=asyncio.FIRST_COMPLETED)
        if not connecting.done():
            raise transport.exit_error or CLIConnectionError("the process has ended")
        await connecting
    finally:
        connecting.cancel()
        exited.cancel()
    told = await client.get_server_info() or {}
    if (why := wrong_login(login, told.get("account") or {})) is not None:
        raise CallFailed(Failure(kind="authentication_failed", text=why))
    return told


def launcher() -> Path:
    """Return the program that becomes the CLI: it takes the CLI's arguments, and `environment` besides the parent's."""
    return private_folder() / _LAUNCHER


def environment(
    login: Login, *, settings: Settings, own: Mapping[str, str] | None = None, death_signal: str = "KILL"
) -> dict[str, str]:
    """Return what to add to the parent's environment for `launcher`, which leaves out what the CLI does not need.

    `own` are the variables the process is to have, those of a plain worker where it is `None`; `death_signal` is what
    it gets when this Python process is killed. Raises `CLINotFoundError` where there is no CLI.
    """
    own = login.environment() if own is None else own
    dropped = [name for name in os.environ if name.isidentifier() and name not in own and not login.passes_on(name)]
    return {
        **own,
        "CLAUDE_CODE_TMPDIR": str(private_folder()),
        "LITELLM_CLAUDE_CODE_CLI": str(_cli(settings)),
        "LITELLM_CLAUDE_CODE_DROP": " ".join(dropped),
        **_bound_to_parent(death_signal),
    }


def _cli(settings: Settings) -> Path:
    found = find_cli(settings.cli_path)
    if found is None:
        raise CLINotFoundError(NO_CLI)
    return found


def empty_folder() -> Path:
    """Return the one folder every process works in. There is nothing for the CLI to find in it.

    Its `.claude` is a link to nothing. At each change of settings, and so twice a call, the CLI 2.1.327 wants to know
    whether git tracks the settings in there. For a link it does not ask git, which would take 10 ms of a call's 50, and
    would have the request in its environment.
    """
    folder = cache_folder() / "empty"
    folder.mkdir(mode=0o700, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (folder / ".claude").symlink_to("nowhere")
    return folder


def agent_folder(profile: str) -> Path:
    """Return where an agent works whose profile names no folder: one for each profile, since the CLI notes them all."""
    folder = cache_folder() / "agents" / profile
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def private_folder() -> Path:
    """Return this Python process's own folder, for the launcher and the CLI's temporary files.

    `remove_private_folder` removes it once no process uses it any more; a killed parent's is swept by the next.
    """
    known = _private_folders.get(os.getpid())
    if known is not None and known[0].is_dir():
        return known[0]
    parent = cache_folder() / "run"
    parent.mkdir(mode=0o700, exist_ok=True)
    _sweep(parent)
    folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=parent))
    lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    script = folder / _LAUNCHER
    script.write_text(resources.files(__package__).joinpath(_LAUNCHER).read_text())
    script.chmod(0o700)
    _private_folders[os.getpid()] = (folder, lock)
    return folder


def remove_private_folder() -> None:
    """Remove this Python process's folder, if it has one."""
    known = _private_folders.pop(os.getpid(), None)
    if known is not None:
        shutil.rmtree(known[0], ignore_errors=True)
        os.close(known[1])


def _sweep(parent: Path) -> None:
    """Remove the folders of Python processes that were killed: those whose lock nobody holds."""
    for folder in parent.iterdir():
        try:
            lock = os.open(folder / _LOCK, os.O_RDWR)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        else:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)


def _bound_to_parent(death_signal: str) -> dict[str, str]:
    """Say how `launch.sh` puts a process in a session of its own, and has it end with this Python process.

    `setsid` keeps a terminal's or a notebook's Ctrl-C from it, which is for the caller; without it Python does that.
    `setpriv` has Linux end it with its parent; that signal comes when the *thread* that spawned ends, so the loop's own
    long-lived one does it. Without it a watchdog does, for which the pid is.
    """
    setsid, setpriv = shutil.which("setsid"), shutil.which("setpriv") if sys.platform == "linux" else None
    words = [*([setsid] if setsid else []), *([setpriv, "--pdeathsig", death_signal, "--"] if setpriv else [])]
    return {
        "LITELLM_CLAUDE_CODE_WRAPPER": " ".join(words),
        "LITELLM_CLAUDE_CODE_PYTHON": "" if setsid else sys.executable,
        "LITELLM_CLAUDE_CODE_WATCHED": "" if setpriv else str(os.getpid()),
        "LITELLM_CLAUDE_CODE_DEATH_SIGNAL": death_signal,
    }


async def _no_prompt() -> AsyncIterator[dict[str, Any]]:
    return
    yield {}
