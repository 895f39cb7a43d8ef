"""What an agent leaves on the machine when it has ended: no process, and no file of another run."""

from __future__ import annotations

from typing import Any

import litellm

import litellm_claude_code
from litellm_claude_code.testing import Answer, StandIn, Text, ToolUse

from .support.calls import agent_request as request
from .support.calls import record_of
from .support.processes import processes_that_run

DETACHED_S = "543.21"
DETACH = (
    f"env -i setsid nohup sh -c 'touch began; exec sleep {DETACHED_S}' >/dev/null 2>&1 & "
    "until [ -e began ]; do sleep 0.05; done; rm began; touch left; ls; pwd"
)


def detached() -> list[int]:
    return processes_that_run("sleep", DETACHED_S)


def run_once(stand_in: StandIn, **more: Any) -> tuple[str, Any]:
    """Have an agent run the command; return what the command printed, and the response."""
    stand_in.script(Answer(content=[ToolUse("Bash", {"command": DETACH})]), Answer(content=[Text("Done.")]))
    response = litellm.completion(**request(stand_in, **more))
    last = stand_in.requests[-1].body["messages"][-1]["content"]
    return next(block["content"] for block in last if block["type"] == "tool_result"), response


def test_an_agents_run_leaves_no_detached_process_and_no_file_for_the_next(stand_in: StandIn) -> None:
    litellm_claude_code.profile("agent", tools=["Bash"], allowed_tools=["Bash"])
    for _ in range(2):
        printed, _response = run_once(stand_in)
        assert printed.split()[0] == "left"
        assert len(printed.split()) == 2, printed
        assert detached() == []


def test_each_kept_conversation_has_a_folder_of_its_own(stand_in: StandIn) -> None:
    litellm_claude_code.profile("agent", tools=["Bash"], allowed_tools=["Bash"], sessions=True)
    first, response = run_once(stand_in)
    again, _ = run_once(stand_in, session_id=record_of(response)["session_id"])
    other, _ = run_once(stand_in)
    assert first == again
    assert other.split()[-1] != first.split()[-1]
    assert detached() == []
