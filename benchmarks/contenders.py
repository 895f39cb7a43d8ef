"""Ways to ask Claude the same question once, each behind the same two steps: `call`, which is timed, and `settle`.

All reach the same stand-in, which echoes the user's message. Enter `surroundings.scratch_home` before importing this.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import litellm
from claude_agent_sdk import AssistantMessage, ClaudeAgentOptions, ClaudeSDKClient, ResultMessage, StreamEvent, query
from claude_agent_sdk._internal.transport.subprocess_cli import SubprocessCLITransport
from surroundings import Address

import litellm_claude_code
from litellm_claude_code.auth import Login

T = TypeVar("T")
Frame = dict[str, Any]

SYSTEM: Final = "You are terse."
ALIAS: Final = "sonnet"
MODEL: Final = "claude-sonnet-5-5"
MAX_TOKENS: Final = 256
_DEADLINE_S: Final = 60.0


class Contender(Protocol):
    """One way to ask. What it needs is started by its first call."""

    def call(self, user: str) -> str:
        """Ask with `SYSTEM` and this message, and return the answer's text when the caller could use it."""

    def settle(self) -> None:
        """Do what the next call needs done, in the caller's thread; what happens by itself is not waited for."""

    def close(self) -> None:
        """End every process of this contender's own."""


class Litellm:
    """`litellm.completion` for a model of any provider."""

    def __init__(self, model: str, address: Address, *, close: Callable[[], None] = lambda: None) -> None:
        self._model = model
        self._address = address
        self._close = close

    def call(self, user: str) -> str:
        response = litellm.completion(
            model=self._model,
            messages=[{"role": "system", "content": SYSTEM}, {"role": "user", "content": user}],
            max_tokens=MAX_TOKENS,
            api_base=self._address.base_url,
            api_key=self._address.api_key,
            timeout=_DEADLINE_S,
        )
        return str(response.choices[0].message.content)

    def settle(self) -> None:
        pass

    def close(self) -> None:
        self._close()


def claude_code(address: Address) -> Litellm:
    """Return this package's provider, on its pool of warm processes."""
    return Litellm(f"claude_code/{ALIAS}", address, close=litellm_claude_code.provider.close)


def anthropic(address: Address) -> Litellm:
    """Return litellm's own provider for the same model, straight to the stand-in."""
    return Litellm(f"anthropic/{MODEL}", address)


class QueryPerCall:
    """The SDK's `query()`: a fresh process for each call, gone when the call returns."""

    def __init__(self, address: Address) -> None:
        self._options = replace(lean_options(address), system_prompt=SYSTEM, max_budget_usd=None)
        self._loop = asyncio.new_event_loop()

    def call(self, user: str) -> str:
        return self._loop.run_until_complete(asyncio.wait_for(self._ask(user), _DEADLINE_S))

    async def _ask(self, user: str) -> str:
        text = ""
        # To the end: whoever leaves early leaves a process behind.
        async for message in query(prompt=user, options=self._options):
            if isinstance(message, AssistantMessage):
                text += "".join(getattr(block, "text", "") for block in message.content)
        return text

    def settle(self) -> None:
        pass

    def close(self) -> None:
        _end(self._loop)


class BareWorker:
    """The worker protocol and nothing else: one warm process, no pool, no translation, no litellm.

    The frames are those of `litellm_claude_code.worker`, written down again in their plainest form, as a yardstick.
    """

    def __init__(self, address: Address) -> None:
        self._options = lean_options(address)
        self._transport = _BareTransport(self._options)
        self._client = ClaudeSDKClient(self._options, transport=self._transport)
        self._messages: AsyncIterator[Any] | None = None
        self._loop = asyncio.new_event_loop()

    def call(self, user: str) -> str:
        return self._loop.run_until_complete(asyncio.wait_for(self._ask(user), _DEADLINE_S))

    def settle(self) -> None:
        self._loop.run_until_complete(asyncio.wait_for(self._reset(), _DEADLINE_S))

    def close(self) -> None:
        self._loop.run_until_complete(self._client.disconnect())
        _end(self._loop)

    async def _ask(self, user: str) -> str:
        if self._messages is None:
            await self._client.connect()
            self._messages = self._client.receive_messages()
        body = {"messages": [{"role": "user", "content": [{"type": "text", "text": user}]}], "max_tokens": MAX_TOKENS}
        await self._load(json.dumps(body))
        await self._client.query(_user_message(user, client_composed=True))
        text = ""
        async for message in self._messages:
            if isinstance(message, StreamEvent) and message.event["type"] == "content_block_delta":
                text += message.event["delta"].get("text", "")
            if isinstance(message, ResultMessage):
                break
        return text

    async def _load(self, body: str) -> None:
        env = {
            "CLAUDE_CODE_EXTRA_BODY": body,
            "CLAUDE_CODE_EFFORT_LEVEL": "unset",
            "DISABLE_PROMPT_CACHING": "1",
            "CLAUDE_CODE_PROMPT_CACHE_TTL": "",
            "API_TIMEOUT_MS": "600000",
        }
        await self._transport.control("apply_flag_settings", settings={"model": MODEL, "env": env})

    async def _reset(self) -> None:
        assert self._messages is not None
        disarmed = {"env": {"CLAUDE_CODE_EXTRA_BODY": json.dumps({"messages": []})}}
        await self._transport.control("apply_flag_settings", settings=disarmed)
        mark = str(uuid.uuid4())
        await self._client.query(_user_message("/clear", uuid=mark))
        async for message in self._messages:
            if isinstance(message, ResultMessage):
                break
        reply = await self._transport.control("rewind_conversation", target_message_uuid=mark)
        if not reply["rewound"]:
            raise RuntimeError("the CLI did not rewind")


class _BareTransport(SubprocessCLITransport):
    """The SDK's transport, with a system prompt in `initialize` and control requests."""

    def __init__(self, options: ClaudeAgentOptions) -> None:
        super().__init__(prompt=_nothing(), options=options)
        self._waiting: dict[str, asyncio.Future[Frame]] = {}

    async def write(self, data: str) -> None:
        frame = json.loads(data)
        if frame.get("request", {}).get("subtype") == "initialize":
            frame["request"]["systemPrompt"] = SYSTEM
            data = json.dumps(frame) + "\n"
        await super().write(data)

    async def control(self, subtype: str, **fields: Any) -> Frame:
        key = uuid.uuid4().hex
        self._waiting[key] = asyncio.get_running_loop().create_future()
        frame = {"type": "control_request", "request_id": key, "request": {"subtype": subtype, **fields}}
        await super().write(json.dumps(frame) + "\n")
        response = await self._waiting[key]
        if response["subtype"] != "success":
            raise RuntimeError(f"the CLI refused {subtype}")
        return response.get("response") or {}

    async def read_messages(self) -> AsyncIterator[Frame]:
        async for frame in super().read_messages():
            response = frame["response"] if frame["type"] == "control_response" else {}
            if waiting := self._waiting.pop(response.get("request_id", ""), None):
                waiting.set_result(response)
            else:
                yield frame


def lean_options(address: Address) -> ClaudeAgentOptions:
    """Return the options of this package's workers, and the environment they get: the same work is asked of the CLI."""
    login = Login(payer="gateway", base_url=address.base_url, secrets=(("ANTHROPIC_API_KEY", address.api_key),))
    folder = Path(tempfile.mkdtemp())
    (folder / "empty").mkdir()
    return ClaudeAgentOptions(
        model=MODEL,
        tools=[],
        setting_sources=[],
        strict_mcp_config=True,
        max_turns=1,
        max_budget_usd=1e-9,
        include_partial_messages=True,
        max_buffer_size=256 << 20,
        extra_args={"no-session-persistence": None},
        cwd=folder / "empty",
        env={**login.environment(), "CLAUDE_CODE_TMPDIR": str(folder)},
    )


async def _nothing() -> AsyncIterator[Frame]:
    return
    yield {}


async def _user_message(text: str, **more: Any) -> AsyncIterator[Frame]:
    yield {"type": "user", "message": {"role": "user", "content": text}, "parent_tool_use_id": None, **more}


def _end(loop: asyncio.AbstractEventLoop) -> None:
    async def cancel_the_rest() -> None:
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    steps: tuple[Coroutine[Any, Any, None], ...] = (cancel_the_rest(), loop.shutdown_asyncgens())
    for step in steps:
        loop.run_until_complete(step)
    loop.close()
