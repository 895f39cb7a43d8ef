"""The connection to one Claude Code process: its frames, our control requests, and its last line on stderr.

The process speaks lines of JSON. They are read and written here, in the event loop's own callbacks: through the SDK's
transport, with its tasks, locks and streams, each line costs several times as much CPU. Only the SDK's client goes
through the SDK's interface (`_sdk.ClientTransport`), for its handshake.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
from collections.abc import Callable
from typing import Any, Final, cast

from ..cli_protocol import Frame
from ..errors import ConnectionBroken, StepRefused

_CONTROL: Final = frozenset({"control_request", "control_response", "control_cancel_request"})
_STDIN, _STDOUT, _STDERR = range(3)
_LONGEST_LINE_BYTES: Final = 256 << 20


class Connection(asyncio.SubprocessProtocol):
    """The ends of a process's pipes. `Start.spawn` connects it. Use it on one event loop only."""

    def __init__(self, *, on_exit: Callable[[], None] = lambda: None) -> None:
        """Prepare a connection. `on_exit` is called when no more frames will come."""
        self._on_exit = on_exit
        self.frames: asyncio.Queue[Frame | None] = asyncio.Queue()
        """The conversation's frames. `None` is a wake-up: check whether the process exited or the caller left."""
        self.client_frames: asyncio.Queue[Frame | None] = asyncio.Queue()
        """The control frames for the SDK's client, and `None` when no more will come."""
        self.exited = asyncio.Event()
        """Set once no more frames will come, normally because the process has ended."""
        self._exit_error: Exception | None = None
        self._transport: asyncio.SubprocessTransport | None = None
        self._unread = {_STDOUT: bytearray(), _STDERR: bytearray()}
        self._last_on_stderr = b""
        self._is_read = False
        self._gone = asyncio.Event()
        self._keys = itertools.count(1)
        self._pending: dict[str, asyncio.Future[Frame]] = {}

    async def control(self, subtype: str, *, timeout_s: float, then: tuple[Frame, ...] = (), **fields: Any) -> Frame:
        """Send a control request, followed by the frames `then`. Return the body of the reply, or `{}` if it has none.

        Raises `StepRefused` if the reply is not a success, `TimeoutError` after `timeout_s` seconds, and the exception
        of `ended` if the process has ended.
        """
        loop = asyncio.get_running_loop()
        key = f"litellm-{next(self._keys)}"
        self.send({"type": "control_request", "request_id": key, "request": {"subtype": subtype, **fields}}, *then)
        reply = self._pending[key] = loop.create_future()
        deadline = loop.call_later(timeout_s, _fail, reply, TimeoutError())
        try:
            response = await reply
        finally:
            deadline.cancel()
            del self._pending[key]
            if reply.done() and not reply.cancelled():
                reply.exception()  # retrieve it, so that asyncio does not log it as unhandled
        if response.get("subtype") != "success":
            raise StepRefused(subtype)
        body: Frame = response.get("response") or {}
        return body

    def send(self, *frames: Frame) -> None:
        """Send frames in a single write. Raises the exception of `ended` if the process has ended."""
        self.write("".join(json.dumps(frame) + "\n" for frame in frames))

    def write(self, lines: str) -> None:
        """Send lines, as `send` does. They wait in memory until the process reads them."""
        if self.exited.is_set() or self._stdin.is_closing():
            raise self.ended()
        self._stdin.write(lines.encode())

    def ended(self) -> Exception:
        """Return the exception to raise because no more frames will come."""
        return self._exit_error or ConnectionBroken("the process ended")

    @property
    def last_line_on_stderr(self) -> str:
        """Return what the process said last on stderr. It may contain secrets, and the prompt once one was sent."""
        return (self._unread[_STDERR].strip() or self._last_on_stderr).decode(errors="replace")

    @property
    def pid(self) -> int | None:
        """Return the process id, or None before the process is spawned."""
        return self._transport.get_pid() if self._transport is not None else None

    def send_signal(self, signal: int) -> None:
        """Send a signal to the process, if it still runs."""
        # asyncio's method polls the process first, and so may take the exit status before asyncio's child watcher,
        # which then logs a warning on stderr that the status is unknown.
        if self.pid is not None and not self._gone.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal)

    def end_input(self) -> None:
        """Close the process's stdin."""
        self._stdin.close()

    async def wait(self) -> None:
        """Wait until the process has ended."""
        await self._gone.wait()

    def close(self) -> None:
        """Close the pipes of a process that has ended."""
        if self._transport is not None:
            self._transport.close()

    def close_files(self) -> None:
        """Close the files of the pipes directly: in a forked child, the event loop belongs to the parent.

        uvloop does not expose the files, so they stay open.
        """
        for number in (_STDIN, _STDOUT, _STDERR):
            pipe = self._transport.get_pipe_transport(number) if self._transport is not None else None
            if pipe is not None and (file := pipe.get_extra_info("pipe")) is not None:
                file.close()

    @property
    def _stdin(self) -> asyncio.WriteTransport:
        assert self._transport is not None, "not spawned"
        return cast(asyncio.WriteTransport, self._transport.get_pipe_transport(_STDIN))

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the process that was spawned."""
        self._transport = cast(asyncio.SubprocessTransport, transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Read the lines that are complete. A chunk begins and ends anywhere."""
        unread = self._unread[fd]
        unread += data
        *lines, rest = unread.split(b"\n") if b"\n" in data else [unread]
        self._unread[fd] = rest
        try:
            if len(rest) > _LONGEST_LINE_BYTES:
                raise ConnectionBroken("the process wrote a line that is too long")
            for line in lines:
                if fd == _STDERR:
                    self._last_on_stderr = bytes(line.strip()) or self._last_on_stderr
                elif line.startswith(b"{") and not self.exited.is_set():  # some CLIs write other messages, too
                    self._take(_parsed(line))
        except Exception as error:
            self._end(error)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """End the connection if there is nothing more to read, and the process has ended."""
        self._is_read = self._is_read or fd == _STDOUT
        self._end_if_over()

    def process_exited(self) -> None:
        """End the connection if there is nothing more to read."""
        self._gone.set()
        self._end_if_over()

    def _end_if_over(self) -> None:
        if self._is_read and self._gone.is_set():
            self._end(None)

    def _end(self, error: Exception | None) -> None:
        if self.exited.is_set():
            return
        self._exit_error = error
        self.exited.set()
        self.frames.put_nowait(None)
        self.client_frames.put_nowait(None)
        for waiting in self._pending.values():
            _fail(waiting, self.ended())
        self._on_exit()

    def _take(self, frame: Frame) -> None:
        if frame.get("type") not in _CONTROL:
            self.frames.put_nowait(frame)
            return
        response = frame.get("response", {})
        waiting = self._pending.get(response.get("request_id", ""))
        if waiting is None:
            self.client_frames.put_nowait(frame)
        elif not waiting.done():
            waiting.set_result(response)


def _parsed(line: bytearray) -> Frame:
    try:
        frame: Frame = json.loads(line.decode())  # of bytes, `json` would guess the encoding
    except (ValueError, RecursionError):
        raise ConnectionBroken("the process wrote something that is not JSON") from None  # the error has the line
    return frame


def _fail(waiting: asyncio.Future[Any], error: Exception) -> None:
    if not waiting.done():
        waiting.set_exception(error)
