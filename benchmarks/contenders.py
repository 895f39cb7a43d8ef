"""The contenders: ways to ask Claude one question, each with the steps `call`, which is timed, and `settle`.

A contender with a method `ask` takes any `Question`, from many threads at once. All of them call the same stand-in,
which echoes the user's message. Enter `surroundings.scratch_home` before importing this module.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import litellm
from claude_agent_sdk import AssistantMessage, ClaudeAgentOptions, ClaudeSDKClient, ResultMessage, StreamEvent, query
from claude_agent_sdk._internal.transport.subprocess_cli import SubprocessCLITransport
from surroundings import Address

import litellm_claude_code
from litellm_claude_code.install import find_cli
from litellm_claude_code.login import Login

Frame = dict[str, Any]

SYSTEM: Final = "You are terse."
ALIAS: Final = "sonnet"
OTHER_ALIAS: Final = "opus"
MODELS: Final = {ALIAS: "claude-sonnet-5-5", OTHER_ALIAS: "claude-opus-5-5"}
MODEL: Final = MODELS[ALIAS]
MAX_TOKENS: Final = 256
_DEADLINE_S: Final = 600.0
_WARM_UP_CALLS: Final = 5


@dataclass(frozen=True, kw_only=True)
class Question:
    """A system prompt, examples of questions and answers, and a user message."""

    user: str
    system: str = SYSTEM
    examples: tuple[tuple[str, str], ...] = ()
    alias: str = ALIAS

    def messages(self) -> list[dict[str, str]]:
        """Return the messages in litellm's format."""
        history = [
            message
            for user, assistant in self.examples
            for message in ({"role": "user", "content": user}, {"role": "assistant", "content": assistant})
        ]
        return [{"role": "system", "content": self.system}, *history, {"role": "user", "content": self.user}]

    def flat(self) -> str:
        """Return everything but the system prompt as one text, for contenders that take no history."""
        return "\n\n".join([*(f"Q: {user}\nA: {assistant}" for user, assistant in self.examples), self.user])


class Litellm:
    """`litellm.completion` with any provider; `name` maps an alias to the provider's name for the model."""

    def __init__(
        self, name: Callable[[str], str], address: Address, *, close: Callable[[], None] = lambda: None
    ) -> None:
        self._name = name
        self._address = address
        self._close = close

    def call(self, user: str) -> str:
        return self.ask(Question(user=user))

    def ask(self, question: Question) -> str:
        """Return the answer's text."""
        response: Any = litellm.completion(
            model=self._name(question.alias),
            messages=question.messages(),
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
    """Return this package's provider, with its pool of warm processes."""
    return Litellm(lambda alias: f"claude_code/{alias}", address, close=litellm_claude_code.provider.close)


def anthropic(address: Address) -> Litellm:
    """Return litellm's own provider for the same models, which calls the stand-in directly."""
    return Litellm(lambda alias: f"anthropic/{MODELS[alias]}", address)


def warm_up(address: Address, n: int) -> None:
    """Boot this package's processes before a run."""
    litellm_claude_code.warm_up(ALIAS, SYSTEM, n=n, api_base=address.base_url, api_key=address.api_key)


class QueryPerCall:
    """The SDK's `query()`: a fresh process for each call, which ends before the call returns."""

    def __init__(self, address: Address) -> None:
        self._options = replace(lean_options(address), max_budget_usd=None)

    def call(self, user: str) -> str:
        return self.ask(Question(user=user))

    def ask(self, question: Question) -> str:
        """Return the answer's text."""
        return asyncio.run(asyncio.wait_for(self._ask(question), _DEADLINE_S))

    async def _ask(self, question: Question) -> str:
        options = replace(self._options, system_prompt=question.system, model=MODELS[question.alias])
        text = ""
        # Read to the end: leaving the loop early would leave a process behind.
        async with aclosing(query(prompt=question.flat(), options=options)) as messages:  # type: ignore[type-var]
            async for message in messages:
                if isinstance(message, AssistantMessage):
                    text += "".join(getattr(block, "text", "") for block in message.content)
        return text

    def settle(self) -> None:
        pass

    def close(self) -> None:
        pass


class CommandLine:
    """`claude -p` for each call, as GEPA's documentation wraps it (guides/claude-cli-as-proposer): no lean options."""

    def __init__(self, address: Address) -> None:
        path = find_cli()
        if path is None:
            raise RuntimeError("the Claude Code CLI is not installed")
        self._command = [str(path), "-p"]
        self._environment = {
            **os.environ,
            "ANTHROPIC_BASE_URL": address.base_url,
            "ANTHROPIC_API_KEY": address.api_key,
        }

    def ask(self, question: Question) -> str:
        """Return what the command prints."""
        prompt = f"{question.system}\n\n{question.flat()}"
        command = [*self._command, "--model", MODELS[question.alias], prompt]
        done = subprocess.run(command, capture_output=True, text=True, env=self._environment, timeout=_DEADLINE_S)
        if done.returncode != 0:
            raise RuntimeError(f"claude -p failed: {done.stderr or done.stdout}")
        return done.stdout

    def close(self) -> None:
        pass


class BareWorker:
    """The bare worker protocol: one warm process, without pool, translation and litellm.

    It sends the same frames as `litellm_claude_code.process.worker`, in the simplest code, for comparison.
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
        return await self._read(self._messages)

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
        await self._read(self._messages)
        reply = await self._transport.control("rewind_conversation", target_message_uuid=mark)
        if not reply["rewound"]:
            raise RuntimeError("the CLI did not rewind")

    async def _read(self, messages: AsyncIterator[Any]) -> str:
        text = ""
        async for message in messages:
            if isinstance(message, StreamEvent) and message.event["type"] == "content_block_delta":
                text += message.event["delta"].get("text", "")
            if isinstance(message, ResultMessage):
                break
        return text


class BareWorkers:
    """Warm bare workers, one more than there are threads. No pool of such processes can be faster.

    Each worker is cleared in the background after its answer, and none of them starts git. All use `SYSTEM`, and get
    only the last message.
    """

    def __init__(self, address: Address, n: int) -> None:
        self._address = address
        self._n = n
        self._workers: list[BareWorker] = []
        self._free: queue.LifoQueue[BareWorker] = queue.LifoQueue()
        self._clearing = ThreadPoolExecutor(n)

    def warm_up(self) -> None:
        """Start the workers and make a few calls to each."""
        self._workers = [BareWorker(self._address) for _ in range(self._n)]
        for worker in self._workers:
            (Path(worker._options.cwd or "") / ".claude").symlink_to("nowhere")  # as in process/folders.py
        list(self._clearing.map(self._warm_up, self._workers))

    def ask(self, question: Question) -> str:
        """Return the answer's text."""
        if not self._workers:
            self.warm_up()
        worker = self._free.get(timeout=_DEADLINE_S)
        answer = worker.call(question.user)
        self._clearing.submit(self._clear, worker)
        return answer

    def close(self) -> None:
        """End all workers. The next question starts new ones."""
        for _ in self._workers:
            self._free.get(timeout=_DEADLINE_S).close()
        self._workers = []

    def _warm_up(self, worker: BareWorker) -> None:
        for _ in range(_WARM_UP_CALLS):
            worker.call("Hi")
            worker.settle()
        self._free.put(worker)

    def _clear(self, worker: BareWorker) -> None:
        worker.settle()
        self._free.put(worker)


class _BareTransport(SubprocessCLITransport):
    """The SDK's transport, with control requests and a system prompt in `initialize`."""

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


def gateway(address: Address) -> Login:
    """Return the login with which the stand-in is called."""
    return Login(payer="gateway", base_url=address.base_url, secrets=(("ANTHROPIC_API_KEY", address.api_key),))


def lean_options(address: Address) -> ClaudeAgentOptions:
    """Return the options and environment of this package's workers, so that the CLI does the same work."""
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
        env={**gateway(address).environment(), "CLAUDE_CODE_TMPDIR": str(folder)},
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
