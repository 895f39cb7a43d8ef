"""A call through a fresh Claude Code process and the SDK's own `query()`, as a reference for ours."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

import claude_agent_sdk
from claude_agent_sdk import ClaudeAgentOptions

from litellm_claude_code.testing import StandIn

from .wire import MODEL


def native_model(stand_in: StandIn, name: str) -> str:
    """Return the model id that a fresh CLI process sends for this name."""
    with tempfile.TemporaryDirectory() as folder:
        return str(native(stand_in, "Hello", Path(folder), model=name).body["model"])


def native(stand_in: StandIn, content: Any, folder: Path, model: str = MODEL) -> Any:
    """Make one call through a fresh CLI process and the SDK's own `query()`; return its first request."""

    async def prompt() -> Any:
        message = {"role": "user", "content": content}
        yield {"type": "user", "message": message, "parent_tool_use_id": None, "client_composed": True}

    async def ask() -> None:
        options = ClaudeAgentOptions(
            model=model,
            tools=[],
            setting_sources=[],
            strict_mcp_config=True,
            max_turns=1,
            cwd=folder,
            extra_args={"no-session-persistence": None},
            env={
                "ANTHROPIC_BASE_URL": stand_in.base_url,
                "ANTHROPIC_API_KEY": stand_in.api_key or "",
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
                "CLAUDE_CODE_DISABLE_TERMINAL_TITLE": "1",
                "CLAUDE_CONFIG_DIR": os.environ["CLAUDE_CONFIG_DIR"],
            },
        )
        async for _ in claude_agent_sdk.query(prompt=prompt(), options=options):
            pass

    before = len(stand_in.requests)
    asyncio.run(ask())
    return stand_in.requests[before]
