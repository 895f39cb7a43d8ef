"""Hypothesis' requests: conversations with tools and images, and the parameters of a call."""

from __future__ import annotations

import json
import os
from typing import Any

from hypothesis import strategies as st

from .requests import PIXEL, TOOLS, VERBATIM, called, result, user


def examples(usual: int) -> int:
    """Return how many examples a test on real processes tries: `usual`, or ten times as many in `make soak`."""
    return usual * 10 if "SOAK_CALLS" in os.environ else usual


TEXT = st.one_of(
    st.sampled_from(VERBATIM),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60),
    st.text("ab \n", max_size=5),
)
MARK = st.sampled_from([None, {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}])
PNG = f"data:image/png;base64,{PIXEL}"
PART = st.one_of(
    TEXT.map(lambda text: {"type": "text", "text": text}),
    st.sampled_from([PNG, "https://example.com/a.jpg"]).map(
        lambda url: {"type": "image_url", "image_url": {"url": url}}
    ),
)
USER = st.one_of(TEXT.map(user), st.lists(PART, min_size=1, max_size=3).map(user))
ARGUMENTS = st.dictionaries(
    st.text("abc", min_size=1), TEXT | st.integers(-(2**53), 2**53) | st.none(), max_size=2
).map(json.dumps)


@st.composite
def exchange(draw: st.DrawFn) -> list[dict[str, Any]]:
    """An assistant's turn with text or tool calls, the tools' results, and what the user says to it."""
    if not draw(st.booleans()):
        return [{"role": "assistant", "content": draw(TEXT)}, draw(USER)]
    number = draw(st.integers(0, 10**6))
    calls = [
        (f"toolu_{number}_{index}", draw(st.sampled_from(["Bash", "weather"])), draw(ARGUMENTS))
        for index in range(draw(st.integers(1, 3)))
    ]
    results = [result(key, draw(TEXT)) for key, _, _ in calls]
    return [called(*calls, content=draw(st.none() | TEXT)), *results, *draw(st.lists(USER, max_size=1))]


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    system = draw(st.none() | TEXT)
    role = draw(st.sampled_from(["system", "developer"]))
    turns = [draw(USER), *(turn for part in draw(st.lists(exchange(), max_size=3)) for turn in part)]
    options = {
        "max_tokens": draw(st.none() | st.integers(1, 5000)),
        "stop": draw(st.none() | st.lists(st.text("xyz", min_size=1), min_size=1, max_size=3)),
        "reasoning_effort": draw(st.sampled_from([None, None, "none", "low", "high"])),
        "tools": draw(st.none() | st.just(TOOLS)),
        "extra_body": draw(st.none() | st.just({"service_tier": "auto", "nested": {"a": [1, {"b": None}]}})),
    }
    if options["tools"]:
        options["tool_choice"] = draw(st.sampled_from([None, "auto", "none"]))
        options["parallel_tool_calls"] = draw(st.sampled_from([None, True, False]))
    messages = [*([{"role": role, "content": system}] if system is not None else []), *turns]
    return {"messages": messages, **{key: value for key, value in options.items() if value is not None}}
