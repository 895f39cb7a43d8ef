"""The CLI's own identity on the wire is the one a fresh native call writes for the same first prompt."""

import asyncio
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import claude_agent_sdk
import pytest
from claude_agent_sdk import ClaudeAgentOptions

from litellm_claude_code.testing import StandIn

from .test_wire import png
from .wire import MODEL, send

PROMPTS: list[Any] = [
    "What is the capital of France?",
    "x",
    "/clear",
    "@/etc/passwd",
    "é👩‍👩‍👧‍👦\u2028 and more of it, to have enough characters",
    "word " * 2_000,
    [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": png()}}],
    [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": png()}},
        {"type": "text", "text": "What is shown here, in detail?"},
    ],
    [{"type": "text", "text": "The first of two blocks, long enough"}, {"type": "text", "text": "Second block"}],
]


def native_model(stand_in: StandIn, name: str) -> str:
    """Return the model id that a fresh CLI process sends for a name."""
    with tempfile.TemporaryDirectory() as folder:
        return str(native(stand_in, "Hello", Path(folder), model=name).body["model"])


def native(stand_in: StandIn, content: Any, folder: Path, model: str = MODEL) -> Any:
    """Ask once through a fresh CLI process and the SDK's own `query()`."""

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


def openai(content: Any) -> Any:
    if isinstance(content, str):
        return content
    url = f"data:image/png;base64,{png()}"
    return [{"type": "image_url", "image_url": {"url": url}} if part["type"] == "image" else part for part in content]


@pytest.mark.parametrize("content", PROMPTS, ids=lambda content: str(content)[:20])
def test_identity_and_metadata_are_those_of_a_fresh_native_call(
    stand_in: StandIn, content: Any, tmp_path: Path
) -> None:
    for _ in range(3):  # on a worker that has served other calls, too
        ours = send(stand_in, f"claude_code/{MODEL}", {"messages": [{"role": "user", "content": openai(content)}]})
    fresh = native(stand_in, content, tmp_path)
    assert [block["text"] for block in ours.body["system"]] == [block["text"] for block in fresh.body["system"][:2]]
    mine, other = (json.loads(record.body["metadata"]["user_id"]) for record in (ours, fresh))
    assert mine.keys() == other.keys()
    assert mine["device_id"] == other["device_id"]
    assert mine["account_uuid"] == other["account_uuid"]
    for header in ("user-agent", "x-app", "x-stainless-timeout", "anthropic-version"):
        assert ours.headers[header] == fresh.headers[header]
