"""Conversations with agents: history given with the call, and sessions that go on, each client's own."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any

import litellm
import pytest

import litellm_claude_code
from litellm_claude_code.agents import sessions
from litellm_claude_code.testing import StandIn, Usage, answer

from .support.calls import agent_request as request
from .support.calls import read, record_of, text_of
from .support.requests import user
from .support.scripts import Forker


@pytest.fixture(autouse=True)
def _own_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "notes.txt").write_text("The launch is on Tuesday.\n")
    return folder


def turns(body: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the conversation as the model saw it, less what Claude Code tells of its surroundings."""
    found = []
    for message in body["messages"]:
        blocks = message["content"] if isinstance(message["content"], list) else [{"text": message["content"]}]
        kept = [
            block for block in blocks if "# Environment" not in str(block) and "<system-reminder>" not in str(block)
        ]
        for block in kept:
            block.pop("cache_control", None)
        if kept and message["role"] != "system":
            found.append((message["role"], kept))
    return found


def test_history_reaches_the_agent_as_real_turns_tool_calls_included(stand_in: StandIn, folder: Path) -> None:
    litellm_claude_code.profile("agent", tools=["Read"], cwd=folder)
    call = {"id": "toolu_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
    messages = [
        {"role": "system", "content": "Be terse."},
        user("How is the weather? @notes.txt"),
        {"role": "assistant", "content": "Let me ask.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "toolu_1", "content": "Sunny."},
        {"role": "assistant", "content": "Sunny."},
        user("And the launch? /cost"),
    ]
    stand_in.script(answer(read(folder)), "Tuesday.")
    response = litellm.completion(**request(stand_in, messages=messages))
    assert text_of(response) == "Tuesday."
    assert len(record_of(response)["tool_calls"]) == 1
    first = stand_in.requests[0].body
    assert len(stand_in.requests) == 2
    assert not any(message["content"] == [] for message in first["messages"])
    (asked, called, told, said, last) = turns(first)
    assert asked == ("user", [{"type": "text", "text": "How is the weather? @notes.txt"}])
    assert called[1] == [
        {"type": "text", "text": "Let me ask."},
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}},
    ]
    assert told[0] == "user"
    assert (told[1][0]["tool_use_id"], told[1][0]["content"]) == ("toolu_1", "Sunny.")
    assert said == ("assistant", [{"type": "text", "text": "Sunny."}])
    assert last[1][-1]["text"] == "And the launch? /cost"


def test_a_conversation_that_ends_with_the_assistant_is_refused(stand_in: StandIn, folder: Path) -> None:
    litellm_claude_code.profile("agent", cwd=folder)
    with pytest.raises(litellm.BadRequestError, match="last message must have the role"):
        litellm.completion(**request(stand_in, messages=[user("Hi"), {"role": "assistant", "content": "Hello"}]))


CONTINUE = """
import sys, json, litellm, litellm_claude_code
litellm_claude_code.profile("agent", tools=["Read"], cwd=sys.argv[1], sessions=True, max_budget_usd=1)
response = litellm.completion(**json.loads(sys.argv[2]))
record = response.choices[0].message.provider_specific_fields["agent"]
print(json.dumps([record, response.usage.completion_tokens]))
litellm_claude_code.close()
"""


def test_a_session_goes_on_in_another_process_and_counts_only_its_own_tokens(
    stand_in: StandIn, folder: Path, forks: Forker, tmp_path_factory: pytest.TempPathFactory
) -> None:
    litellm_claude_code.profile("agent", tools=["Read"], cwd=folder, sessions=True, max_budget_usd=1)
    stand_in.script(
        answer(read(folder), usage=Usage(input_tokens=1000, output_tokens=100)),
        answer("Tuesday.", usage=Usage(input_tokens=1000, output_tokens=100)),
        answer("As I said.", usage=Usage(input_tokens=10, output_tokens=1)),
    )
    first = litellm.completion(**request(stand_in, "When is the launch?"))
    session_id = record_of(first)["session_id"]
    assert uuid.UUID(session_id)
    again = request(stand_in, "Really?", session_id=session_id)
    ours = {name: os.environ[name] for name in ("CLAUDE_CONFIG_DIR", "XDG_CACHE_HOME")}
    out, errors = forks.start(
        CONTINUE, str(folder), json.dumps(again), home=tmp_path_factory.mktemp("home"), **ours
    ).wait()
    assert out, errors
    record, completion_tokens = json.loads(out.splitlines()[-1])
    assert record["session_id"] == session_id
    assert completion_tokens == 1
    assert 0 < record["cost_usd"] < record_of(first)["cost_usd"] / 10
    (asked, called, told, said, last) = turns(stand_in.requests[-1].body)
    assert asked[1][-1]["text"] == "When is the launch?"
    assert called[1][0]["name"] == "Read"
    assert "Tuesday" in json.dumps(told)
    assert said[1][0]["text"] == "Tuesday."
    assert last[1][-1]["text"] == "Really?"


def test_a_session_belongs_to_one_client(stand_in: StandIn, folder: Path) -> None:
    litellm_claude_code.profile("agent", cwd=folder, sessions=True)
    litellm_claude_code.profile("other", cwd=folder, sessions=True)
    litellm_claude_code.profile("forgetful", cwd=folder)

    def ask(key: str | None, name: str = "agent", **more: Any) -> Any:
        # What litellm's proxy passes on of the client whose request it serves.
        client = {"proxy_server_request": {"body": {}}, "metadata": {"user_api_key_hash": key}} if key else {}
        return litellm.completion(**{**request(stand_in, name=name), **client, **more})

    session_id = record_of(ask("key-of-ann"))["session_id"]
    before = len(stand_in.requests)
    for key, name in (("key-of-bob", "agent"), (None, "agent"), ("key-of-ann", "other")):
        with pytest.raises(litellm.BadRequestError, match="has no conversation"):
            ask(key, name, session_id=session_id)
    with pytest.raises(litellm.BadRequestError, match="does not keep conversations"):
        ask("key-of-ann", "forgetful", session_id=session_id)
    with pytest.raises(litellm.BadRequestError, match="`session_id` is not valid"):
        ask("key-of-ann", session_id="../../etc/passwd")
    with pytest.raises(litellm.BadRequestError, match="has no conversation"):
        ask("key-of-ann", session_id=str(uuid.uuid4()))
    history = [user("Hi"), {"role": "assistant", "content": "Hello"}, user("Go on.")]
    with pytest.raises(litellm.BadRequestError, match="send only the new message"):
        ask("key-of-ann", session_id=session_id, messages=history)
    assert len(stand_in.requests) == before
    assert record_of(ask("key-of-ann", session_id=session_id))["session_id"] == session_id


@pytest.mark.parametrize(
    ("told", "owner"),
    [
        ({}, "local"),
        ({"proxy_server_request": {}}, "local"),
        ({"proxy_server_request": {"body": {}}}, ""),
        ({"proxy_server_request": {"body": {}}, "metadata": {"user_api_key_hash": None}}, ""),
        ({"proxy_server_request": {"body": {}}, "metadata": {"user_api_key_hash": "a"}}, "proxy:a"),
        ({"proxy_server_request": {"body": {}}, "litellm_metadata": {"user_api_key_hash": "a"}}, "proxy:a"),
        (
            {
                "proxy_server_request": {"body": {}},
                "metadata": {"user_api_key_hash": "a client's own words"},
                "litellm_metadata": {"user_api_key_hash": "a"},
            },
            "",
        ),
    ],
)
def test_a_client_is_identified_by_its_key_and_not_by_what_it_claims(told: dict[str, Any], owner: str) -> None:
    from litellm_claude_code.agents.request import owner_of

    assert owner_of(told) == owner


def test_a_proxy_without_client_keys_keeps_no_conversations(stand_in: StandIn, folder: Path) -> None:
    litellm_claude_code.profile("agent", cwd=folder, sessions=True)
    with pytest.raises(litellm.PermissionDeniedError, match="cannot tell which client"):
        litellm.completion(**request(stand_in, proxy_server_request={"body": {}}))
    assert stand_in.requests == []


def test_a_long_conversation_is_compacted_and_the_answer_says_so(stand_in: StandIn, folder: Path) -> None:
    events: list[dict[str, Any]] = []
    litellm_claude_code.profile(
        "agent", tools=["Read"], cwd=folder, on_event=events.append, env={"CLAUDE_CODE_AUTO_COMPACT_WINDOW": "100000"}
    )
    full = Usage(input_tokens=98_000, output_tokens=100)

    def respond(record: Any) -> Any:
        if "<summary> block" in json.dumps(record.body["messages"][-1]):
            return "<analysis>Long.</analysis><summary>It was about a launch.</summary>"
        return "Done." if "It was about a launch." in json.dumps(record.body) else answer(read(folder), usage=full)

    (folder / "notes.txt").write_text("The launch is on Tuesday.\n" * 2000)
    stand_in.respond = respond
    response = litellm.completion(**request(stand_in, "Go on."))
    (compaction,) = record_of(response)["compactions"]
    assert compaction["trigger"] == "auto"
    assert compaction["tokens_before"] > 100_000
    assert [event for event in events if event["type"] == "compaction"] == [{"type": "compaction", **compaction}]
    assert text_of(response) == "Done."


def test_notes_of_sessions_contain_no_content_and_no_keys(stand_in: StandIn, folder: Path) -> None:
    litellm_claude_code.profile("agent", cwd=folder, sessions=True)
    litellm.completion(**request(stand_in, "A private question."))
    (note,) = sessions.sessions_folder().iterdir()
    assert note.stat().st_mode & 0o077 == 0
    assert set(json.loads(note.read_text())) == {"profile", "owner", "usage_by_model", "cost_usd"}
    assert "private" not in note.read_text()
