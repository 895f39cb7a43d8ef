"""One Claude Code process: its boot, its frames and control requests, and its end. Workers and agents both use it.

What is said to the process, and which of its frames matter, is left to `worker.py` and to `agents/`.

The SDK is imported once the first process has been spawned: that takes half a second, in which the process boots.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final

import anyio

from .. import cli_protocol as cli
from ..auth import wrong_login
from ..cli_protocol import Frame
from ..errors import CallFailed, Failure
from ..in_force import SettingsGuard
from ..login import Login
from ..settings import Settings
from .connection import Connection
from .spawning import Start

if TYPE_CHECKING:
    from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient

_SPAWN_WITHIN_S: Final = 5.0
_CLOSE_WITHIN_S: Final = 5.0


class CliProcess:
    """A process from `boot` to `end`. Use it on one event loop only."""

    def __init__(
        self,
        start: Start,
        *,
        login: Login,
        guard: SettingsGuard,
        settings: Settings,
        client_options: ClaudeAgentOptions | None = None,
        initialize: Mapping[str, Any] | None = None,
        on_exit: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare a process; nothing is spawned yet.

        The SDK's client gets `client_options`, and `initialize` has fields that are added to its handshake. `on_exit`
        is called when the process has ended.
        """
        self._start = start
        self._login = login
        self._guard = guard
        self._settings = settings
        self._client_options = client_options
        self._initialize = initialize
        self._connection = Connection(on_exit=on_exit)
        self._spawning: asyncio.Task[None] | None = None
        self._client: ClaudeSDKClient | None = None

    @property
    def pid(self) -> int | None:
        """Return the process id, or None before the process is spawned."""
        return self._connection.pid

    @property
    def last_line_of_stderr(self) -> str:
        """Return what the process said last on stderr, without secrets. Show it before a prompt was sent only."""
        return self._login.redact(self._connection.last_line_on_stderr)

    async def boot(self) -> dict[str, Any]:
        """Spawn the process and do the handshake. Return the server info that the CLI reports.

        Raises `CallFailed` if a setting is refused, or if the process would pay in another way than its login says. Has
        no deadline of its own.
        """
        self._guard.check_files()  # before the spawn: the CLI may send the login as soon as it starts
        await self.spawn()
        await self.check_settings()
        server_info = await self.initialize()
        await self.check_settings()  # again, because those of Anthropic's service may have arrived
        self._guard.check_files()  # again, because a file may have been written while the CLI started
        return server_info

    async def spawn(self) -> None:
        """Spawn the process and start to read its frames.

        If this is cancelled, the spawn still completes; `end` waits for the process and terminates it.
        """
        if self._spawning is None:
            self._spawning = asyncio.create_task(self._spawn(), name="claude-code-spawn")
        await asyncio.shield(self._spawning)

    async def _spawn(self) -> None:
        await self._start.spawn(self._connection)
        from claude_agent_sdk import ClaudeSDKClient

        from ._sdk import ClientTransport

        transport = ClientTransport(self._connection, initialize=self._initialize)
        self._client = ClaudeSDKClient(self._client_options, transport=transport)

    async def initialize(self) -> dict[str, Any]:
        """Do the handshake and return the server info. Raises `CallFailed` if the process would pay in another way.

        If the process ends meanwhile, raises what ended it: the SDK's client would not notice.
        """
        assert self._client is not None, "not spawned"
        connecting = asyncio.ensure_future(self._client.connect())
        exited = asyncio.ensure_future(self._connection.exited.wait())
        try:
            await asyncio.wait({connecting, exited}, return_when=asyncio.FIRST_COMPLETED)
            if not connecting.done():
                raise self._connection.ended()
            await connecting
        finally:
            connecting.cancel()
            exited.cancel()
        server_info = await self._client.get_server_info() or {}
        if (why := wrong_login(self._login, server_info.get("account") or {})) is not None:
            raise CallFailed(Failure(kind="authentication_failed", text=why))
        return server_info

    async def check_settings(self, *, timeout_s: float | None = None) -> None:
        """Raise `CallFailed` if a setting is in force that the guard refuses."""
        self._guard.check_process(await self.control(cli.GET_SETTINGS, timeout_s=timeout_s))

    async def control(
        self, subtype: str, *, timeout_s: float | None = None, then: tuple[Frame, ...] = (), **fields: Any
    ) -> Frame:
        """Send a control request, followed by the frames `then`, and return the reply: see `Connection.control`.

        The timeout is `Settings.step_timeout_s` unless given.
        """
        timeout_s = self._settings.step_timeout_s if timeout_s is None else timeout_s
        return await self._connection.control(subtype, timeout_s=timeout_s, then=then, **fields)

    def send(self, *frames: Frame) -> None:
        """Send frames of the conversation in a single write. Raises what ended the process."""
        self._connection.send(*frames)

    async def next_frame(self) -> Frame | None:
        """Return the next frame of the conversation, or `None` after `wake`. Raises what ended the process."""
        frame = await self._connection.frames.get()
        if frame is None and self._connection.exited.is_set():
            raise self._connection.ended()
        return frame

    def wake(self) -> None:
        """Make `next_frame` return `None`."""
        self._connection.frames.put_nowait(None)

    async def end(self, *, politely_s: float = 0.0, terminate_s: float) -> None:
        """End the process. Every await has a deadline.

        If `politely_s` is not 0, its stdin is closed first, and it gets this time to end by itself, for example to save
        a conversation. It gets `terminate_s` after SIGTERM, then SIGKILL.
        """
        if self._spawning is not None:
            with anyio.move_on_after(_SPAWN_WITHIN_S):
                await asyncio.gather(asyncio.shield(self._spawning), return_exceptions=True)
        if self._connection.pid is None:
            return
        if politely_s:
            self._connection.end_input()
            with anyio.move_on_after(politely_s):
                await self._connection.wait()
        self._connection.send_signal(signal.SIGTERM)
        with anyio.move_on_after(terminate_s):
            await self._connection.wait()
        self._connection.send_signal(signal.SIGKILL)
        with anyio.move_on_after(_CLOSE_WITHIN_S):
            if self._client is not None:
                with contextlib.suppress(Exception):  # it fails if the process was killed during its handshake
                    await self._client.disconnect()
            await self._connection.wait()
        self._connection.close()

    def detach_after_fork(self) -> None:
        """Close a forked child's copies of the pipes. Only the files are closed: their event loop is the parent's.

        The process still ends with the parent, because of the command prefix that it is launched with.
        """
        self._connection.close_files()


async def finished(clean_up: Coroutine[Any, Any, None]) -> None:
    """Wait until a clean-up is over, even if the current task is cancelled meanwhile."""
    ending = asyncio.ensure_future(clean_up)
    try:
        await asyncio.shield(ending)
    except asyncio.CancelledError:
        await ending
        raise
