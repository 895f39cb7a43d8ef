"""The body that reaches each cloud is the one that `anthropic/` sends for the Claude model behind the id."""

from __future__ import annotations

import base64
import copy
from collections.abc import Iterator
from typing import Any

import litellm
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import litellm_claude_code
from litellm_claude_code.testing import StandIn

from .support.clouds import KINDS, AnyStandIn, each_cloud
from .support.generated import examples, requests
from .support.requests import ASK, PIXEL, Capital, user
from .support.wire import assert_same_body, betas, send

# Ids of each cloud, with the name of the same model at Anthropic.
MODELS = {
    "bedrock": {
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0": "claude-sonnet-4-5-20250929",
        "us.anthropic.claude-opus-5-5": "claude-opus-5-5",
    },
    "vertex": {"claude-sonnet-4-5@20250929": "claude-sonnet-4-5-20250929", "claude-opus-5-5": "claude-opus-5-5"},
    "foundry": {"claude-sonnet-4-5": "claude-sonnet-4-5", "claude-opus-5-5": "claude-opus-5-5"},
}
# Betas that the CLI does not send there. Vertex and Foundry get its own ones for plain calls; Bedrock gets fewer.
NOT_SENT = {"effort-2025-11-24", "structured-outputs-2025-11-13"}
PDF = base64.b64encode(b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n").decode()
MARK = {"type": "ephemeral"}
REQUESTS: dict[str, dict[str, Any]] = {
    "an image and a PDF": {
        "messages": [
            user(
                [
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
                    {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PDF}"}},
                ]
            )
        ]
    },
    "a schema": {"messages": ASK, "response_format": Capital},
    "thinking": {"messages": ASK, "reasoning_effort": "high", "max_tokens": 9000},
    "a cache mark": {"messages": [user([{"type": "text", "text": "Hello", "cache_control": MARK}])]},
    "a stop and a temperature": {"messages": ASK, "temperature": 1, "stop": ["END"]},
}


@pytest.fixture(scope="module")
def stand_ins(one_stand_in: StandIn) -> Iterator[dict[str, AnyStandIn]]:
    with each_cloud(respond=lambda _: "Well.", validate=False) as stand_ins:
        yield stand_ins
        litellm_claude_code.close()


@pytest.fixture(params=KINDS)
def cloud(request: Any, stand_ins: dict[str, AnyStandIn], monkeypatch: pytest.MonkeyPatch) -> AnyStandIn:
    """The stand-in of a cloud that the environment names."""
    for name, value in stand_ins[request.param].environment.items():
        monkeypatch.setenv(name, value)
    return stand_ins[request.param]


def assert_same(cloud: AnyStandIn, stand_in: StandIn, request: dict[str, Any], model: str, claude: str) -> None:
    stand_in.respond, stand_in.validate = lambda _: "Well.", False  # both send what the API refuses, too
    cloud.reset()
    litellm.completion(f"claude_code/{model}", max_retries=0, **copy.deepcopy(request))
    (ours,) = cloud.requests
    theirs = send(stand_in, f"anthropic/{claude}", request)
    assert ours.body["model"] == model
    ours.body["model"] = theirs.body["model"]
    assert_same_body(ours, theirs)
    assert betas(theirs) - betas(ours) <= NOT_SENT


def cases() -> list[Any]:
    return [(name, model, claude) for name, models in MODELS.items() for model, claude in models.items()]


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize(("cloud", "model", "claude"), cases(), indirect=["cloud"])
def test_the_body_is_the_one_anthropic_sends(
    cloud: AnyStandIn, stand_in: StandIn, name: str, model: str, claude: str
) -> None:
    assert_same(cloud, stand_in, REQUESTS[name], model, claude)


@settings(max_examples=examples(10))
@given(request=requests(), index=st.integers(0, 1))
def test_any_body_is_the_one_anthropic_sends(
    cloud: AnyStandIn, stand_in: StandIn, request: dict[str, Any], index: int
) -> None:
    name = next(name for name, kind in KINDS.items() if isinstance(cloud, kind))
    model, claude = list(MODELS[name].items())[index]
    assert_same(cloud, stand_in, request, model, claude)
