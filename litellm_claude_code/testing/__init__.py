"""Test programs that use this package, with the real Claude Code CLI but without quota or network.

A `StandIn` is a local server with the Anthropic Messages API that sends scripted responses:

    import litellm
    import litellm_claude_code
    from litellm_claude_code.testing import Failure, StandIn, ToolUse, answer

    with StandIn() as stand_in:
        stand_in.script("Four.", answer(ToolUse("add", {"a": 2, "b": 2})), Failure(429, headers={"retry-after": "7"}))
        response = litellm.completion(
            model="claude_code/sonnet",
            messages=[{"role": "user", "content": "What is 2 + 2?"}],
            api_base=stand_in.base_url,
            api_key=stand_in.api_key,
        )
        assert response.choices[0].message.content == "Four."
        assert stand_in.requests[0].body["messages"][0]["role"] == "user"
        assert stand_in.other_requests == []

`BedrockStandIn`, `VertexStandIn` and `FoundryStandIn` are the same for the three clouds: with the variables of its
`environment` set, calls go there.

Without a script it echoes the last user message, or gives JSON if the request asks for JSON by a schema. Requests that
the API would refuse are refused: see `StandIn`. With `respond=` it calls your function for each response. `python -m
litellm_claude_code.testing` runs one for other processes. With pytest, the fixture `claude_stand_in` is a fresh one for
each test. To enable it, add this line to your `conftest.py`:

    pytest_plugins = ["litellm_claude_code.testing.plugin"]
"""

from typing import TYPE_CHECKING

from .answers import (
    Answer,
    Block,
    CacheCreation,
    ErrorType,
    Failure,
    RawBody,
    RawEvents,
    RedactedThinking,
    Reply,
    StopReason,
    Text,
    Thinking,
    ToolUse,
    Usage,
    answer,
)

if TYPE_CHECKING:
    from .clouds import (
        BedrockStandIn,
        FoundryStandIn,
        VertexStandIn,
        bedrock_failure,
        foundry_failure,
        vertex_failure,
    )
    from .server import RecordedRequest, Respond, StandIn

__all__ = [
    "Answer",
    "BedrockStandIn",
    "Block",
    "CacheCreation",
    "ErrorType",
    "Failure",
    "FoundryStandIn",
    "RawBody",
    "RawEvents",
    "RecordedRequest",
    "RedactedThinking",
    "Reply",
    "Respond",
    "StandIn",
    "StopReason",
    "Text",
    "Thinking",
    "ToolUse",
    "Usage",
    "VertexStandIn",
    "answer",
    "bedrock_failure",
    "foundry_failure",
    "vertex_failure",
]


def __getattr__(name: str) -> object:
    # pytest loads the plugin, and so this package, even if no test uses it: import the web server only when needed.
    if name in ("RecordedRequest", "Respond", "StandIn"):
        from . import server

        return getattr(server, name)
    if name in __all__:
        from . import clouds

        return getattr(clouds, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
