"""Parts of an answer that only newer versions of litellm know are the same as those of `anthropic/`."""

from __future__ import annotations

import json
from typing import Any

import litellm
import pytest

from litellm_claude_code.testing import Answer, StandIn, Text, ToolUse

from .support.requests import ASK

REFUSED = Answer(
    content=[Text("I")], stop_reason="refusal", stop_details={"type": "refusal", "explanation": "It is not allowed."}
)
PLACE = {
    "type": "json_schema",
    "json_schema": {
        "name": "place",
        "schema": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "values": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
# What a model has put into the tool that stands for a `response_format`.
INPUTS: dict[str, dict[str, Any]] = {
    "as the schema says": {"city": "Paris"},
    "with a field that is called values": {"city": "Paris", "values": "liberty"},
    "in an envelope": {"values": {"city": "Paris"}},
}


def asked(stand_in: StandIn, model: str, script: Answer, **more: Any) -> Any:
    stand_in.script(script)
    where = {"api_base": stand_in.base_url, "api_key": stand_in.api_key}
    return litellm.completion(model, messages=ASK, **where, **more)


def refusals(stand_in: StandIn, provider: str) -> tuple[Any, list[Any]]:
    """Return the reason in a plain refusal, and those in the chunks of a streamed one."""
    model = f"{provider}/claude-sonnet-5-5"
    plain = asked(stand_in, model, REFUSED).choices[0].message
    stream = [chunk.choices[0].delta for chunk in asked(stand_in, model, REFUSED, stream=True) if chunk.choices]
    return getattr(plain, "refusal", None), [
        refusal for delta in stream if (refusal := getattr(delta, "refusal", None)) is not None
    ]


def test_a_refusal_has_its_reason_if_litellm_has_a_field_for_it(stand_in: StandIn) -> None:
    theirs = refusals(stand_in, "anthropic")
    assert refusals(stand_in, "claude_code") == theirs
    knows_refusals = "refusal" in litellm.types.utils.Message.model_fields
    assert theirs == (("It is not allowed.", ["It is not allowed."]) if knows_refusals else (None, []))


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_by_way_of_a_tool_is_unwrapped_as_anthropic_unwraps_it(
    stand_in: StandIn, name: str, stream: bool
) -> None:
    contents = []
    for provider in ("anthropic", "claude_code"):
        script = Answer(content=[ToolUse("json_tool_call", INPUTS[name])])
        model = f"{provider}/claude-sonnet-4-20250514"
        response = asked(stand_in, model, script, response_format=PLACE, stream=stream)
        folded: Any = litellm.stream_chunk_builder(list(response), messages=ASK) if stream else response
        assert stand_in.requests[-1].body["tools"][0]["name"] == "json_tool_call"
        contents.append(json.loads(folded.choices[0].message.content))
    assert contents[0] == contents[1]
