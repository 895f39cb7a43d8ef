"""The connection to one Claude Code process: the SDK's subprocess transport with two additions.

`control` sends our own control requests, which the TypeScript SDK supports and the Python SDK does not. `frames` has
the conversation's frames as plain dicts: the SDK's route for them, two queues and a class for each frame, would be a
fifth of the time that Python spends on a call. The SDK does the framing, the process handling and the handshake.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import anyio
from claude_agent_sdk import CLIConnectionError, Transport

from ..cli_protocol import Frame
from ..errors import StepRefused
from ._sdk import Subprocess, with_initialize_fields

_CONTROL: Final = frozenset({"control_request", "control_response", "control_cancel_request"})


class ControlTransport(Transport):
    """The SDK's transport, extended by our own control requests. Use it on one event loop only."""

    def __init__(
        self,
        inner: Subprocess,
        *,
        initialize: Mapping[str, Any] | None = None,
        on_exit: Callable[[], None] = lambda: None,
    ) -> None:
        """Start to read. The fields in `initialize` are added to the SDK's frame of this name."""
        self._inner = inner
        self._initialize = initialize
        self._on_exit = on_exit
        self.frames: asyncio.Queue[Frame | None] = asyncio.Queue()
        """The conversation's frames. `None` is a wake-up: check whether the process exited or the caller left."""
        self._sdk_frames: asyncio.Queue[Frame | None] = asyncio.Queue()
        self._pending: dict[str, asyncio.Future[Frame]] = {}
        self._closing = asyncio.Lock()
        self.exited = asyncio.Event()
        """Set once the process has ended."""
        self.exit_error: Exception | None = None
        self._reader = asyncio.create_task(self._read(), name="claude-code-reader")

    async def connect(self) -> None:
        """Do nothing: the process runs, and is being read. The SDK's client calls this."""

    async def send(self, *frames: Frame) -> None:
        """Write our own frames in a single write: each write through the SDK and asyncio costs more than the bytes."""
        await self._inner.write("".join(json.dumps(frame) + "\n" for frame in frames))

    async def control(self, subtype: str, *, timeout_s: float, then: tuple[Frame, ...] = (), **fields: Any) -> Frame:
        """Send a control request, followed by the frames `then`. Return the body of the reply, or `{}` if it has none.

        Raises `StepRefused` if the reply is not a success, `TimeoutError` after `timeout_s` seconds, and the exception
        of `ended` if the process has ended.
        """
        if self.exited.is_set():
            raise self.ended()
        key = f"litellm-{uuid.uuid4().hex}"
        reply: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._pending[key] = reply
        frame = {"type": "control_request", "request_id": key, "request": {"subtype": subtype, **fields}}
        try:
            with anyio.fail_after(timeout_s):
                await self.send(frame, *then)
                response = await reply
        finally:
            self._pending.pop(key, None)
            if reply.done() and not reply.cancelled():
                reply.exception()  # retrieve it, so that asyncio does not log it as unhandled
        if response.get("subtype") != "success":
            raise StepRefused(subtype)
        body: Frame = response.get("response") or {}
        return body

    def ended(self) -> Exception:
        """Return the exception to raise because the process has ended: what ended it, if that is known."""
        return self.exit_error or CLIConnectionError("the process has ended")

    async def write(self, data: str) -> None:
        """Write data for the SDK's client, with our own fields if it is the frame `initialize`."""
        if self._initialize and (extended := with_initialize_fields(data, self._initialize)) is not None:
            self._initialize, data = None, extended
        await self._inner.write(data)

    async def read_messages(self) -> AsyncIterator[Frame]:
        """Yield the control frames meant for the SDK's client, until the process ends.

        The error that ended it is stored in `exit_error` rather than raised: the SDK would log it, and its text may
        quote the conversation.
        """
        while (frame := await self._sdk_frames.get()) is not None:
            yield frame

    async def _read(self) -> None:
        try:
            async for frame in self._inner.read_messages():
                if frame.get("type") in _CONTROL:
                    self._take_control(frame)
                else:
                    self.frames.put_nowait(frame)
        except Exception as error:
            self.exit_error = error
        finally:
            self.exited.set()
            self.frames.put_nowait(None)
            self._sdk_frames.put_nowait(None)
            for waiting in self._pending.values():
                if not waiting.done():
                    waiting.set_exception(self.ended())
            self._on_exit()

    def _take_control(self, frame: Frame) -> None:
        response = frame.get("response", {})
        waiting = self._pending.get(response.get("request_id", ""))
        if waiting is None:
            self._sdk_frames.put_nowait(frame)
        elif not waiting.done():
            waiting.set_result(response)

    async def close(self) -> None:
        """End the process and stop reading. May be called twice: the SDK's client calls it if the handshake fails."""
        async with self._closing:
            await self._inner.close()
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    @property
    def pid(self) -> int | None:
        """Return the process id, or None after `close`."""
        return self._inner.pid

    def send_signal(self, signal: int) -> None:
        """Send a signal to the process, if it still runs."""
        self._inner.send_signal(signal)

    def close_pipes(self) -> None:
        """Close this Python process's ends of the pipes, without their event loop."""
        self._inner.close_pipes()

    def is_ready(self) -> bool:
        """Return whether the process can be written to."""
        return self._inner.is_ready() and not self.exited.is_set()

    async def end_input(self) -> None:
        """Close the process's stdin."""
        await self._inner.end_input()
