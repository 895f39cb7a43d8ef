"""What reaches the API through us is what `anthropic/` sends for the same request, on the real CLI."""

import base64
from typing import Any

import pytest

from litellm_claude_code.testing import StandIn

from .support.requests import ASK, PIXEL, TOOLS, VERBATIM, Capital, called, result, tool, user
from .support.wire import MODEL, assert_same_betas, assert_same_body, caller_system, pair, send

PDF = base64.b64encode(b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n").decode()


MARK = {"type": "ephemeral"}

REQUESTS: dict[str, dict[str, Any]] = {
    "one turn": {"messages": ASK},
    "a system prompt": {"messages": [{"role": "system", "content": "You are terse."}, *ASK]},
    "two system prompts": {
        "messages": [
            {"role": "system", "content": "You are terse."},
            {"role": "system", "content": "Use metres."},
            *ASK,
        ]
    },
    "a system prompt of blocks": {
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]},
            *ASK,
        ]
    },
    "a developer message": {"messages": [{"role": "developer", "content": "You are terse."}, *ASK]},
    "a system message in the middle": {
        "messages": [*ASK, {"role": "system", "content": "Be brief."}, user("And Spain?")]
    },
    "history": {"messages": [*ASK, {"role": "assistant", "content": "Paris."}, user("And of Spain?")]},
    "two user turns in a row": {"messages": [user("One."), user("Two.")]},
    "a turn without content": {"messages": [*ASK, {"role": "assistant"}, user("Go on.")]},
    "an empty turn": {"messages": [user(""), user("Hello")]},
    "a blank prompt": {"messages": [user("   ")]},
    "text blocks": {"messages": [user([{"type": "text", "text": "One"}, {"type": "text", "text": "Two"}])]},
    "an image as data URL": {
        "messages": [
            user(
                [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
                ]
            )
        ]
    },
    "an image alone": {"messages": [user([{"type": "image_url", "image_url": f"data:image/png;base64,{PIXEL}"}])]},
    "an image as link": {
        "messages": [user([{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}])]
    },
    "a PDF": {
        "messages": [
            user(
                [
                    {"type": "text", "text": "Sum up"},
                    {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PDF}"}},
                ]
            )
        ]
    },
    "tool calls and results": {
        "messages": [
            user("Weather in Paris and Rome?"),
            called(
                ("t1", "weather", '{"city": "Paris"}'), ("t2", "weather", '{"city": "Rome"}'), content="Let me see."
            ),
            result("t1", "Sunny"),
            result("t2", [{"type": "text", "text": "Rain"}]),
            user("And in Oslo?"),
            called(("t3", "Bash", "{}")),
            result("t3", ""),
        ],
        "tools": TOOLS,
    },
    "tool calls without tools": {"messages": [*ASK, called(("t1", "weather", "{}")), result("t1", "Sunny")]},
    "tool choice auto": {"messages": ASK, "tools": TOOLS, "tool_choice": "auto"},
    "tool choice none": {"messages": ASK, "tools": TOOLS, "tool_choice": "none"},
    "one call at a time": {"messages": ASK, "tools": TOOLS, "parallel_tool_calls": False},
    "no tools, spelled out": {"messages": ASK, "tools": []},
    "a tool name the API refuses": {"messages": ASK, "tools": [tool("files/read", path="string")]},
    "thinking given back": {
        "messages": [
            *ASK,
            {
                "role": "assistant",
                "content": "Paris.",
                "thinking_blocks": [{"type": "thinking", "thinking": "Easy.", "signature": "c2ln"}],
            },
            user("Sure?"),
        ],
        "thinking": {"type": "adaptive"},
    },
    "max_tokens": {"messages": ASK, "max_tokens": 7},
    "max_completion_tokens": {"messages": ASK, "max_completion_tokens": 7},
    "stop words": {"messages": ASK, "stop": ["END", "STOP"]},
    "one stop word": {"messages": ASK, "stop": "END"},
    "temperature 1": {"messages": ASK, "temperature": 1},
    "a schema": {
        "messages": ASK,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "x", "schema": {"type": "object", "properties": {"a": {"type": "string"}}}},
        },
    },
    "a pydantic class": {"messages": ASK, "response_format": Capital},
    "json_object": {"messages": ASK, "response_format": {"type": "json_object"}},
    "a schema and effort": {"messages": ASK, "response_format": Capital, "reasoning_effort": "low"},
    **{
        f"reasoning_effort {effort}": {"messages": ASK, "reasoning_effort": effort}
        for effort in ("none", "minimal", "low", "medium", "high")
    },
    "thinking": {"messages": ASK, "thinking": {"type": "adaptive"}},
    "thinking with a budget": {"messages": ASK, "thinking": {"type": "enabled", "budget_tokens": 2000}},
    "extra_body": {"messages": ASK, "extra_body": {"service_tier": "standard_only", "container": "c_1"}},
    "an unknown keyword": {"messages": ASK, "service_hint": {"a": [1, None]}},
    "a cache mark on a turn": {"messages": [user([{"type": "text", "text": "Long", "cache_control": MARK}])]},
    "a cache mark on a tool": {"messages": ASK, "tools": [{**tool("weather", city="string"), "cache_control": MARK}]},
    "a cache mark on the request": {"messages": ASK, "cache_control": MARK},
    "web search": {"messages": ASK, "web_search_options": {}},
    "a prefilled answer": {"messages": [*ASK, {"role": "assistant", "content": "It is", "prefix": True}]},
}
OLDER: dict[str, dict[str, Any]] = {
    "temperature": {"messages": ASK, "temperature": 0.3},
    "temperature above 1": {"messages": ASK, "temperature": 1.4},
    "top_p": {"messages": ASK, "top_p": 0.9},
    "top_k": {"messages": ASK, "top_k": 40},
    "tool choice required": {"messages": ASK, "tools": TOOLS, "tool_choice": "required"},
    "tool choice by name": {
        "messages": ASK,
        "tools": TOOLS,
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
    },
    "reasoning_effort": {"messages": ASK, "reasoning_effort": "low"},
    "a schema": {"messages": ASK, "response_format": Capital},
    "plain": {"messages": ASK},
}


@pytest.mark.parametrize("name", REQUESTS)
def test_the_body_is_the_one_anthropic_sends(stand_in: StandIn, name: str) -> None:
    ours, theirs = pair(stand_in, REQUESTS[name])
    assert_same_body(ours, theirs)
    assert_same_betas(ours, theirs)


@pytest.mark.parametrize("name", OLDER)
@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-sonnet-4-5", "claude-opus-4-5"])
def test_the_body_is_the_one_anthropic_sends_to_older_models(stand_in: StandIn, model: str, name: str) -> None:
    stand_in.validate = name != "temperature above 1"
    ours, theirs = pair(stand_in, OLDER[name], model)
    assert_same_body(ours, theirs)
    assert_same_betas(ours, theirs)


@pytest.mark.parametrize("text", VERBATIM)
@pytest.mark.parametrize("place", ["user", "system", "assistant"])
def test_text_arrives_as_written(stand_in: StandIn, text: str, place: str) -> None:
    messages = {
        "user": [user(text)],
        "system": [{"role": "system", "content": text}, *ASK],
        "assistant": [*ASK, {"role": "assistant", "content": f"{text}."}, user("Go on")],
    }[place]
    ours, theirs = pair(stand_in, {"messages": messages})
    assert_same_body(ours, theirs)


@pytest.mark.parametrize("place", ["user", "system"])
def test_megabytes_arrive_as_written(stand_in: StandIn, place: str) -> None:
    text = "0123456789abcdef é\n" * 150_000
    stand_in.respond = lambda request: "Read."
    ours = send(stand_in, f"claude_code/{MODEL}", {"messages": [{"role": place, "content": text}, user("Well?")]})
    if place == "system":
        assert caller_system(ours.body["system"]) == text
    else:
        assert ours.body["messages"][0]["content"][0]["text"] == text
