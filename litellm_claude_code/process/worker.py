"""One Claude Code process from boot to close. It serves one call after the other and is reset after each.

A call is loaded (the Messages API body as a setting, the system prompt with a control request), sent (one user message,
the prompt) and read (the API's own events). Then the conversation is cleared, so that the next call sees nothing of it.
tests/test_wire.py pins the protocol against the real CLI. `pool/pool.py` assigns calls to workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import math
import signal
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import anyio
import psutil
from claude_agent_sdk import ClaudeSDKClient, CLIConnectionError

from .. import models
from ..call import PlainCall
from ..errors import CallFailed, Failure, StepRefused, WorkerLost
from ..in_force import Guard, policy_stamp
from ..login import Login
from ..settings import Settings
from . import launch
from ._sdk import from_sdk
from .guard import LEFT_OUT_BLOCK, UNSENDABLE_BODY
from .lease import Lease, Reading
from .transport import Frame

_PROMPT_CHARACTERS: Final = 4_000
# While this is set, the CLI 2.1.327 does not request the usage.
_QUIET: Final = "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"
# The CLI's own default timeout for the API's response. It is raised for a call with a longer timeout.
_API_TIMEOUT_MS: Final = 600_000
_INTERRUPT_WITHIN_S: Final = 3.0
_INTERRUPT_AGAIN_AFTER_S: Final = 0.2
_ABANDONED_GRACE_S: Final = 1.0
"""How long after the call's timeout a process that has not accepted the call is closed."""
_MEASURE_MEMORY_EVERY: Final = 8
"""Measure memory once every so many calls. One measurement takes a fifth of a millisecond."""
_CLOSE_POLITELY_S: Final = 1.0
_CLOSE_WITHIN_S: Final = 5.0


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
        self.cycle: CallTiming | None = None
        """How long the last call took, if it was answered. The pool reads it and sets it to None."""
        self.failure: CallFailed | None = None
        """Why the worker closed, unless its owner closed it."""
        self._first_mib: float | None = None
        self._turn: Lease | None = None
        self._disarming: asyncio.Task[None] | None = None
        """The task that replaces the body with an unsendable one, started at the first event of the response."""
        self._settings = settings
        self._on_change = on_change
        self._guard = Guard(environment=login.environment())
        self._policies = login.policies
        self._launch = launch.prepare(login, settings=settings, on_exit=self._exited)
        self._client: ClaudeSDKClient | None = None
        self._life = asyncio.create_task(self._boot(), name="claude-code-boot")
        self._closing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Worker {self.state.value} pid={self.pid} calls={self.calls}>"

    @property
    def pid(self) -> int | None:
        """Return the process id, or None before the process is spawned."""
        return self._launch.transport.pid

    @property
    def asked_at(self) -> float | None:
        """Return when the API was asked (`time.monotonic`), or None if no call in progress has asked it."""
        return self._turn.asked_at if self._turn is not None and self.state is State.BUSY else None

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
        self._turn = turn = Lease(call, wake=lambda: self._launch.transport.frames.put_nowait(None))
        self.state = State.BUSY
        self.calls += 1
        self._life = asyncio.create_task(self._serve(turn), name="claude-code-call")
        return turn

    def disown(self) -> None:
        """Close a forked child's copies of the pipes to the process."""
        self._launch.transport.disown()

    async def _boot(self) -> None:
        try:
            self._policies = policy_stamp()
            self._guard.check_files()  # before the spawn: the CLI may send the login as soon as it starts
            with anyio.fail_after(self._settings.boot_timeout_s):
                await self._launch.transport.connect()
                await self._control("apply_flag_settings", settings={"env": {}})
                self._guard.check_process(await self._control("get_settings"))
                await self._initialize()
            self._guard.check_files()  # again, because a file may have been written while the CLI started
        except Exception as error:
            self._give_up(error, is_sent=False)
        else:
            self.used_at = time.monotonic()
            self._set_state(State.IDLE)

    def _check_policies(self) -> None:
        """Raise `WorkerLost` if a policy file has changed: this CLI may not have read it yet, a new process will."""
        if policy_stamp() != self._policies:
            raise WorkerLost(Failure(kind="lost", text="the managed settings have changed since the process started"))

    async def _serve(self, turn: Lease) -> None:
        began = time.monotonic()
        try:
            self._check_policies()
            if self.calls == 1:
                await self._disarm()
            await self._load(turn.call)
            if turn.call.system != self.system:
                await self._set_system_prompt(turn.call)
            if not turn.is_abandoned:
                await self._send_prompt(turn)
                await self._read(turn)
            self._set_state(State.RESETTING)
            await self._reset()
        except Exception as error:
            self._give_up(error, is_sent=turn.is_sent)
        else:
            self.used_at = time.monotonic()
            is_answered = turn.is_over and turn.failed is None
            self.cycle = CallTiming(api_s=turn.api_s, own_s=self.used_at - began - turn.api_s) if is_answered else None
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
            await self._control("apply_flag_settings", settings={"env": {_QUIET: ""}})
            with contextlib.suppress(StepRefused):
                tell(await self._control("get_usage", skip_behaviors=True))
            await self._control("apply_flag_settings", settings={"env": {_QUIET: "1"}})
        except Exception as error:
            self._give_up(error, is_sent=False)
        else:
            self._set_state(State.IDLE)

    def _measure_memory(self) -> None:
        with contextlib.suppress(psutil.Error):
            mib = psutil.Process(self.pid).memory_info().rss / 2**20
            self._first_mib = self._first_mib or mib
            self.growth_mib = mib - self._first_mib

    async def _initialize(self) -> None:
        """Connect the SDK's client, and learn from the CLI's reply which models its aliases stand for."""
        transport = self._launch.transport
        self._client = ClaudeSDKClient(self._launch.options, transport=transport)
        server_info = await launch.shake_hands(self._client, transport, login=self.login)
        lasting = filter(_is_lasting, server_info.get("models", []))
        models.learn({model["value"]: model["resolvedModel"] for model in lasting})

    async def _load(self, call: PlainCall) -> None:
        """Put the call's body in force. Settings merge, so every call sends the same keys.

        Settings that Anthropic's service sends are not in a file. If the process can receive them, this also requests
        the settings in force and checks them. Both control requests are sent together: the check adds a third of a
        millisecond, where a separate round trip would take more than one.
        """
        env = {
            "CLAUDE_CODE_EXTRA_BODY": call.extra_body,
            "CLAUDE_CODE_EFFORT_LEVEL": call.effort or "unset",
            "DISABLE_PROMPT_CACHING": "" if call.cache_ttl else "1",
            "CLAUDE_CODE_PROMPT_CACHE_TTL": call.cache_ttl or "",
            "API_TIMEOUT_MS": str(max(_API_TIMEOUT_MS, math.ceil(1000 * (call.timeout_s or 0)))),
        }
        settings = {"model": call.model, "env": env}
        timeout_s = self._control_timeout_s(call)
        load = self._control("apply_flag_settings", within_s=timeout_s, settings=settings)
        if not self.login.gets_settings:
            await load
            return
        replies = await asyncio.gather(load, self._control("get_settings", within_s=timeout_s))
        self._guard.check_process(replies[1])

    async def _set_system_prompt(self, call: PlainCall) -> None:
        """Put the system prompt in force, unchanged. Takes half a millisecond, or 15 ms for three megabytes.

        The request must name the current model: for a different one the CLI makes a probe request.
        """
        await self._control(
            "set_model",
            within_s=self._control_timeout_s(call),
            model=call.model,
            system_prompt=call.system,
            only_if_model_is_current=True,
        )
        self.system = call.system

    async def _send_prompt(self, turn: Lease) -> None:
        """Make the CLI send its request. On the wire, the call's body replaces this message if it is in force."""
        turn.is_sent = True
        text = turn.call.prompt[:_PROMPT_CHARACTERS]
        content = [{"type": "text", "text": text if text.strip() else "."}, LEFT_OUT_BLOCK]
        await self._launch.transport.send(_user_message(content, uuid=turn.id, client_composed=True))

    async def _read(self, turn: Lease) -> None:
        """Deliver the call's events until it is over, then end the lease, with the failure if there is one.

        If the CLI has not sent a result by then, interrupt it.
        """
        reading = Reading(turn.id, max_tokens=turn.call.max_tokens)
        while not reading.is_over and not turn.is_abandoned:
            events = reading.take(await self._next())
            if turn.asked_at is None and reading.is_asked:
                turn.asked_at = time.monotonic()
            if reading.is_answered and self._disarming is None:
                # Now rather than at the reset: if the response's usage is 0, the CLI would send a second request.
                self._disarming = asyncio.create_task(self._disarm(), name="claude-code-disarm")
            if events is not None:
                turn.deliver(*events)
        if rest := reading.rest():
            turn.deliver(*rest)
        turn.limit = reading.limit
        turn.end(reading.failure())
        if not reading.has_result:
            await self._interrupt(reading)

    async def _interrupt(self, reading: Reading) -> None:
        """Interrupt the CLI's running turn.

        The CLI ignores an interrupt that arrives before the turn has begun. So this waits for the beginning, and
        repeats the interrupt until there is a result.
        """
        with anyio.fail_after(_INTERRUPT_WITHIN_S):
            while not reading.has_begun and not reading.has_result:
                reading.take(await self._next())
            while not reading.has_result:
                await self._control("interrupt")
                with anyio.move_on_after(_INTERRUPT_AGAIN_AFTER_S):
                    while not reading.has_result:
                        reading.take(await self._next())

    async def _disarm(self, *then: Frame) -> None:
        """Replace the call's body with one that the CLI cannot send. Write the frames `then` along with it."""
        await self._control(
            "apply_flag_settings", then=then, settings={"env": {"CLAUDE_CODE_EXTRA_BODY": UNSENDABLE_BODY}}
        )

    async def _reset(self) -> None:
        """Reset the process: disarm the body, run `/clear`, and rewind the conversation to remove the `/clear`, too."""
        mark = str(uuid.uuid4())
        clear = _user_message("/clear", uuid=mark)
        if self._disarming is None:
            await self._disarm(clear)
        else:
            await self._launch.transport.send(clear)
            await self._disarming
            self._disarming = None
        with anyio.fail_after(self._settings.step_timeout_s):
            while (frame := await self._next()) is None or frame.get("type") != "result":
                pass
        reply = await self._control("rewind_conversation", target_message_uuid=mark)
        if not reply.get("rewound"):
            raise CLIConnectionError("the CLI did not rewind")

    def _control_timeout_s(self, call: PlainCall) -> float:
        return min(
            self._settings.step_timeout_s, _ABANDONED_GRACE_S + (math.inf if call.timeout_s is None else call.timeout_s)
        )

    async def _control(self, subtype: str, *, within_s: float | None = None, **more: Any) -> dict[str, Any]:
        timeout_s = self._settings.step_timeout_s if within_s is None else within_s
        return await self._launch.transport.control(subtype, timeout_s=timeout_s, **more)

    async def _next(self) -> Frame | None:
        """Return the next frame of the conversation, or `None` as a wake-up: check whether the caller has left.

        Raises the transport's `exit_error`, or `CLIConnectionError`, if the process has ended.
        """
        transport = self._launch.transport
        frame = await transport.frames.get()
        if frame is None and transport.exited.is_set():
            raise transport.ended()
        return frame

    def _exited(self) -> None:
        """Close an idle worker whose process has ended. A call in progress fails at its own next step."""
        if self.state is State.IDLE:
            self.failure = WorkerLost(Failure(kind="lost", text="the process ended"))
            self.close()

    def _give_up(self, error: Exception, *, is_sent: bool) -> None:
        """Close the worker after a failure. The call in progress fails with it."""
        failed = from_sdk(error, is_sent=is_sent)
        if self.state is State.BOOTING and self._launch.stderr:
            # No prompt has been sent yet, so the CLI's stderr can be shown.
            text = f"{failed.failure.text}: {self.login.redact(self._launch.stderr[-1])}"
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
            if self._turn is not None:
                closed = Failure(kind="lost", text="the process was closed")
                self._turn.end(self.failure or CallFailed(closed))
            self._closing = asyncio.create_task(self._close(), name="claude-code-close")
            self._on_change(self)
        return self._closing

    async def _close(self) -> None:
        """Send SIGTERM, and SIGKILL if the process still runs a second later. Every await has a deadline."""
        transport = self._launch.transport
        self._life.cancel()
        if self._disarming is not None:
            self._disarming.cancel()
            await asyncio.gather(self._disarming, return_exceptions=True)
        transport.send_signal(signal.SIGTERM)
        with anyio.move_on_after(_CLOSE_POLITELY_S):
            await transport.exited.wait()
        transport.send_signal(signal.SIGKILL)
        with anyio.move_on_after(_CLOSE_WITHIN_S):
            try:
                if self._client is not None:
                    await self._client.disconnect()
            except Exception:  # the client fails if the process was killed during its handshake
                await transport.close()
            else:
                await transport.close()


def _is_lasting(model: dict[str, Any]) -> bool:
    # "default" depends on the account: for another login it may be another model.
    return bool(model.get("resolvedModel")) and model.get("value") != "default"


def _user_message(content: str | list[dict[str, str]], **more: Any) -> Frame:
    return {"type": "user", "message": {"role": "user", "content": content}, "parent_tool_use_id": None, **more}
