"""The self-check and the limits of a subscription hold for agents as they do for plain calls."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import litellm
import pytest

import litellm_claude_code
from litellm_claude_code.testing import Answer, StandIn, Text

from .support.calls import agent_request as request
from .support.limits import limited
from .support.requests import user
from .support.waiting import wait_until_async as until

WAITING = "The call that waits."


def test_an_agent_does_not_run_on_a_cli_that_fails_the_self_check(
    stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli = tmp_path / "claude"
    cli.write_text("#!/bin/sh\nexit 3\n")
    cli.chmod(0o700)
    litellm_claude_code.close()
    monkeypatch.setenv("LITELLM_CLAUDE_CODE_CLI_PATH", str(cli))
    litellm_claude_code.profile("agent")
    with pytest.raises(litellm.APIConnectionError, match="does not behave as litellm_claude_code needs"):
        litellm.completion(**request(stand_in))
    assert stand_in.requests == []
    litellm_claude_code.close()


async def test_an_agent_that_meets_a_limit_fails_the_calls_that_wait(stand_in: StandIn, login: Any) -> None:
    login.setenv("LITELLM_CLAUDE_CODE_MAX_WORKERS", "2")
    login.setenv("LITELLM_CLAUDE_CODE_SPARE_WORKERS", "0")
    litellm_claude_code.profile("agent", max_retries=0)
    released = threading.Event()

    async def respond(record: Any) -> Any:
        if "agent" in str(record.body["messages"]):
            await asyncio.to_thread(released.wait)
            return limited(3_600)
        return Answer(content=[Text("slow")], delay_s=60)

    stand_in.respond = respond
    where = {"api_base": stand_in.base_url, "max_retries": 0}
    agent = asyncio.create_task(
        litellm.acompletion("claude_code/sonnet@agent", messages=[user("You are the agent.")], **where)
    )
    slow = asyncio.create_task(litellm.acompletion("claude_code/sonnet", messages=[user("Take your time.")], **where))
    await until(lambda: len(stand_in.requests) == 2)
    waiting = asyncio.create_task(litellm.acompletion("claude_code/sonnet", messages=[user(WAITING)], **where))
    await until(lambda: litellm_claude_code.stats()["queue"] == 1)
    released.set()
    for call in (agent, waiting):
        with pytest.raises(litellm.RateLimitError, match=r"5-hour limit|hit your"):
            await call
    assert not slow.done()
    assert not any(WAITING in str(record.body) for record in stand_in.requests)
    slow.cancel()
    await asyncio.gather(slow, return_exceptions=True)
