"""Send a request through this provider and through litellm's own `anthropic/`, and compare what is on the wire."""

from __future__ import annotations

import copy
import json
from typing import Any

import litellm

from litellm_claude_code.testing import StandIn

MODEL = "claude-sonnet-5-5"
# `anthropic/` sends `extra_body` nested. The other is of a test that sends what no API knows.
NOT_OF_THE_API = ("extra_body", "service_hint")
# The CLI always sends these. Structured output is requested without its beta (README, "Not verified live").
BETAS_OF_THE_CLI = {"claude-code-20250219", "interleaved-thinking-2025-05-14", "effort-2025-11-24"}
BETAS_LEFT_OUT = {"structured-outputs-2025-11-13"}
# On Vertex the CLI introduces itself in other words.
IDENTITIES = (
    "You are a Claude agent, built on Anthropic's Claude Agent SDK.",
    "You are Claude Code, Anthropic's official CLI for Claude.",
)


def send(stand_in: StandIn, model: str, request: dict[str, Any]) -> Any:
    """Make a call and return its request as the stand-in recorded it. There must be exactly one."""
    before = len(stand_in.requests)
    litellm.completion(model, **copy.deepcopy(request), api_base=stand_in.base_url, api_key=stand_in.api_key)
    seen = stand_in.requests[before:]
    assert len(seen) == 1, [record.path for record in seen]
    return seen[0]


def pair(stand_in: StandIn, request: dict[str, Any], model: str = MODEL) -> tuple[Any, Any]:
    """Send a request both ways; return both records, this provider's first."""
    stand_in.fields = NOT_OF_THE_API
    return send(stand_in, f"claude_code/{model}", request), send(stand_in, f"anthropic/{model}", request)


def assert_same_body(ours: Any, theirs: Any) -> None:
    mine, other = dict(ours.body), dict(theirs.body)
    assert mine.pop("stream") is True
    other.pop("stream", None)
    assert set(json.loads(mine.pop("metadata")["user_id"])) == {"device_id", "account_uuid", "session_id"}
    assert caller_system(mine.pop("system")) == "\n\n".join(block["text"] for block in other.pop("system", []))
    if "tools" not in other:
        assert mine.pop("tools") == []  # the CLI sends an empty list
    if "temperature" not in other:
        assert mine.pop("temperature", 1) == 1  # the CLI sends the API's default for some models
    if "output_format" in other:
        other.setdefault("output_config", {})["format"] = other.pop("output_format")
    other.update(other.pop("extra_body", {}))  # `anthropic/` sends it nested, which the API does not accept
    assert mine == other


def assert_same_betas(ours: Any, theirs: Any) -> None:
    assert betas(ours) <= BETAS_OF_THE_CLI
    assert betas(theirs) - betas(ours) <= BETAS_LEFT_OUT


def betas(record: Any) -> set[str]:
    return {beta.strip() for beta in record.headers.get("anthropic-beta", "").split(",") if beta.strip()}


def caller_system(blocks: list[dict[str, Any]]) -> str:
    """Return the system prompt on the wire without the CLI's own identity, which comes first."""
    assert blocks[0]["text"].startswith("x-anthropic-billing-header: cc_version=")
    assert blocks[1]["text"] in IDENTITIES
    assert len(blocks) <= 3
    return blocks[2]["text"] if len(blocks) == 3 else ""
