"""The stand-ins of Bedrock, Vertex and Foundry, asked by the real CLI through the plain SDK and by litellm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import litellm
import pytest
from botocore.eventstream import EventStreamBuffer
from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, ResultMessage

from litellm_claude_code.testing import (
    BedrockStandIn,
    Failure,
    FoundryStandIn,
    ToolUse,
    answer,
    bedrock_failure,
    foundry_failure,
    vertex_failure,
)
from litellm_claude_code.testing.clouds.event_stream import encode_message

from .support.clouds import KINDS, AnyStandIn, litellm_options

ASK: list[Any] = [{"role": "user", "content": "What is 2 + 2?"}]
pytestmark = pytest.mark.processes
ALL = list(KINDS.values())


async def ask(stand_in: AnyStandIn, home: Path) -> ResultMessage:
    """Ask the real CLI once, in a home of its own."""
    env = {
        **stand_in.environment,
        "CLAUDE_CONFIG_DIR": str(home),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_DISABLE_TERMINAL_TITLE": "1",
        "CLAUDE_CODE_MAX_RETRIES": "0",
    }
    options = ClaudeAgentOptions(tools=[], setting_sources=[], env=env, cwd=home, model=stand_in.model, max_turns=1)
    async with ClaudeSDKClient(options) as client:
        await client.query("What is 2 + 2?")
        async for message in client.receive_response():
            if isinstance(message, ResultMessage):
                return message
    raise AssertionError("the CLI sent no result")


def test_botocore_decodes_what_is_encoded_here_also_byte_by_byte() -> None:
    wire = encode_message({":event-type": "chunk", "größe": "ü"}, b"{}") + encode_message({}, b"")
    buffer = EventStreamBuffer()
    for byte in wire:
        buffer.add_data(bytes([byte]))
    first, second = list(buffer)
    assert (first.headers, first.payload) == ({":event-type": "chunk", "größe": "ü"}, b"{}")
    assert (second.headers, second.payload) == ({}, b"")


@pytest.mark.processes
@pytest.mark.parametrize("kind", ALL)
async def test_the_real_cli_is_answered(kind: type[AnyStandIn], tmp_path: Path) -> None:
    with kind(respond=lambda request: "Four.") as stand_in:
        result = await ask(stand_in, tmp_path)
        assert result.result == "Four."
        body = stand_in.requests[-1].body
        assert (body["model"], body["stream"]) == (stand_in.model, True)
        assert "anthropic_version" not in body


@pytest.mark.processes
@pytest.mark.parametrize("kind", ALL)
async def test_the_real_cli_reports_a_scripted_failure(kind: type[AnyStandIn], tmp_path: Path) -> None:
    with kind(respond=lambda request: Failure(429, message="Slowly.")) as stand_in:
        result = await ask(stand_in, tmp_path)
        assert (result.is_error, result.api_error_status) == (True, 429)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", [BedrockStandIn, FoundryStandIn])
def test_litellms_own_provider_is_answered(kind: type[AnyStandIn], stream: bool) -> None:
    with kind([answer("Let me add.", ToolUse("add", {"a": 2}))]) as stand_in:
        response: Any = litellm.completion(messages=ASK, stream=stream, max_tokens=9, **litellm_options(stand_in))
        if stream:
            response = litellm.stream_chunk_builder(list(response))
        message = response.choices[0].message
        assert message.content == "Let me add."
        assert json.loads(message.tool_calls[0].function.arguments) == {"a": 2}
        assert len(stand_in.requests) == 1


def test_a_failure_has_the_services_own_name_and_status() -> None:
    assert bedrock_failure("ThrottlingException").headers["x-amzn-errortype"] == "ThrottlingException"
    assert (vertex_failure("RESOURCE_EXHAUSTED").status, foundry_failure("DeploymentNotFound").status) == (429, 404)
    with pytest.raises(KeyError):
        bedrock_failure("NoSuchException")


@pytest.mark.parametrize(
    ("name", "raised"),
    [
        ("ThrottlingException", litellm.RateLimitError),
        ("AccessDeniedException", litellm.PermissionDeniedError),
        ("ValidationException", litellm.BadRequestError),
        ("ServiceUnavailableException", litellm.ServiceUnavailableError),
    ],
)
def test_litellms_own_bedrock_provider_knows_the_failure(name: str, raised: type[Exception]) -> None:
    with BedrockStandIn([bedrock_failure(name)]) as stand_in, pytest.raises(raised):
        litellm.completion(messages=ASK, max_tokens=9, num_retries=0, **litellm_options(stand_in))
