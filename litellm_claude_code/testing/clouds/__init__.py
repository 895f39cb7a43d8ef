"""Stand-ins for the clouds that serve Claude: Amazon Bedrock, Google Vertex AI and Microsoft Foundry.

Each is a `StandIn` with the same scripted answers, failures and recorded requests, but with that service's paths,
credentials and framing. `environment` configures Claude Code to use it:

    with BedrockStandIn(["Four."]) as stand_in:
        options = ClaudeAgentOptions(env=stand_in.environment, model=stand_in.model)

A recorded request's `body` is as the Messages API would get it: `model` and `stream` are added. If the service expects
`anthropic-version` and `anthropic-beta` in the body, they are moved to the recorded `headers`.
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
