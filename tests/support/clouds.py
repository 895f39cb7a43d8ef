"""The stand-ins of the three clouds, one of each for all tests of a file, and litellm's own providers on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from litellm_claude_code.testing import BedrockStandIn, FoundryStandIn, VertexStandIn

AnyStandIn = BedrockStandIn | VertexStandIn | FoundryStandIn
KINDS: dict[str, type[AnyStandIn]] = {"bedrock": BedrockStandIn, "vertex": VertexStandIn, "foundry": FoundryStandIn}
PROFILE_ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"


@contextmanager
def each_cloud(**options: Any) -> Iterator[dict[str, AnyStandIn]]:
    """Run a stand-in of each cloud, by the names of `KINDS`."""
    with BedrockStandIn(**options) as bedrock, VertexStandIn(**options) as vertex, FoundryStandIn(**options) as foundry:
        yield {"bedrock": bedrock, "vertex": vertex, "foundry": foundry}


def litellm_options(stand_in: AnyStandIn) -> dict[str, Any]:
    """Lead litellm's own provider of that cloud to the stand-in. Its provider of Vertex needs Google's SDK."""
    if isinstance(stand_in, BedrockStandIn):
        return {
            "model": f"bedrock/invoke/{stand_in.model}",
            "aws_bedrock_runtime_endpoint": stand_in.base_url,
            "aws_access_key_id": stand_in.api_key,
            "aws_secret_access_key": "secret",
            "aws_region_name": "us-east-1",
        }
    return {
        "model": f"azure_ai/{stand_in.model}",
        "api_base": f"{stand_in.base_url}/anthropic",
        "api_key": stand_in.api_key,
    }
