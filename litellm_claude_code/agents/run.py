"""One run of an agent: from the call to the events of its answer (`events.py`).

Each run is an asyncio task. It holds its slot in the pool, its folder and its conversation until the agent's process,
and every process started by it, has ended. The reader of the events may stop at any time.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio

from ..call import Waiting
from ..errors import CallFailed, Failure, RunFailed, timed_out
from ..process._sdk import from_sdk
from ..process.cli_process import finished
from . import sessions
from .call import AgentCall
from .events import Activity, Begun, Finished, RunEvent, TextDelta
from .folder import folder_of_run
from .process import AgentProcess
from .sessions import Conversation
from .tools import call_user_function
from .trace import AgentEvent, AgentRecord, Trace, api_usage, subtract_usage

if TYPE_CHECKING:
    from ..pool.pool import Pool

_logger: Final = logging.getLogger("litellm_claude_code")


def agent_events(pool: Pool, call: AgentCall, *, waiting: Waiting) -> AsyncGenerator[RunEvent, None]:
    """Return the events of an agent's run.

    Closing the generator ends the run.

    Raises `CallFailed`, for example if no event arrives within the call's `timeout_s`. If the agent has already used a
    tool, this is a `RunFailed` with the record of the run.
    """
    return pool.admission.past_limits(call, lambda: _events(pool, call), waiting)


async def _events(pool: Pool, call: AgentCall) -> AsyncGenerator[RunEvent, None]:
    run = AgentRun(pool, call)
    try:
        async for event in run:
            yield event
    finally:
        run.abandon()


class AgentRun:
    """A run in progress, as an async iterator of its events."""

    def __init__(self, pool: Pool, call: AgentCall) -> None:
        self._pool = pool
        self._call = call
        self._message_id = str(uuid.uuid4())
        self._trace = Trace(message_id=self._message_id)
        self._events: asyncio.Queue[RunEvent | CallFailed | None] = asyncio.Queue()
        self._early: list[AgentEvent] = []
        self._has_begun = False
        self._is_reported = False
        self._said_in: int | None = None
        self._session_id: str | None = None
        self._life = asyncio.create_task(self._live(), name="claude-code-agent")

    def __aiter__(self) -> AsyncIterator[RunEvent]:
        return self

    async def __anext__(self) -> RunEvent:
        try:
            with anyio.fail_after(self._call.timeout_s):
                event = await self._events.get()
        except TimeoutError:
            raise self._with_record(timed_out(self._call.timeout_s)) from None
        if isinstance(event, CallFailed):
            raise event
        if event is None:
            raise StopAsyncIteration
        return event

    def abandon(self) -> None:
        """Stop reading: end the agent and every process that it has started. No effect if the run is over."""
        if not self._life.done():
            self._life.cancel()

    async def _live(self) -> None:
        try:
            answer = await self._run()
        except Exception as error:
            self._events.put_nowait(self._with_record(from_sdk(error, is_sent=True)))
        except BaseException:
            ended = CallFailed(Failure(kind="lost", text="the agent's run was stopped"))
            self._events.put_nowait(self._with_record(ended))
            raise
        else:
            for event in answer:
                self._events.put_nowait(event)
            self._events.put_nowait(None)

    def _with_record(self, failed: CallFailed) -> CallFailed:
        """Add the run's record to a failure if the agent has used a tool; otherwise return the failure unchanged."""
        if not self._trace.has_acted:
            return failed
        record = self._record(None)
        self._report(record)
        run_failed = RunFailed(failed.failure, record=record)
        run_failed.__cause__ = failed.__cause__  # the traceback of a bug
        return run_failed

    def _report(self, record: AgentRecord) -> None:
        """Append the record to the caller's `agent_records()` lists. Only the first call has an effect."""
        if not self._is_reported:
            self._is_reported = True
            for records in self._call.records:
                records.append(record)

    async def _run(self) -> list[RunEvent]:
        """Run the agent until its process has ended, and return the last events of its answer."""
        profile = self._call.profile
        async with AsyncExitStack() as held:
            await held.enter_async_context(self._pool.agent_slots.reserve())
            if profile.cwd is not None and not profile.parallel:
                hint = f"runs take turns, unless the profile '{profile.name}' has parallel=True"
                await held.enter_async_context(sessions.exclusive_lock("folder", str(profile.cwd), hint=hint))
            self._pool.admission.check(self._call)  # another call may have met a limit while this one waited
            conversation = await self._conversation(held)
            process = self._process(conversation, await self._folder(conversation, held))
            is_done = False
            try:
                await process.start()
                await self._send_history(process)
                await self._send_and_read(process)
                is_done = True
            finally:
                acted = self._trace.has_acted or bool(profile.mcp_servers)
                await finished(process.end(politely=is_done, has_started_something=acted))
                self._note(conversation)
            failure = self._trace.failure()
            if failure is not None:
                raise CallFailed(failure)
            return self._answer(conversation)

    async def _conversation(self, held: AsyncExitStack) -> Conversation | None:
        call, profile = self._call, self._call.profile
        if not profile.sessions:
            return None
        if call.session_id is None:
            new = str(uuid.uuid4())
            return sessions.begin(new, profile=profile.name, owner=call.owner, has_folder=profile.cwd is None)
        found = sessions.resume(call.session_id, profile=profile.name, owner=call.owner)
        await held.enter_async_context(
            sessions.exclusive_lock("conversation", found.id, hint="wait for its answer before you continue")
        )
        return sessions.resume(call.session_id, profile=profile.name, owner=call.owner)

    async def _folder(self, conversation: Conversation | None, held: AsyncExitStack) -> Path:
        """Return the profile's folder, the conversation's folder, or an empty one for this run only, in that order."""
        if self._call.profile.cwd is not None:
            return self._call.profile.cwd
        if conversation is not None:
            return conversation.working_folder()
        return await held.enter_async_context(folder_of_run())

    def _process(self, conversation: Conversation | None, folder: Path) -> AgentProcess:
        call, profile = self._call, self._call.profile
        self._session_id = conversation.id if conversation else None
        budget = profile.max_budget_usd
        return AgentProcess(
            profile,
            call.login,
            settings=self._pool.settings,
            folder=folder,
            model=call.model,
            initialize=_initialize(call),
            session_id=self._session_id,
            resumes=conversation is not None and not conversation.is_new,
            # The CLI counts the cost from the start of the conversation; the profile's limit applies to each run.
            max_budget_usd=budget + (conversation.cost_usd if conversation else 0.0) if budget is not None else None,
            max_tokens=call.max_tokens,
        )

    async def _send_history(self, process: AgentProcess) -> None:
        """Send all messages but the last. Each is sent after the CLI has acknowledged the one before."""
        for message in self._call.messages[:-1]:
            mark = str(uuid.uuid4())
            more = {"shouldQuery": False, "client_composed": True} if message["role"] == "user" else {}
            process.send(_frame(message, mark, **more))
            with anyio.fail_after(self._pool.settings.step_timeout_s):
                while not _has_been_accepted(await process.next(), mark):
                    pass

    async def _send_and_read(self, process: AgentProcess) -> None:
        process.send(_frame(self._call.messages[-1], self._message_id, client_composed=True))
        noted = 0
        try:
            while not self._trace.is_over:
                for event in self._trace.take(await process.next(), time.monotonic()):
                    await self._deliver(event)
                if self._trace.requests > noted:
                    self._call.on_request(self._trace.requests - noted)
                    noted = self._trace.requests
        finally:
            if self._trace.limit is not None:
                self._pool.admission.note_limit(self._call, self._trace.limit)

    async def _deliver(self, event: AgentEvent) -> None:
        """Queue an event for the reader, and pass it to the profile's `on_event`.

        Events for the reader are held back until the model begins its first message.
        """
        self._early.append(event)
        if self._trace.model is not None:
            self._begin()
            for each in self._early:
                self._events.put_nowait(Activity(event=each))
                if each["type"] == "text" and self._delivers_all:
                    self._events.put_nowait(TextDelta(text=self._separated(each["text"])))
            self._early.clear()
        if self._call.profile.on_event is not None:
            try:
                await call_user_function(self._call.profile.on_event, event)
            except Exception:
                _logger.exception("on_event of the profile %r failed, but the run continues", self._call.profile.name)

    def _separated(self, text: str) -> str:
        """Return a piece of text, after a blank line if it begins another message of the model."""
        is_next, self._said_in = self._said_in not in (None, self._trace.answers), self._trace.answers
        return f"\n\n{text}" if is_next else text

    @property
    def _delivers_all(self) -> bool:
        return self._call.profile.content == "all" and self._call.schema is None

    def _begin(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            self._events.put_nowait(Begun(model=self._trace.model or self._call.model))

    def _answer(self, conversation: Conversation | None) -> list[RunEvent]:
        """Return the events that end the answer: its text, unless that was delivered as it came, and the record."""
        self._begin()
        record = self._record(conversation)
        self._report(record)
        usage = api_usage(record["usage_by_model"])
        finished = Finished(record=record, stop_reason=self._trace.api_stop_reason, usage=usage)
        return [finished] if self._delivers_all else [TextDelta(text=self._text()), finished]

    def _text(self) -> str:
        if self._call.schema is not None and self._trace.structured is not None:
            return json.dumps(self._trace.structured, ensure_ascii=False)
        return self._trace.text()

    def _record(self, conversation: Conversation | None) -> AgentRecord:
        usage, cost_usd = self._trace.totals()
        before = conversation.usage_by_model if conversation else {}
        spent_usd = cost_usd - (conversation.cost_usd if conversation else 0.0)
        return self._trace.record(
            profile=self._call.profile.name,
            session_id=self._session_id,
            usage_by_model=subtract_usage(usage, before),
            cost_usd=max(0.0, spent_usd),
        )

    def _note(self, conversation: Conversation | None) -> None:
        """Save the conversation's totals so far. Delete a new one if the model never began a reply."""
        if conversation is None:
            return
        usage, cost_usd = self._trace.totals()
        if usage:
            sessions.note_totals(conversation.id, usage_by_model=usage, cost_usd=cost_usd)
        elif conversation.is_new and self._trace.model is None:
            sessions.forget(conversation)


def _initialize(call: AgentCall) -> dict[str, Any]:
    """Return the extra fields of `initialize`: the system prompt (the profile's, then the caller's), and the schema."""
    profile = call.profile
    parts = [profile.system_prompt, profile.append_system_prompt, call.system]
    text = "\n\n".join(part for part in parts if part)
    key = "appendSystemPrompt" if profile.system_prompt is None else "systemPrompt"
    return {
        **({key: text} if text or key == "systemPrompt" else {}),
        **({"jsonSchema": call.schema} if call.schema is not None else {}),
        "systemPromptSnapshot": False,  # a resumed conversation uses the prompt of the new call
    }


def _frame(message: Mapping[str, Any], mark: str, **more: Any) -> dict[str, Any]:
    role = message["role"]
    sent = {"role": role, "content": _unmarked(message["content"])}
    return {"type": role, "message": sent, "parent_tool_use_id": None, "uuid": mark, **more}


def _unmarked(content: Any) -> Any:
    """Return content without the caller's `cache_control`: the CLI places the cache marks of an agent's requests."""
    if not isinstance(content, Sequence) or isinstance(content, str):
        return content
    return [{key: value for key, value in block.items() if key != "cache_control"} for block in content]


def _has_been_accepted(frame: Mapping[str, Any], mark: str) -> bool:
    is_completed = frame.get("type") == "command_lifecycle" and frame.get("state") == "completed"
    return is_completed and frame.get("command_uuid") == mark
