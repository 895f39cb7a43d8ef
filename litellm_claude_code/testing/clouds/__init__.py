"""Stand-ins of the clouds that serve Claude: Amazon Bedrock, Google Vertex AI and Microsoft Foundry.

Each is a `StandIn`: the same scripted answers, failures and recorded requests, in the framing of that service.
`environment` leads Claude Code there:

    with BedrockStandIn(["Four."]) as stand_in:
        options = ClaudeAgentOptions(env=stand_in.environment, model=stand_in.model)

A recorded request's `body` is what the Messages API would get (`model` and `stream` are in it), and its
`anthropic-version` and `anthropic-beta` headers are there if the service takes them in the body.
"""

from .bedrock import BedrockStandIn, bedrock_failure
from .foundry import FoundryStandIn, foundry_failure
from .vertex import VertexStandIn, vertex_failure

__all__ = [
    "BedrockStandIn",
    "FoundryStandIn",
    "VertexStandIn",
    "bedrock_failure",
    "foundry_failure",
    "vertex_failure",
]
