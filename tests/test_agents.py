"""Agents on the real CLI: allowed actions are carried out, others are not, and nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import litellm
import psutil
import pytest
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import litellm_claude_code
from litellm_claude_code.agents.process import MARK
from litellm_claude_code.login import Login
from litellm_claude_code.pool.pool import Pool
from litellm_claude_code.settings import Settings
from litellm_claude_code.testing import Failure, StandIn, ToolUse, answer
from litellm_claude_code.testing.server_thread import ServerThread

from .support.calls import agent_request as request
from .support.calls import read, record_of, text_of
from .support.processes import processes_that_run
from .support.requests import user
from .support.scripts import Forker
from .support.waiting import wait_until, wait_until_async

SERVER = '''
from mcp.server import MCPServer

server = MCPServer("calc")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


server.run()
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "notes.txt").write_text("The launch is on Tuesday.\n")
    return tmp_path


def bash(command: str) -> ToolUse:
    return ToolUse("Bash", {"command": command})


def started_by_agents() -> list[str]:
    """List the command lines of the processes that agents started, which have a mark in their environment."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if MARK in process.environ():
                found.append(" ".join(process.cmdline()))
    return found


def wait_until_nothing_is_left() -> None:
    wait_until(lambda: not started_by_agents(), started_by_agents)


def test_an_agent_really_reads_a_file_and_its_record_says_so(stand_in: StandIn, folder: Path) -> None:
    litellm_claude_code.profile("agent", tools=["Read"], cwd=folder)
    stand_in.script(answer("Let me look.", read(folder)), "On Tuesday.")
    response = litellm.completion(**request(stand_in, "When is the launch? @notes.txt /cost"))
    assert text_of(response) == "On Tuesday."
    assert response.choices[0].finish_reason == "stop"
    assert response.model == "claude-sonnet-5-5"
    record = record_of(response)
    (call,) = record["tool_calls"]
    assert (call["name"], call["input"]) == ("Read", {"file_path": str(folder / "notes.txt")})
    assert "The launch is on Tuesday." in call["result"]
    assert call["is_error"] is False
    assert call["duration_s"] >= 0
    assert (record["profile"], record["turns"], record["denials"], record["session_id"]) == ("agent", 2, [], None)
    # What was said reaches the model as it was said: no file is pulled in, no command is run.
    first, second = (record.body for record in stand_in.requests)
    assert "When is the launch? @notes.txt /cost" in json.dumps(first["messages"])
    assert "Tuesday" not in json.dumps(first["messages"])
    assert "The launch is on Tuesday." in json.dumps(second["messages"])
    assert [tool["name"] for tool in first["tools"]] == ["Read"]
    assert stand_in.other_requests == []


def test_usage_and_cost_are_those_of_all_turns(stand_in: StandIn, folder: Path) -> None:
    from litellm_claude_code.testing import Usage

    litellm_claude_code.profile("agent", tools=["Read"], cwd=folder)
    stand_in.script(
        answer(read(folder), usage=Usage(input_tokens=1000, output_tokens=10, cache_read_input_tokens=5)),
        answer("Done.", usage=Usage(input_tokens=2000, output_tokens=20, cache_creation_input_tokens=7)),
    )
    response = litellm.completion(**request(stand_in))
    usage = response.usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (3012, 30)
    assert (usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (5, 7)
    cost = record_of(response)["cost_usd"]
    assert cost > 0
    assert response._hidden_params["response_cost"] == pytest.approx(cost)


def test_an_allowed_edit_is_made_and_a_denied_one_is_not(stand_in: StandIn, folder: Path) -> None:
    edit = ToolUse("Edit", {"file_path": str(folder / "notes.txt"), "old_string": "Tuesday", "new_string": "Friday"})
    outside = folder.parent / "outside.txt"
    write = ToolUse("Write", {"file_path": str(outside), "content": "x"})
    litellm_claude_code.profile("editor", tools=["Read", "Edit", "Write"], cwd=folder, permission_mode="acceptEdits")
    litellm_claude_code.profile("reader", tools=["Read", "Edit", "Write"], cwd=folder)

    stand_in.script(answer(read(folder)), answer(edit), "Left.")
    response = litellm.completion(**request(stand_in, name="reader"))
    assert (folder / "notes.txt").read_text() == "The launch is on Tuesday.\n"
    (denial,) = record_of(response)["denials"]
    assert (denial["name"], denial["input"]["new_string"]) == ("Edit", "Friday")
    assert "notes.txt" in denial["reason"]

    stand_in.script(answer(read(folder)), answer(edit, write), "Moved.")
    response = litellm.completion(**request(stand_in, name="editor"))
    assert (folder / "notes.txt").read_text() == "The launch is on Friday.\n"
    assert not outside.exists()
    assert [denial["name"] for denial in record_of(response)["denials"]] == ["Write"]
    assert [call["is_error"] for call in record_of(response)["tool_calls"]] == [False, False, True]


def test_a_denied_command_is_not_run_and_an_allowed_one_is(stand_in: StandIn, folder: Path) -> None:
    litellm_claude_code.profile("agent", tools=["Bash"], allowed_tools=["Bash(touch yes)"], cwd=folder)
    stand_in.script(answer(bash("touch no"), bash("touch yes")), "Done.")
    response = litellm.completion(**request(stand_in))
    assert sorted(path.name for path in folder.iterdir()) == ["notes.txt", "yes"]
    assert [denial["input"]["command"] for denial in record_of(response)["denials"]] == ["touch no"]


def test_a_callback_decides_if_no_rule_does(stand_in: StandIn, folder: Path) -> None:
    asked = []

    def decide(name: str, given: dict[str, Any], context: Any) -> bool | str:
        asked.append((name, given["command"], context.tool_use_id))
        return "Not on a Friday." if "no" in given["command"] else True

    litellm_claude_code.profile("agent", tools=["Bash"], can_use_tool=decide, cwd=folder)
    stand_in.script(answer(bash("touch no"), bash("touch yes")), "Done.")
    response = litellm.completion(**request(stand_in))
    assert (folder / "yes").exists()
    assert not (folder / "no").exists()
    assert [command for _, command, _ in asked] == ["touch no", "touch yes"]
    (denial,) = record_of(response)["denials"]
    assert denial["reason"] == "Not on a Friday."
    assert denial["id"] == asked[0][2]


def test_servers_in_this_process_and_in_another_are_really_called(stand_in: StandIn, folder: Path) -> None:
    (folder / "server.py").write_text(SERVER)
    heard = []

    def shout(text: str, times: int = 1) -> str:
        """Say it loudly."""
        heard.append(text)
        return text.upper() * times

    litellm_claude_code.profile(
        "agent",
        cwd=folder,
        mcp_servers={
            "near": [shout],
            "calc": {"command": sys.executable, "args": [str(folder / "server.py")], "env": {"SECRET": "s3cret"}},
        },
        allowed_tools=["mcp__near__shout", "mcp__calc"],
    )
    stand_in.script(
        answer(
            ToolUse("mcp__near__shout", {"text": "hey", "times": 2}),
            ToolUse("mcp__near__shout", {"text": "hey", "times": "many"}),
            ToolUse("mcp__calc__add", {"a": 20, "b": 22}),
        ),
        "42.",
    )
    response = litellm.completion(**request(stand_in))
    good, bad, added = record_of(response)["tool_calls"]
    assert heard == ["hey"]
    assert good["result"] == "HEYHEY"
    assert bad["is_error"] is True
    assert "42" in added["result"]
    (shout_tool,) = [tool for tool in stand_in.requests[0].body["tools"] if tool["name"] == "mcp__near__shout"]
    assert shout_tool["input_schema"]["properties"]["times"]["type"] == "integer"
    assert shout_tool["input_schema"]["required"] == ["text"]
    assert "Say it loudly." in shout_tool["description"]
    wait_until_nothing_is_left()


def test_a_remote_mcp_server_is_called_and_its_token_is_not_on_a_command_line(stand_in: StandIn, folder: Path) -> None:
    heard: list[str | None] = []
    lines: list[str] = []

    async def serve(request: Request) -> JSONResponse | Response:
        heard.append(request.headers.get("authorization"))
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it has ended
                lines.append(" ".join(child.cmdline()))
        asked = await request.json()
        answers: dict[str, Any] = {
            "initialize": {
                "protocolVersion": asked.get("params", {}).get("protocolVersion"),
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "far", "version": "1"},
            },
            "tools/list": {"tools": [{"name": "tide", "description": "Tell it", "inputSchema": {"type": "object"}}]},
            "tools/call": {"content": [{"type": "text", "text": "High at noon."}]},
        }
        if asked.get("method") not in answers:
            return Response(status_code=202 if "id" not in asked else 404)
        return JSONResponse({"jsonrpc": "2.0", "id": asked["id"], "result": answers[asked["method"]]})

    app = Starlette(routes=[Route("/mcp", serve, methods=["POST"])])
    server = ServerThread(app, 0)
    try:
        far = {
            "type": "http",
            "url": f"http://127.0.0.1:{server.port}/mcp",
            "headers": {"Authorization": "Bearer t0ken"},
        }
        litellm_claude_code.profile("agent", cwd=folder, mcp_servers={"far": far}, allowed_tools=["mcp__far"])
        stand_in.script(answer(ToolUse("mcp__far__tide", {})), "At noon.")
        (call,) = record_of(litellm.completion(**request(stand_in)))["tool_calls"]
    finally:
        server.stop()
    assert call["result"] == "High at noon."
    assert set(heard) == {"Bearer t0ken"}
    assert lines
    assert "t0ken" not in " ".join(lines)


def test_a_subagent_works_and_its_calls_and_tokens_are_reported(stand_in: StandIn, folder: Path) -> None:
    litellm_claude_code.profile(
        "agent",
        tools=["Read", "Agent"],
        cwd=folder,
        agents={"scout": {"description": "Looks around", "prompt": "You scout.", "tools": ["Read"]}},
    )
    start = ToolUse("Agent", {"description": "look", "prompt": "Find the day.", "subagent_type": "scout"})
    stand_in.script(answer(start), answer(read(folder)), "It says Tuesday.", "Tuesday.")
    response = litellm.completion(**request(stand_in))
    assert text_of(response) == "Tuesday."
    agent, inner = record_of(response)["tool_calls"]
    assert (agent["name"], inner["name"]) == ("Agent", "Read")
    assert inner["parent_id"] == agent["id"]
    assert "It says Tuesday." in agent["result"]
    assert len(stand_in.requests) == 4
    sent = sum(record.body["max_tokens"] > 0 for record in stand_in.requests)
    assert sent == 4
    assert response.usage.completion_tokens > 3


@pytest.mark.parametrize(
    ("limit", "word"), [({"max_turns": 2}, "max_turns"), ({"max_budget_usd": 1e-6}, "max_budget_usd")]
)
def test_a_run_that_reaches_a_limit_of_its_profile_fails(
    stand_in: StandIn, folder: Path, limit: dict[str, Any], word: str
) -> None:
    litellm_claude_code.profile("agent", tools=["Read"], cwd=folder, **limit)
    stand_in.script(*(answer(f"Look {number}.", read(folder)) for number in range(5)))
    response = litellm.completion(**request(stand_in))
    assert response.choices[0].finish_reason == "length"
    record = record_of(response)
    assert record["stop_reason"] == word
    assert record["cost_usd"] > 0
    assert response.usage.completion_tokens > 0
    assert len(stand_in.requests) == (2 if word == "max_turns" else 1)


class Launch(BaseModel):
    day: str


def test_structured_output_works_with_tools(stand_in: StandIn, folder: Path) -> None:
    litellm_claude_code.profile("agent", tools=["Read"], cwd=folder)
    stand_in.script(answer(read(folder)), answer(ToolUse("StructuredOutput", {"day": "Tuesday"})))
    response = litellm.completion(**request(stand_in, response_format=Launch))
    assert Launch.model_validate_json(text_of(response)) == Launch(day="Tuesday")
    assert response.choices[0].finish_reason == "stop"
    names = [tool["name"] for tool in stand_in.requests[0].body["tools"]]
    assert names == ["Read", "StructuredOutput"]


def test_prompts_of_the_profile_and_of_the_call_reach_the_model(stand_in: StandIn, folder: Path) -> None:
    litellm_claude_code.profile("own", system_prompt="You are terse.", cwd=folder)
    litellm_claude_code.profile("preset", append_system_prompt="Be terse.", cwd=folder)
    messages = [{"role": "system", "content": "Answer in French."}, user("Hello")]
    for name in ("own", "preset"):
        litellm.completion(**request(stand_in, name=name, messages=messages, max_tokens=321))
    own, preset = (record.body for record in stand_in.requests)
    assert own["system"][-1]["text"] == "You are terse.\n\nAnswer in French."
    assert preset["system"][-1]["text"].endswith("Be terse.\n\nAnswer in French.")
    assert len(preset["system"][-1]["text"]) > 1000
    assert own["max_tokens"] == preset["max_tokens"] == 321


@pytest.mark.parametrize("content", ["final", "all"])
async def test_a_stream_shows_each_step_and_its_text_is_that_of_the_plain_answer(
    stand_in: StandIn, folder: Path, content: Any
) -> None:
    events: list[dict[str, Any]] = []
    litellm_claude_code.profile("agent", tools=["Read"], cwd=folder, content=content, on_event=events.append)
    script = (answer("Let me look.", read(folder)), "On Tuesday.")
    stand_in.script(*script, *script)
    plain = await litellm.acompletion(**request(stand_in))
    heard, events[:] = list(events), []
    chunks = [chunk async for chunk in await litellm.acompletion(**request(stand_in), stream=True)]
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert streamed == text_of(plain) == ("On Tuesday." if content == "final" else "Let me look.\n\nOn Tuesday.")
    told = [getattr(chunk.choices[0].delta, "provider_specific_fields", None) or {} for chunk in chunks]
    live = [event for fields in told for event in fields.get("agent_events", [])]
    assert [event["type"] for event in live if event["type"] != "text"] == ["started", "tool_call", "tool_result"]
    assert "".join(event["text"] for event in live if event["type"] == "text") == "Let me look.On Tuesday."
    assert (
        [event["type"] for event in events] == [event["type"] for event in heard] == [event["type"] for event in live]
    )
    (record,) = [fields["agent"] for fields in told if "agent" in fields]
    assert [call["name"] for call in record["tool_calls"]] == ["Read"]
    assert chunks[-1].choices[0].finish_reason == "stop"
    whole: Any = litellm.stream_chunk_builder(chunks)
    assert whole.usage.total_tokens == plain.usage.total_tokens


def test_litellms_router_takes_an_agent_like_any_deployment(stand_in: StandIn, folder: Path) -> None:
    litellm_claude_code.profile("agent", tools=["Read"], cwd=folder)
    params = {key: value for key, value in request(stand_in).items() if key not in ("messages", "max_retries")}
    router = litellm.Router(model_list=[{"model_name": "reviewer", "litellm_params": params}], num_retries=0)
    stand_in.script(answer(read(folder)), "On Tuesday.")
    assert text_of(router.completion("reviewer", messages=[user("When?")])) == "On Tuesday."


def test_sync_streams_work_too(stand_in: StandIn, folder: Path) -> None:
    litellm_claude_code.profile("agent", tools=["Read"], cwd=folder)
    stand_in.script(answer("Let me look.", read(folder)), "On Tuesday.")
    chunks = list(litellm.completion(**request(stand_in), stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "On Tuesday."


def test_an_exception_of_on_event_is_logged_and_the_run_continues(
    stand_in: StandIn, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(event: dict[str, Any]) -> None:
        raise RuntimeError("no")

    litellm_claude_code.profile("agent", cwd=folder, on_event=fail)
    assert text_of(litellm.completion(**request(stand_in))) == "You said: Go."
    assert "on_event of the profile 'agent' failed" in caplog.text


def test_a_failure_is_litellms_exception_with_the_record_of_the_run_so_far(stand_in: StandIn, folder: Path) -> None:
    litellm_claude_code.profile("agent", tools=["Read"], cwd=folder, max_retries=0)
    stand_in.script(answer(read(folder)), Failure(400, message="That will not do."))
    with pytest.raises(litellm.BadRequestError, match="That will not do") as raised:
        litellm.completion(**request(stand_in))
    done: Any = raised.value
    assert [call["name"] for call in done.provider_specific_fields["agent"]["tool_calls"]] == ["Read"]


async def test_a_process_that_ends_at_its_start_fails_the_call_at_once_with_the_reason(
    stand_in: StandIn, folder: Path
) -> None:
    (folder / "no-cli").write_text("#!/bin/sh\necho 'not today' >&2\nexit 3\n")
    (folder / "no-cli").chmod(0o700)
    litellm_claude_code.profile("agent", cwd=folder)
    # Nobody waits so long: the test ends because the process has.
    settings = Settings(cli_path=folder / "no-cli", self_check=False, boot_timeout_s=3600)
    provider = litellm_claude_code.ClaudeCodeProvider(settings)
    given = {key: value for key, value in request(stand_in).items() if key in ("messages", "api_base", "api_key")}
    with pytest.raises(litellm.APIConnectionError, match="did not start: not today"):
        await provider.acompletion(model="sonnet@agent", optional_params={}, **given)
    await provider.aclose()


def test_a_request_to_a_busy_service_is_repeated_within_the_run(stand_in: StandIn, folder: Path) -> None:
    events: list[dict[str, Any]] = []
    litellm_claude_code.profile("agent", tools=["Read"], cwd=folder, max_retries=1, on_event=events.append)
    stand_in.script(answer(read(folder)), Failure(529), "Done.")
    assert text_of(litellm.completion(**request(stand_in))) == "Done."
    assert [event["error_status"] for event in events if event["type"] == "retry"] == [529]


LONG = "(setsid nohup sleep 4321 >/dev/null 2>&1 &) ; sleep 4322 & sleep 4323"


def test_a_timeout_ends_the_agent_and_all_it_has_started(stand_in: StandIn, folder: Path) -> None:
    litellm_claude_code.profile("agent", tools=["Bash"], allowed_tools=["Bash"], cwd=folder)
    for timeout_s in (4, 15, 60):  # on a busy machine, the first is too short for the command to begin
        stand_in.reset()
        stand_in.script(answer(bash(f"touch begun; {LONG}")))
        with pytest.raises(litellm.Timeout, match="no answer within the timeout"):
            litellm.completion(**request(stand_in), timeout=timeout_s)
        if (folder / "begun").exists():
            break
    assert (folder / "begun").exists()
    wait_until_nothing_is_left()
    stand_in.reset()
    assert text_of(litellm.completion(**request(stand_in))).endswith("Go.")


UNCHECKED = {"LITELLM_CLAUDE_CODE_SELF_CHECK": "false"}
RUN_FOR_EVER = """
import json, sys, litellm, litellm_claude_code
litellm_claude_code.profile("agent", tools=["Bash"], allowed_tools=["Bash"], cwd=sys.argv[1])
litellm.completion(**json.loads(sys.argv[2]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_an_agent_and_its_commands_end_with_a_python_process_that_is_killed(
    stand_in: StandIn, folder: Path, forks: Forker, tmp_path_factory: pytest.TempPathFactory
) -> None:
    detached = "(env -i setsid nohup sh -c 'touch detached; exec sleep 4326.5' >/dev/null 2>&1 &);"
    stand_in.script(answer(bash(f"{detached} until [ -e detached ]; do sleep 0.05; done; sleep 4324 & sleep 4325")))
    arguments = [str(folder), json.dumps(request(stand_in))]
    parent = forks.start(RUN_FOR_EVER, *arguments, home=tmp_path_factory.mktemp("home"), **UNCHECKED).program
    wait_until((folder / "detached").exists)
    wait_until(lambda: any("sleep 4325" in line for line in started_by_agents()), started_by_agents)
    assert len(processes_that_run("sleep", "4326.5")) == 1  # it has no mark: its environment is empty
    parent.kill()
    parent.wait()
    wait_until_nothing_is_left()
    wait_until(lambda: not processes_that_run("sleep", "4326.5"))


async def test_cancelling_ends_the_agent_and_all_it_has_started(stand_in: StandIn, folder: Path) -> None:
    litellm_claude_code.profile("agent", tools=["Bash"], allowed_tools=["Bash"], cwd=folder)
    stand_in.script(answer(bash(f"touch begun; {LONG}")))
    running = asyncio.create_task(litellm.acompletion(**request(stand_in)))
    await wait_until_async((folder / "begun").exists)
    assert litellm_claude_code.stats()["agents"] == 1
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.to_thread(wait_until_nothing_is_left)
    await wait_until_async(lambda: litellm_claude_code.stats()["agents"] == 0)


async def test_leaving_a_stream_ends_the_agent(stand_in: StandIn, folder: Path) -> None:
    litellm_claude_code.profile("agent", tools=["Bash"], allowed_tools=["Bash"], cwd=folder)
    stand_in.script(answer(bash(f"touch begun; {LONG}")))
    stream: Any = await litellm.acompletion(**request(stand_in), stream=True)
    async for chunk in stream:
        told = getattr(chunk.choices[0].delta, "provider_specific_fields", None) or {}
        if any(event["type"] == "tool_call" for event in told.get("agent_events", [])):
            break
    await stream.aclose() if hasattr(stream, "aclose") else None
    del stream
    await asyncio.to_thread(wait_until_nothing_is_left)


async def test_runs_in_one_folder_take_turns_unless_the_profile_allows_parallel_runs(
    stand_in: StandIn, folder: Path
) -> None:
    litellm_claude_code.profile("alone", cwd=folder)
    litellm_claude_code.profile("together", cwd=folder, parallel=True)
    may_end = threading.Event()

    def respond(record: Any) -> str:
        assert may_end.wait(60)
        return "Done."

    async def ask(name: str) -> str:
        try:
            return text_of(await litellm.acompletion(**request(stand_in, name=name)))
        except litellm.RateLimitError as error:
            may_end.set()
            return str(error)

    async def let_end_when_both_are_at_work() -> None:
        await asyncio.to_thread(stand_in.wait_for, count=2, timeout_s=60)
        may_end.set()

    stand_in.respond = respond
    one, other = sorted(await asyncio.gather(ask("alone"), ask("alone")), key=len)
    assert one == "Done."
    assert "another run is using the folder" in other
    assert "parallel=True" in other
    may_end.clear()
    stand_in.reset()
    together = await asyncio.gather(ask("together"), ask("together"), let_end_when_both_are_at_work())
    assert list(together[:2]) == ["Done.", "Done."]


WIDENING: list[dict[str, Any]] = [
    {"cwd": "/"},
    {"allowed_tools": ["Bash"]},
    {"permission_mode": "bypassPermissions"},
    {"mcp_servers": {"x": {"command": "sh"}}},
    {"env": {"X": "1"}},
    {"extra_body": {"cwd": "/"}},
    {"extra_body": {"system": "x"}},
    {"hooks": {}},
    {"resume": "x"},
    {"session_id": "00000000-0000-4000-8000-000000000000"},
    {"add_dirs": ["/"]},
    {"settings": "{}"},
    {"n": 2},
    {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
    {"temperature": 0.5},
    {"reasoning_effort": "high"},
    {"extra_headers": {"x": "1"}},
    {"user": "me"},
]


@pytest.mark.parametrize("more", WIDENING, ids=lambda more: next(iter(more)))
def test_no_call_can_widen_a_profile(stand_in: StandIn, folder: Path, more: dict[str, Any]) -> None:
    litellm_claude_code.profile("agent", tools=["Read"], cwd=folder)
    with pytest.raises(litellm.BadRequestError) as raised:
        litellm.completion(**request(stand_in, **more))
    assert len(str(raised.value)) > 60
    assert stand_in.requests == []
    assert litellm_claude_code.stats().get("agents", 0) == 0


def test_a_plain_call_gets_no_tools_from_an_agent_that_runs_beside_it(stand_in: StandIn, folder: Path) -> None:
    litellm_claude_code.profile("agent", tools=["Read", "Bash"], append_system_prompt="Agent.", cwd=folder)
    litellm.completion(**request(stand_in))
    plain = {**request(stand_in), "model": "claude_code/sonnet"}
    assert text_of(litellm.completion(**plain)) == "You said: Go."
    body = stand_in.requests[-1].body
    assert body["tools"] == []
    assert "Agent." not in json.dumps(body)
    assert str(folder) not in json.dumps(body)


def test_an_agents_process_gets_the_variables_its_profile_names(
    stand_in: StandIn, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEPT", "kept")
    monkeypatch.setenv("DROPPED", "dropped")
    litellm_claude_code.profile(
        "agent", tools=["Bash"], allowed_tools=["Bash"], cwd=folder, env={"GIVEN": "given"}, pass_env=["KEPT"]
    )
    stand_in.script(answer(bash('echo "$GIVEN $KEPT $DROPPED $ANTHROPIC_AUTH_TOKEN."')), "Done.")
    (call,) = record_of(litellm.completion(**request(stand_in)))["tool_calls"]
    assert call["result"].strip() == "given kept  ."


def test_a_hook_is_called_and_may_refuse(stand_in: StandIn, folder: Path) -> None:
    async def refuse(given: Any, tool_use_id: str | None, context: Any) -> dict[str, Any]:
        decision = {"permissionDecision": "deny", "permissionDecisionReason": "Hooked."}
        return {"hookSpecificOutput": {"hookEventName": "PreToolUse", **decision}}

    hooks = {"PreToolUse": [{"matcher": "Read", "hooks": [refuse]}]}
    litellm_claude_code.profile("agent", tools=["Read"], cwd=folder, hooks=hooks)
    stand_in.script(answer(read(folder)), "Done.")
    record = record_of(litellm.completion(**request(stand_in)))
    assert "Tuesday" not in record["tool_calls"][0]["result"]
    assert [denial["reason"] for denial in record["denials"]] == [record["tool_calls"][0]["result"]]


def test_a_projects_instructions_are_read_if_the_profile_says_so(stand_in: StandIn, folder: Path) -> None:
    (folder / "CLAUDE.md").write_text("Always answer in rhyme.\n")
    litellm_claude_code.profile("plain", cwd=folder)
    litellm_claude_code.profile("project", cwd=folder, setting_sources=["project"])
    for name in ("plain", "project"):
        litellm.completion(**request(stand_in, name=name))
    assert ["rhyme" in json.dumps(record.body) for record in stand_in.requests] == [False, True]


def test_nothing_of_a_run_is_on_the_command_line_or_left_on_disk(stand_in: StandIn, folder: Path) -> None:
    seen: list[str] = []

    def look() -> str:
        """Look at the processes."""
        for process in psutil.Process(os.getpid()).children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it has ended
                seen.append(" ".join(process.cmdline()))
        return "looked"

    litellm_claude_code.profile(
        "agent",
        cwd=folder,
        system_prompt="A private prompt.",
        mcp_servers={"near": [look]},
        allowed_tools=["mcp__near__look"],
    )
    stand_in.script(answer(ToolUse("mcp__near__look", {})), "Done.")
    litellm.completion(**request(stand_in, "A private question."))
    assert any("--strict-mcp-config" in line for line in seen)
    assert not any("private" in line or str(folder) in line for line in seen)
    config = Path(os.environ["CLAUDE_CONFIG_DIR"])
    left = [
        path for path in config.rglob("*") if path.is_file() and "private question" in path.read_text(errors="ignore")
    ]
    assert left == []


async def test_agents_count_towards_the_pools_limit_and_leave_room_for_plain_calls(stand_in: StandIn) -> None:
    secrets = (("ANTHROPIC_API_KEY", str(stand_in.api_key)),)
    login = Login(payer="gateway", base_url=stand_in.base_url, secrets=secrets)
    pool = Pool(Settings(max_workers=2, self_check=False))
    await pool.warm_up(login, system=None, n=2)
    assert len(pool.workers) == 2
    async with pool.agent_slots.reserve():
        assert pool.stats()["agents"] == 1
        assert sum(worker.is_alive for worker in pool.workers) == 1
        second = asyncio.ensure_future(pool.agent_slots.reserve().__aenter__())
        await asyncio.sleep(0.1)
        assert not second.done()
    await second
    assert pool.stats()["agents"] == 1
    await pool.aclose()
