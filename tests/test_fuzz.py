"""Malformed answers: each call ends in an answer or in one of litellm's exceptions, and the next call works.

`make soak` tries ten times as many.
"""

import copy
from typing import Any

import litellm
import openai
from hypothesis import given, settings
from hypothesis import strategies as st

from litellm_claude_code.testing import RawEvents, StandIn

from .support.calls import ask
from .support.generated import examples
from .support.requests import TOOLS

USAGE = {"input_tokens": 9, "output_tokens": 1}
STARTED = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-5-5", "content": []}
WHOLE: list[dict[str, Any]] = [
    {"type": "message_start", "message": {**STARTED, "stop_reason": None, "stop_sequence": None, "usage": USAGE}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Paris"}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "content_block_start",
        "index": 1,
        "content_block": {"type": "tool_use", "id": "t1", "name": "weather", "input": {}},
    },
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"city":'}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": ' "Rome"}'}},
    {"type": "content_block_stop", "index": 1},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 3},
    },
    {"type": "message_stop"},
]
ODD = st.one_of(st.none(), st.integers(), st.text("ab\u2028", max_size=3), st.just([]), st.just({}), st.booleans())


@st.composite
def broken(draw: st.DrawFn) -> list[dict[str, Any]]:
    """The events of a whole answer, with a few things done to them."""
    events = copy.deepcopy(WHOLE)
    for _ in range(draw(st.integers(1, 3))):
        where = draw(st.integers(0, len(events) - 1)) if events else 0
        match draw(st.sampled_from(["drop", "repeat", "swap", "cut", "change", "remove a key", "stop reason"])):
            case "drop" if events:
                events.pop(where)
            case "repeat" if events:
                events.insert(where, copy.deepcopy(events[where]))
            case "swap" if len(events) > 1:
                events[where], events[where - 1] = events[where - 1], events[where]
            case "cut":
                del events[where:]
            case "change" if events:
                key = draw(st.sampled_from(sorted(set(events[where]) - {"type"}) or ["type"]))
                events[where][key] = draw(ODD)
            case "remove a key" if events and events[where]:
                events[where].pop(draw(st.sampled_from(sorted(events[where]))), None)
            case "stop reason":
                for event in events:
                    if isinstance(event.get("delta"), dict) and "stop_reason" in event["delta"]:
                        event["delta"]["stop_reason"] = draw(ODD)
    return events


@settings(max_examples=examples(25))
@given(events=broken(), stream=st.booleans())
def test_a_malformed_answer_is_an_answer_or_litellms_exception(
    stand_in: StandIn, events: list[dict[str, Any]], stream: bool
) -> None:
    stand_in.script(RawEvents(events=[(str(event.get("type")), event) for event in events]))
    stand_in.respond = lambda request: "next"
    error: Exception | None
    try:
        response = ask(stand_in, tools=TOOLS, stream=stream, timeout=20, max_retries=0)
        list(response) if stream else response.choices[0].message
    except openai.OpenAIError as raised:
        error = raised
    else:
        error = None
    assert not isinstance(error, litellm.Timeout)  # the end of the stream is seen
    assert "Paris" not in str(error)
    assert ask(stand_in, timeout=60).choices[0].message.content == "next"
