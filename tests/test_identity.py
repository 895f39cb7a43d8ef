"""The CLI's own identity on the wire is the one a fresh native call writes for the same first prompt."""

import json
from pathlib import Path
from typing import Any

import pytest

from litellm_claude_code.testing import StandIn

from .support.native import native
from .support.requests import PIXEL
from .support.wire import MODEL, send

PROMPTS: list[Any] = [
    "What is the capital of France?",
    "x",
    "/clear",
    "@/etc/passwd",
    "é👩‍👩‍👧‍👦\u2028 and more of it, to have enough characters",
    "word " * 2_000,
    [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}],
    [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
        {"type": "text", "text": "What is shown here, in detail?"},
    ],
    [{"type": "text", "text": "The first of two blocks, long enough"}, {"type": "text", "text": "Second block"}],
]


def openai(content: Any) -> Any:
    if isinstance(content, str):
        return content
    url = f"data:image/png;base64,{PIXEL}"
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
