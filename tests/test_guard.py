"""A caller never gets the answer to a different request, and one call is one request whatever usage is reported."""

import asyncio
import contextlib
import dataclasses
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import litellm
import psutil
import pytest

from litellm_claude_code.call import ApiEvent, PlainCall
from litellm_claude_code.errors import CallFailed, Failure
from litellm_claude_code.install import find_cli
from litellm_claude_code.login import Login
from litellm_claude_code.process.guard import LEFT_OUT, LEFT_OUT_BLOCK, OneTokenGuard
from litellm_claude_code.process.worker import State, Worker
from litellm_claude_code.settings import Settings
from litellm_claude_code.testing import Answer, RawEvents, RecordedRequest, StandIn, Text, Usage
from litellm_claude_code.testing import Failure as ApiFailure

from .support.calls import ask
from .support.cli_frames import WITHOUT_FLAG
from .support.holding import HoldingStandIn
from .support.requests import ASK, user
from .support.waiting import wait_until_async

QUESTION = "What is the capital of France, in one word?"
BODY = {"messages": [user("Hi"), {"role": "assistant", "content": "Hi."}, user(QUESTION)], "max_tokens": 100}


class Desk:
    """One worker, called directly, so that a test can send what the provider would refuse."""

    def __init__(self, stand_in: StandIn, cli: Path | None = None) -> None:
        login = Login(
            payer="gateway", base_url=stand_in.base_url, secrets=(("ANTHROPIC_API_KEY", stand_in.api_key or ""),)
        )
        self._changed = asyncio.Event()
        self.worker = Worker(login, settings=Settings(cli_path=cli), on_change=lambda worker: self._changed.set())
        self._call = PlainCall(
            model="claude-sonnet-5-5",
            system="",
            extra_body=json.dumps(BODY),
            prompt="Hi",
            max_tokens=100,
            timeout_s=60,
            login=login,
        )

    async def settled(self) -> State:
        while self.worker.state in (State.BOOTING, State.BUSY, State.RESETTING):
            self._changed.clear()
            await self._changed.wait()
        return self.worker.state

    async def ask(self, **changes: Any) -> tuple[list[ApiEvent], Failure | None]:
        assert await self.settled() is State.IDLE
        turn, events, failure = self.worker.start(dataclasses.replace(self._call, **changes)), list[ApiEvent](), None
        try:
            async for event in turn:
                events.append(event)
        except CallFailed as failed:
            failure = failed.failure
        turn.abandon()
        await self.settled()
        return events, failure


@pytest.fixture
async def desk(stand_in: StandIn) -> AsyncIterator[Desk]:
    desk = Desk(stand_in)
    await desk.settled()
    yield desk
    await desk.worker.close()


def said(events: list[ApiEvent]) -> str:
    return "".join(event.get("delta", {}).get("text", "") for event in events)


def always(reply: RawEvents) -> Callable[[RecordedRequest], RawEvents]:
    return lambda _request: reply


def is_own(request: RecordedRequest) -> bool:
    """Return whether the CLI sent a request of its own instead of the call's."""
    return bool(request.body["messages"] != BODY["messages"])


def as_the_api(request: RecordedRequest) -> Any:
    if LEFT_OUT_BLOCK["type"] in json.dumps(request.body["messages"]):
        text = f"messages.0.content.1: Input tag '{LEFT_OUT_BLOCK['type']}' found using 'type' does not match any tag"
        return ApiFailure(400, message=text)
    return "Paris."


def as_a_gateway_that_overlooks_blocks(request: RecordedRequest) -> Any:
    if request.body["max_tokens"] == 1:
        usage = Usage(input_tokens=9, output_tokens=1)
        return Answer(content=[Text("Hello")], stop_reason="max_tokens", usage=usage)
    return "Paris."


NOT_JSON = json.dumps(BODY)[:-1]
"""The CLI leaves it out, as it does any body under a policy that forbids betas."""


@pytest.mark.parametrize("respond", [as_the_api, as_a_gateway_that_overlooks_blocks])
async def test_a_request_of_the_clis_own_becomes_a_clear_error_and_never_an_answer(
    stand_in: StandIn, desk: Desk, respond: Callable[[RecordedRequest], Any]
) -> None:
    stand_in.validate = False
    stand_in.respond = respond
    for _ in range(3):
        events, failure = await desk.ask(extra_body=NOT_JSON)
        assert said(events) == ""
        assert failure is not None
        assert (failure.kind, failure.text) == ("left_out", LEFT_OUT)
        assert is_own(stand_in.requests[-1])
        events, failure = await desk.ask()
        assert failure is None
        assert said(events) == "Paris."
        assert not is_own(stand_in.requests[-1])
    assert len(stand_in.requests) == 6
    stand_in.validate = True


@pytest.mark.processes
@pytest.mark.parametrize("max_tokens", [1, 2])
async def test_the_api_refuses_a_request_of_the_clis_own_for_calls_of_few_tokens_too(
    stand_in: StandIn, desk: Desk, max_tokens: int
) -> None:
    stand_in.validate = False
    stand_in.respond = as_the_api
    events, failure = await desk.ask(extra_body=NOT_JSON, max_tokens=max_tokens)
    stand_in.validate = True
    assert events == []
    assert failure is not None
    assert failure.kind == "left_out"


async def test_a_body_with_a_use_case_makes_no_request(stand_in: StandIn, desk: Desk) -> None:
    named = json.dumps({**BODY, "program_use_case_id": "x"})
    for _ in range(2):  # the first call of a process, and one after another body
        _, failure = await desk.ask(extra_body=named)
        assert failure is not None
        assert stand_in.requests == []
        stand_in.script("Paris.")
        events, failure = await desk.ask()
        assert (said(events), failure) == ("Paris.", None)
        assert [is_own(request) for request in stand_in.requests] == [False]
        stand_in.reset()


@pytest.mark.parametrize("key", ["program_use_case_id", "betas", "anthropic_beta"])
@pytest.mark.parametrize("is_proxy", [False, True])
@pytest.mark.parametrize("place", ["extra_body", "keyword"])
def test_a_key_that_the_cli_reads_for_itself_is_refused_before_anything_is_sent(
    stand_in: StandIn, key: str, is_proxy: bool, place: str
) -> None:
    given: dict[str, Any] = {"extra_body": {key: ["x"]}} if place == "extra_body" else {key: ["x"]}
    if is_proxy:
        given["proxy_server_request"] = {"url": "http://x/", "method": "POST", "headers": {}, "body": {}}
    with pytest.raises(litellm.BadRequestError, match=key):
        ask(stand_in, **given)
    assert stand_in.requests == []


def piece_by_piece(stop_reason: str, *blocks: dict[str, Any], usage: dict[str, int] | None) -> RawEvents:
    """Return an answer that reports `usage`, event by event."""
    told = {} if usage is None else {"usage": usage}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-5-5", "content": []}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**message, "stop_reason": None, "stop_sequence": None, **told}}
    ]
    for index, block in enumerate(blocks):
        is_text = block["type"] == "text"
        empty = {**block, "text": ""} if is_text else {**block, "input": {}}
        delta = (
            {"type": "text_delta", "text": block["text"]}
            if is_text
            else {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        )
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        events.append({"type": "content_block_delta", "index": index, "delta": delta})
        events.append({"type": "content_block_stop", "index": index})
    events.append({"type": "message_delta", "delta": {"stop_reason": stop_reason, "stop_sequence": None}, **told})
    events.append({"type": "message_stop"})
    return RawEvents(events=[(event["type"], event) for event in events], between_s=0.001)


TEXT = {"type": "text", "text": "Par"}
TOOL_USE = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "id"}}
ENDINGS: dict[str, tuple[str, tuple[dict[str, Any], ...]]] = {
    "max_tokens": ("max_tokens", (TEXT,)),
    "empty": ("end_turn", ()),
    "refusal": ("refusal", (TEXT,)),
    "empty refusal": ("refusal", ()),
    "tool_use": ("tool_use", (TOOL_USE,)),
    "end_turn": ("end_turn", (TEXT,)),
}
USAGES: dict[str, dict[str, int] | None] = {"zero": {"input_tokens": 0, "output_tokens": 0}, "none": None}


@pytest.fixture(scope="module")
def endless() -> Iterator[HoldingStandIn]:
    """A stand-in that does not end a response after its stop reason, until the client leaves."""
    with HoldingStandIn(before="message_stop") as stand_in:
        yield stand_in


@pytest.mark.processes
@pytest.mark.parametrize("usage", USAGES)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ENDINGS)
def test_without_usage_a_call_is_ended_by_the_stop_reason(
    endless: HoldingStandIn, name: str, stream: bool, usage: str
) -> None:
    stop_reason, blocks = ENDINGS[name]
    endless.reset()
    endless.respond = lambda request: piece_by_piece(stop_reason, *blocks, usage=USAGES[usage])
    for count in range(1, 3):
        answer: Any = ask(endless, stream=stream, timeout=60)
        if stream:
            answer = litellm.stream_chunk_builder(list(answer), messages=ASK)
        assert (answer.choices[0].message.content or "") == ("Par" if TEXT in blocks else "")
        endless.wait_for_disconnect()
        assert len(endless.requests) == count


@pytest.mark.processes
async def test_once_a_response_has_begun_the_cli_cannot_send_another_request(tmp_path: Path) -> None:
    """This CLI has no budget, and it is not interrupted, because the usage could have ended its turn."""
    cli = tmp_path / "claude"
    program = WITHOUT_FLAG.format(flag="--max-budget-usd", words=2, cli=str(find_cli()))
    cli.write_text(f"#!{sys.executable}\n{program}")
    cli.chmod(0o700)
    with HoldingStandIn(before="message_delta") as stand_in:
        desk = Desk(stand_in, cli)
        try:
            for count, (stop_reason, blocks) in enumerate(ENDINGS.values(), start=1):
                reply = piece_by_piece(stop_reason, *blocks, usage={"input_tokens": 9, "output_tokens": 2})
                stand_in.respond = always(reply)
                stand_in.goes_on.clear()
                call = asyncio.create_task(desk.ask())
                await wait_until_async(
                    lambda: (disarming := desk.worker._steps._disarming) is not None and disarming.done()
                )
                stand_in.goes_on.set()
                events, failure = await call
                assert failure is None
                assert said(events) == ("Par" if TEXT in blocks else "")
                assert len(stand_in.requests) == count
        finally:
            await desk.worker.close()


@pytest.mark.processes
async def test_a_worker_closes_even_if_disarming_it_never_ends(desk: Desk) -> None:
    released = asyncio.Event()

    async def deaf() -> None:
        while not released.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await released.wait()

    desk.worker._steps._disarming = disarming = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    pid = desk.worker.pid
    try:
        await asyncio.wait_for(asyncio.shield(desk.worker.close()), 60)
        assert pid is not None
        assert not psutil.pid_exists(pid)
    finally:
        released.set()
        await disarming


@pytest.mark.parametrize("max_tokens", [1, 2, 100, None])
def test_an_answer_is_taken_for_another_questions_only_if_it_ends_after_one_of_more_tokens(
    max_tokens: int | None,
) -> None:
    def ends(stop_reason: str, output_tokens: int | None) -> tuple[bool, int]:
        guard = OneTokenGuard(max_tokens=max_tokens)
        usage = {} if output_tokens is None else {"usage": {"output_tokens": output_tokens}}
        handed_on = guard.take({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "A"}})
        handed_on += guard.take({"type": "message_delta", "delta": {"stop_reason": stop_reason}, **usage})
        return guard.is_left_out, len(handed_on + guard.rest())

    assert ends("max_tokens", 1) == ((False, 2) if max_tokens == 1 else (True, 0))
    for ending in (("end_turn", 1), ("max_tokens", 2), ("max_tokens", 0), ("max_tokens", None), ("refusal", 1)):
        assert ends(*ending) == (False, 2)
