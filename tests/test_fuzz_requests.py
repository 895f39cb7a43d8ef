"""Malformed requests: each ends in an answer or in one of litellm's exceptions, and the next call works."""

from typing import Any

import litellm
import openai
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from litellm_claude_code.testing import StandIn

from .support.calls import ask
from .support.generated import examples

TEXT = st.one_of(
    st.text(max_size=12), st.sampled_from(["", " ", "/clear", "@/etc/hostname", "\x00", "\u2028", "\ud800", "é" * 5000])
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
IMAGE = {"url": "data:image/png;base64,aGk="}
PARTS = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": st.one_of(TEXT, JSON)}),
    st.fixed_dictionaries(
        {"type": st.just("image_url"), "image_url": st.one_of(JSON, st.just({"url": "data:image/png;base64,aGk="}))}
    ),
)
FUNCTIONS = st.fixed_dictionaries({"name": TEXT, "arguments": st.one_of(TEXT, st.just("{}"))})
CALLS = st.fixed_dictionaries({"id": TEXT, "type": st.just("function"), "function": FUNCTIONS})
MESSAGES = st.lists(
    st.one_of(
        st.fixed_dictionaries({"role": st.sampled_from(["system", "developer", "user", "assistant"]), "content": TEXT}),
        st.fixed_dictionaries({"role": st.just("user"), "content": st.lists(PARTS, max_size=3)}),
        st.fixed_dictionaries({"role": st.just("assistant"), "tool_calls": st.lists(CALLS, max_size=2)}),
        st.fixed_dictionaries({"role": st.just("tool"), "tool_call_id": TEXT, "content": TEXT}),
    ),
    max_size=5,
)
PARAMS = st.fixed_dictionaries(
    {},
    optional={
        "max_tokens": st.one_of(st.integers(-1, 200), JSON),
        "temperature": st.one_of(st.floats(-1, 3), JSON),
        "stop": JSON,
        "n": st.one_of(st.integers(-1, 2), JSON),
        "tools": st.lists(st.fixed_dictionaries({"type": st.just("function"), "function": JSON}), max_size=2),
        "tool_choice": st.one_of(st.sampled_from(["auto", "none", "required"]), JSON),
        "response_format": st.one_of(st.just({"type": "json_object"}), JSON),
        "reasoning_effort": st.one_of(st.sampled_from(["low", "high"]), JSON),
        "extra_body": st.dictionaries(TEXT, JSON, max_size=2),
    },
)


@settings(max_examples=examples(20))
@given(messages=MESSAGES, params=PARAMS, stream=st.booleans())
@example(messages=[{"role": "user", "content": []}], params={}, stream=False)
@example(messages=[{"role": "assistant", "tool_calls": []}], params={}, stream=True)
def test_any_request_is_answered_or_refused_in_litellms_words(
    stand_in: StandIn, messages: list[Any], params: dict[str, Any], stream: bool
) -> None:
    stand_in.reset()
    error: Exception | None = None
    try:
        response = ask(stand_in, messages=messages, stream=stream, timeout=30, max_retries=0, **params)
        list(response) if stream else response.choices[0].message
    except openai.OpenAIError as raised:
        error = raised
    event(type(error).__name__)
    assert not isinstance(error, (litellm.Timeout, litellm.APIConnectionError))  # which say: try it again
    stand_in.reset()
    stand_in.script("next")
    assert ask(stand_in, timeout=60).choices[0].message.content == "next"
    assert len(stand_in.requests) == 1
