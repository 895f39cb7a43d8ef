"""One Claude Code process from boot to close. It serves one call after the other and is reset after each.

A worker has the states and the lease; `steps.py` has what is said to the process for a call, and `cli_process.py` the
process itself. `pool/pool.py` assigns calls to workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import anyio
import psutil

from .. import models
from ..call import PlainCall
from ..errors import CallFailed, Failure, WorkerLost
from ..in_force import policy_stamp
from ..login import Login
from ..settings import Settings
from . import launch
from .lease import Lease, Reading
from .steps import CallSteps

_MEASURE_MEMORY_EVERY: Final = 8
"""Measure memory once every so many calls. One measurement takes a fifth of a millisecond."""
_TERMINATE_WITHIN_S: Final = 1.0


class State(enum.Enum):
    """The state of a worker. Only an idle one accepts a call."""

    BOOTING = "booting"
    IDLE = "idle"
    BUSY = "busy"
    RESETTING = "resetting"
    CLOSED = "closed"


@dataclass(frozen=True, kw_only=True)
class CallTiming:
    """How long a call held its worker, from its start until the worker was idle again."""

    api_s: float
    """Seconds spent waiting for the API."""
    own_s: float
    """All other seconds: loading, reading and clearing. Nearly all of it is CPU time."""


class Worker:
    """A Claude Code process. Use it only on the event loop that created it.

    It calls `on_change` after each change of its state, except those by `start` and `ask_usage`.
    """

    def __init__(self, login: Login, *, settings: Settings, on_change: Callable[[Worker], None]) -> None:
        self.login = login
        self.system = ""
        """The system prompt in force. It can be replaced but not removed."""
        self.state = State.BOOTING
        self.calls = 0
        self.used_at = time.monotonic()
        self.growth_mib = 0.0
        """How much more memory the process holds than when it was first measured, after its first call."""
        self.last_timing: CallTiming | None = None
        """How long the last call took, if it was answered. The pool reads it and sets it to None."""
        self.failure: CallFailed | None = None
        """Why the worker closed, unless its owner closed it."""
        self._first_mib: float | None = None
        self._lease: Lease | None = None
        self._settings = settings
        self._on_change = on_change
        self._policies = login.policies
        self._cli = launch.plain_process(login, settings=settings, on_exit=self._exited)
        self._steps = CallSteps(self._cli, settings=settings)
        self._life = asyncio.create_task(self._boot(), name="claude-code-boot")
        self._closing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Worker {self.state.value} pid={self.pid} calls={self.calls}>"

    @property
    def pid(self) -> int | None:
        """Return the process id, or None before the process is spawned."""
        return self._cli.pid

    @property
    def asked_at(self) -> float | None:
        """Return when the API was asked (`time.monotonic`), or None if no call in progress has asked it."""
        return self._lease.asked_at if self._lease is not None and self.state is State.BUSY else None

    @property
    def is_alive(self) -> bool:
        """Return whether the worker has, or is starting, a process."""
        return self.state is not State.CLOSED

    def start(self, call: PlainCall) -> Lease:
        """Start serving a call and return its lease.

        The worker must be idle. If it has a system prompt, the call must have one, too.
        """
        assert self.state is State.IDLE, self
        assert call.system or not self.system, self
        self._lease = lease = Lease(call, wake=self._cli.wake)
        self.state = State.BUSY
        self.calls += 1
        self._life = asyncio.create_task(self._serve(lease), name="claude-code-call")
        return lease

    def detach_after_fork(self) -> None:
        """Close a forked child's copies of the pipes to the process."""
        self._cli.detach_after_fork()

    async def _boot(self) -> None:
        try:
            self._policies = policy_stamp()
            with anyio.fail_after(self._settings.boot_timeout_s):
                server_info = await self._cli.boot()
                await self._steps.disarm()
            if self.login.cloud is None:  # a cloud's models are part of its login
                lasting = filter(_is_lasting, server_info.get("models", []))
                models.learn({model["value"]: model["resolvedModel"] for model in lasting})
        except Exception as error:
            self._give_up(error, is_sent=False)
        else:
            self.used_at = time.monotonic()
            self._set_state(State.IDLE)

    def _check_policies(self) -> None:
        """Raise `WorkerLost` if a policy file has changed: this CLI may not have read it yet, a new process will."""
        if policy_stamp() != self._policies:
            raise WorkerLost(Failure(kind="lost", text="the managed settings have changed since the process started"))

    async def _serve(self, lease: Lease) -> None:
        began = time.monotonic()
        try:
            self._check_policies()
            await self._steps.load(lease.call)
            if lease.call.system != self.system:
                await self._steps.set_system_prompt(lease.call)
                self.system = lease.call.system
            if not lease.is_abandoned:
                lease.is_sent = True
                self._steps.send_prompt(lease.call, message_id=lease.id)
                await self._read(lease)
            self._set_state(State.RESETTING)
            await self._steps.reset()
        except Exception as error:
            self._give_up(error, is_sent=lease.is_sent)
        else:
            self.used_at = time.monotonic()
            is_answered = lease.is_over and lease.failed is None
            timing = CallTiming(api_s=lease.api_s, own_s=self.used_at - began - lease.api_s)
            self.last_timing = timing if is_answered else None
            if self.calls % _MEASURE_MEMORY_EVERY == 1:
                self._measure_memory()
            self._set_state(State.IDLE)

    def ask_usage(self, tell: Callable[[dict[str, Any]], None]) -> None:
        """Request the subscription's usage and pass the CLI's reply to `tell`.

        The CLI makes one small request for it, which does not use a model. Requires an idle worker, and returns it to
        idle. The callback is not called if the CLI refuses the request.
        """
        assert self.state is State.IDLE, self
        self.state = State.RESETTING
        self._life = asyncio.create_task(self._ask_usage(tell), name="claude-code-usage")

    async def _ask_usage(self, tell: Callable[[dict[str, Any]], None]) -> None:
        try:
            reply = await self._steps.usage()
            if reply is not None:
                tell(reply)
        except Exception as error:
            self._give_up(error, is_sent=False)
        else:
            self._set_state(State.IDLE)

    def _measure_memory(self) -> None:
        with contextlib.suppress(psutil.Error):
            mib = psutil.Process(self.pid).memory_info().rss / 2**20
            self._first_mib = self._first_mib or mib
            self.growth_mib = mib - self._first_mib

    async def _read(self, lease: Lease) -> None:
        """Deliver the call's events until it is over, then end the lease, with the failure if there is one.

        If the CLI has not sent a result by then, interrupt it.
        """
        reading = Reading(lease.id, max_tokens=lease.call.max_tokens)
        try:
            await self._read_to_its_end(lease, reading)
        except asyncio.CancelledError:  # the process is closed, and its report of the request may still be unread
            lease.note_requests(max(1, reading.requests))
            raise

    async def _read_to_its_end(self, lease: Lease, reading: Reading) -> None:
        while not reading.is_over and not lease.is_abandoned:
            events = reading.take(await self._cli.next_frame())
            if lease.asked_at is None and reading.is_asked:
                lease.asked_at = time.monotonic()
            lease.note_requests(reading.requests)
            if reading.is_answered:
                # Now rather than at the reset: if the response's usage is 0, the CLI would send a second request.
                self._steps.disarm_early()
            if events is not None:
                lease.deliver(*events)
        if rest := reading.rest():
            lease.deliver(*rest)
        lease.limit, lease.ended_by = reading.limit, reading.ended_by
        lease.end(reading.failure())
        if not reading.has_result:
            await self._steps.interrupt(reading)
            lease.note_requests(reading.requests)

    def _exited(self) -> None:
        """Close an idle worker whose process has ended. A call in progress fails at its own next step."""
        if self.state is State.IDLE:
            self.failure = WorkerLost(Failure(kind="lost", text="the process ended"))
            self.close()

    def _give_up(self, error: Exception, *, is_sent: bool) -> None:
        """Close the worker after a failure. The call in progress fails with it."""
        from ._sdk import from_sdk

        failed = from_sdk(error, is_sent=is_sent)
        if self.state is State.BOOTING and (line := self._cli.last_line_of_stderr):
            text = f"{failed.failure.text}: {line}"
            shown = type(failed)(replace(failed.failure, text=text))
            shown.__cause__ = failed.__cause__
            failed = shown
        self.failure = failed
        self.close()

    def _set_state(self, state: State) -> None:
        if self.state is not State.CLOSED:
            self.state = state
            self._on_change(self)

    def close(self) -> asyncio.Task[None]:
        """End the process and accept no more calls. Idempotent; the task returned is done once the process is gone."""
        if self._closing is None:
            self.state = State.CLOSED
            if self._lease is not None:
                closed = Failure(kind="lost", text="the process was closed")
                self._lease.end(self.failure or CallFailed(closed))
            self._closing = asyncio.create_task(self._close(), name="claude-code-close")
            self._on_change(self)
        return self._closing

    async def _close(self) -> None:
        self._life.cancel()
        await self._steps.cancel()
        await self._cli.end(terminate_s=_TERMINATE_WITHIN_S)


def _is_lasting(model: dict[str, Any]) -> bool:
    # "default" depends on the account: for another login it may be another model.
    return bool(model.get("resolvedModel")) and model.get("value") != "default"
