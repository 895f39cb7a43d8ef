"""How a Claude Code process is started: its command line, its environment, and what ends it.

Nothing the caller wrote is part of it; that travels on stdin, later (`worker.py`).
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE
from typing import Any, Final

import anyio
from anyio.streams.text import TextReceiveStream, TextSendStream
from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, CLIConnectionError, CLINotFoundError, __version__
from claude_agent_sdk._internal._task_compat import spawn_detached
from claude_agent_sdk._internal.transport.subprocess_cli import SubprocessCLITransport

from ..auth import wrong_login
from ..errors import CallFailed, Failure
from ..install import NO_CLI, absolute_path, find_cli, find_program
from ..login import Login
from ..settings import Settings
from .folders import empty_folder, private_folder
from .transport import ControlTransport

_LARGEST_FRAME_BYTES: Final = 256 << 20
_SHELL: Final = "/bin/sh"
_SUPERVISOR: Final = Path(__file__).with_name("supervisor.py")
# Becomes the command in its arguments, and ends it once the process $1 is gone.
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


@dataclass(frozen=True, kw_only=True)
class Launch:
    """A process about to be spawned: connect `transport` to spawn it."""

    transport: ControlTransport
    options: ClaudeAgentOptions = field(repr=False)
    stderr: deque[str] = field(repr=False)
    """The last lines of stderr. Only those of the boot may be shown: no prompt has been sent by then."""


def prepare(login: Login, *, settings: Settings, on_exit: Callable[[], None]) -> Launch:
    """Return a process that is ready to be spawned; `on_exit` is called when it has ended.

    Raises `CLINotFoundError` if there is no CLI, and `UntrustedFolder` if another user could change its folder.
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
        cli_path=cli_of(settings),
        stderr=stderr.append,
        env=environment(login),
    )
    transport = ControlTransport(subprocess(options, within=bound_to_parent()), on_exit=on_exit)
    return Launch(transport=transport, options=options, stderr=stderr)


class _Subprocess(SubprocessCLITransport):
    """The SDK's transport, whose process this package starts and ends.

    The SDK (0.2.184) would start it with this process's whole environment, which it reads with a `KeyError` if another
    thread removes a variable meanwhile. At exit it would signal the processes it has started: also in a forked child,
    whose parent's they are, and while asyncio looks whether one has ended, which then complains on stderr.
    """

    def __init__(self, options: ClaudeAgentOptions, *, within: Sequence[str]) -> None:
        super().__init__(prompt=_no_prompt(), options=options)
        self._within = within

    async def connect(self) -> None:
        if self._process is not None:
            return
        options = self._options
        try:
            # A session of its own keeps a terminal's or a notebook's Ctrl-C from the process: that is for the caller.
            self._process = process = await anyio.open_process(
                [*self._within, *self._build_command()],
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                cwd=options.cwd,
                env={**options.env, "PWD": str(options.cwd)},
                start_new_session=True,
            )
        except FileNotFoundError as error:
            if options.cwd and not Path(options.cwd).exists():  # noqa: ASYNC240 - one look, after a failure
                raise CLIConnectionError(f"the working folder {options.cwd} does not exist") from error
            raise CLINotFoundError(NO_CLI) from error
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._stdin_stream = TextSendStream(process.stdin)
        self._stdout_stream = TextReceiveStream(process.stdout)
        self._stderr_stream = TextReceiveStream(process.stderr)
        self._stderr_task = spawn_detached(self._handle_stderr())
        self._ready = True


def subprocess(options: ClaudeAgentOptions, *, within: Sequence[str]) -> SubprocessCLITransport:
    """Return the SDK's own transport for a process that is yet to be spawned, and gets its prompts later.

    Its environment is `options.env` and nothing else. `within` are the words in front of the CLI's command line.
    """
    return _Subprocess(options, within=within)


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


def cli_of(settings: Settings) -> Path:
    """Return the CLI to start. Raises `CLINotFoundError` if there is none."""
    found = find_cli(settings.cli_path)
    if found is None:
        raise CLINotFoundError(NO_CLI)
    return found


def environment(login: Login, *, own: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the whole environment of a process: what this process passes on, and what is set for it.

    `own` are the variables that are set, those of a plain worker if it is `None`.
    """
    own = login.environment() if own is None else own
    # Other threads may change `os.environ` meanwhile, so that a name in the list may be gone.
    kept = {name: os.environ.get(name) for name in list(os.environ) if login.passes_on(name)}
    return {
        **{name: value for name, value in kept.items() if value is not None},
        "PATH": absolute_path(kept.get("PATH")),
        "CLAUDE_CODE_ENTRYPOINT": "sdk-py",
        "CLAUDE_CODE_TMPDIR": str(private_folder()),
        **own,
        "CLAUDE_AGENT_SDK_VERSION": __version__,
    }


def bound_to_parent(death_signal: str = "KILL") -> list[str]:
    """Return the words in front of a command that is to get a signal when this Python process ends in any way.

    On Linux, `setpriv` asks the kernel for that. The kernel sends the signal when the *thread* that spawned the process
    ends, so the background loop's own long-lived one spawns. Without `setpriv`, a shell looks once a second.
    """
    setpriv = find_program("setpriv") if sys.platform == "linux" else None
    if setpriv is not None:
        return [str(setpriv), "--pdeathsig", death_signal, "--"]
    sleep = find_program("sleep") or "/bin/sleep"
    return [_SHELL, "-c", _WATCHED, "sh", str(os.getpid()), death_signal, str(sleep)]


def supervised() -> list[str] | None:
    """Return the words in front of a command that is to end with all that it has started, detached or not.

    `None` if that cannot be done here: only Linux hands a process the orphans among its descendants, and a program
    that was frozen into one file has no Python to run the supervisor.
    """
    if sys.platform != "linux" or not sys.executable or getattr(sys, "frozen", False):
        return None
    return [sys.executable, "-I", "-S", str(_SUPERVISOR), str(os.getpid())]


async def _no_prompt() -> AsyncIterator[dict[str, Any]]:
    return
    yield {}
