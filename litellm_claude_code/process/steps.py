"""The steps of a plain call on a Claude Code process: load, set the system prompt, send the prompt, interrupt, reset.

The call's body travels as a setting, the system prompt in a control request. One user message, the prompt, makes the
CLI send its request. tests/test_wire.py pins these steps against the real CLI.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import uuid
from typing import Any, Final

import anyio

from .. import cli_protocol as cli
from ..call import PlainCall
from ..cli_protocol import Frame
from ..errors import ConnectionBroken, StepRefused
from ..settings import Settings
from .cli_process import CliProcess
from .guard import LEFT_OUT_BLOCK, UNSENDABLE_BODY
from .lease import Reading

_PROMPT_CHARACTERS: Final = 4_000
# The CLI's own default timeout for the API's response. It is raised for a call with a longer timeout.
_API_TIMEOUT_MS: Final = 600_000
_INTERRUPT_WITHIN_S: Final = 3.0
_INTERRUPT_AGAIN_AFTER_S: Final = 0.2
_CANCEL_WITHIN_S: Final = 1.0
_ABANDONED_GRACE_S: Final = 1.0
"""How long after the call's timeout a process that has not accepted the call is closed."""


class CallSteps:
    """Speaks to one process. Every step has a deadline, and raises `StepRefused` if the CLI refuses it."""

    def __init__(self, process: CliProcess, *, settings: Settings) -> None:
        self._process = process
        self._settings = settings
        self._disarming: asyncio.Task[None] | None = None

    async def load(self, call: PlainCall) -> None:
        """Put the call's body in force. Settings merge, so every call sends the same keys.

        Settings that Anthropic's service sends are not in a file. If the process can receive them, this also requests
        the settings in force and checks them. Both control requests are sent together: the check adds a third of a
        millisecond, where a separate round trip would take more than one.
        """
        env = {
            cli.EXTRA_BODY: call.extra_body,
            cli.EFFORT_LEVEL: call.effort or "unset",
            cli.DISABLE_PROMPT_CACHING: "" if call.cache_ttl else "1",
            cli.PROMPT_CACHE_TTL: call.cache_ttl or "",
            cli.API_TIMEOUT_MS: str(max(_API_TIMEOUT_MS, math.ceil(1000 * (call.timeout_s or 0)))),
        }
        timeout_s = self._control_timeout_s(call)
        settings = {"model": call.model, "env": env}
        load = self._process.control(cli.APPLY_FLAG_SETTINGS, timeout_s=timeout_s, settings=settings)
        if call.login.gets_settings:
            await asyncio.gather(load, self._process.check_settings(timeout_s=timeout_s))
        else:
            await load

    async def set_system_prompt(self, call: PlainCall) -> None:
        """Put the system prompt in force, unchanged. Takes half a millisecond, or 15 ms for three megabytes.

        The request must name the current model: for a different one the CLI makes a probe request.
        """
        await self._process.control(
            cli.SET_MODEL,
            timeout_s=self._control_timeout_s(call),
            model=call.model,
            system_prompt=call.system,
            only_if_model_is_current=True,
        )

    def _control_timeout_s(self, call: PlainCall) -> float:
        call_timeout_s = math.inf if call.timeout_s is None else call.timeout_s
        return min(self._settings.step_timeout_s, _ABANDONED_GRACE_S + call_timeout_s)

    def send_prompt(self, call: PlainCall, *, message_id: str) -> None:
        """Make the CLI send its request. On the wire, the call's body replaces this message if it is in force."""
        text = call.prompt[:_PROMPT_CHARACTERS]
        content = [{"type": "text", "text": text if text.strip() else "."}, LEFT_OUT_BLOCK]
        self._process.send(_user_message(content, uuid=message_id, client_composed=True))

    async def interrupt(self, reading: Reading) -> None:
        """Interrupt the CLI's running turn.

        The CLI ignores an interrupt that arrives before the turn has begun. So this waits for the beginning, and
        repeats the interrupt until there is a result.
        """
        with anyio.fail_after(_INTERRUPT_WITHIN_S):
            while not reading.has_begun and not reading.has_result:
                reading.take(await self._process.next_frame())
            while not reading.has_result:
                await self._process.control(cli.INTERRUPT)
                with anyio.move_on_after(_INTERRUPT_AGAIN_AFTER_S):
                    while not reading.has_result:
                        reading.take(await self._process.next_frame())

    async def disarm(self, *then: Frame) -> None:
        """Replace the call's body with one that the CLI cannot send. Write the frames `then` along with it."""
        await self._process.control(
            cli.APPLY_FLAG_SETTINGS, then=then, settings={"env": {cli.EXTRA_BODY: UNSENDABLE_BODY}}
        )

    def disarm_early(self) -> None:
        """Start to disarm the body, while the response is being read; `reset` waits for it. Only once a call."""
        if self._disarming is None:
            self._disarming = asyncio.create_task(self.disarm(), name="claude-code-disarm")

    async def reset(self) -> None:
        """Reset the process: disarm the body, run `/clear`, and rewind the conversation to remove the `/clear`, too."""
        mark = str(uuid.uuid4())
        clear = _user_message(cli.CLEAR, uuid=mark)
        if self._disarming is None:
            await self.disarm(clear)
        else:
            self._process.send(clear)
            await self._disarming
            self._disarming = None
        with anyio.fail_after(self._settings.step_timeout_s):
            while (frame := await self._process.next_frame()) is None or frame.get("type") != "result":
                pass
        reply = await self._process.control(cli.REWIND_CONVERSATION, target_message_uuid=mark)
        if not reply.get("rewound"):
            raise ConnectionBroken("the CLI did not rewind the conversation")

    async def usage(self) -> dict[str, Any] | None:
        """Return the CLI's report of the subscription's usage, or None if it refuses the request.

        The CLI makes one small request for it, which does not use a model.
        """
        reply = None
        await self._process.control(cli.APPLY_FLAG_SETTINGS, settings={"env": {cli.DISABLE_NONESSENTIAL_TRAFFIC: ""}})
        with contextlib.suppress(StepRefused):
            reply = await self._process.control(cli.GET_USAGE, skip_behaviors=True)
        await self._process.control(cli.APPLY_FLAG_SETTINGS, settings={"env": {cli.DISABLE_NONESSENTIAL_TRAFFIC: "1"}})
        return reply

    async def cancel(self) -> None:
        """Cancel what `disarm_early` has started, because the process is about to end."""
        if self._disarming is not None:
            self._disarming.cancel()
            await asyncio.wait([self._disarming], timeout=_CANCEL_WITHIN_S)


def _user_message(content: str | list[dict[str, str]], **more: Any) -> Frame:
    return {"type": "user", "message": {"role": "user", "content": content}, "parent_tool_use_id": None, **more}
