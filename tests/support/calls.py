"""Calls that many tests make: a plain one, and one to an agent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import litellm

from litellm_claude_code.testing import StandIn, ToolUse

from .requests import ASK, user


def ask(stand_in: StandIn, **more: Any) -> Any:
    request = {"model": "claude_code/sonnet", "messages": ASK, **more}
    return litellm.completion(**request, api_base=stand_in.base_url, api_key=stand_in.api_key)


def agent_request(stand_in: StandIn, text: str = "Go.", name: str = "agent", **more: Any) -> dict[str, Any]:
    where = {"api_base": stand_in.base_url, "api_key": stand_in.api_key}
    return {"model": f"claude_code/sonnet@{name}", "messages": [user(text)], "max_retries": 0, **where, **more}


def record_of(response: Any) -> dict[str, Any]:
    """Return the record of what an agent did."""
    return dict(response.choices[0].message.provider_specific_fields["agent"])


def text_of(response: Any) -> str:
    return str(response.choices[0].message.content)


def read(folder: Path) -> ToolUse:
    """Return a call of the Read tool for `notes.txt` in the folder."""
    return ToolUse("Read", {"file_path": str(folder / "notes.txt")})
