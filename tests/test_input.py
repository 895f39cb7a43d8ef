"""What cannot be sent is refused with a sentence, before anything is sent."""

from collections.abc import Callable
from typing import Any

import litellm
import pytest
from pydantic import BaseModel

from litellm_claude_code.testing import StandIn

from .support.calls import ask
from .support.requests import ASK, called, result, user

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,@@@not-base64@@@"}}
MARKED = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}
SYSTEM_MARKED = {"role": "system", "content": [MARKED]}


class Unspeakable(BaseModel):
    act: Callable[[], None]


def schema(value: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": value}}


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no messages": ({"messages": []}, "`messages` is empty"),
    "only a system prompt": ({"messages": [{"role": "system", "content": "Hi"}]}, "only system messages"),
    "nothing said": ({"messages": [user([])]}, "`messages` has no text"),
    "nothing said by the assistant": (
        {"messages": [{"role": "assistant", "tool_calls": []}]},
        "`messages` has no text",
    ),
    "an unknown role": ({"messages": [{"role": "robot", "content": "SECRET"}]}, "role 'robot'"),
    "an unreadable image": ({"messages": [user([IMAGE])]}, "The image in message 1 has invalid base64 data"),
    "an image that is none": (
        {"messages": [user([{"type": "image_url", "image_url": {"url": "data:text/plain;base64,aGk="}}])]},
        "has the type 'text/plain'",
    ),
    "an image's path": (
        {"messages": [user([{"type": "image_url", "image_url": {"url": "/nonexistent.png"}}])]},
        "Image url not in expected format",
    ),
    "a part that is none": ({"messages": [user([7])]}, r"messages\[0\]"),
    "a tool without a name": ({"tools": [{"type": "function", "function": {"description": "x"}}]}, "no name"),
    "parameters that are no schema": (
        {"tools": [{"type": "function", "function": {"name": "x", "parameters": {"type": "objekt"}}}]},
        r"tools\[0\].function.parameters is not a valid JSON schema",
    ),
    "a schema that is none": ({"response_format": schema({"type": "objekt"})}, "not a valid JSON schema"),
    "a response_format that is none": ({"response_format": [True]}, "must be a dict or a pydantic class, not a list"),
    "a class without a schema": ({"response_format": Unspeakable}, "cannot be converted to a JSON schema"),
    "no schema": ({"response_format": {"type": "json_schema"}}, "no schema"),
    "a lone surrogate": ({"messages": [user("SECRET \ud800")]}, "surrogate"),
    "a lone surrogate in the system prompt": (
        {"messages": [{"role": "system", "content": "\udfff"}, *ASK]},
        "surrogate",
    ),
    "an integer that would be rounded": (
        {"messages": [*ASK, called(("t1", "weather", '{"id": 9007199254740993}')), result("t1", "x")]},
        "as a string",
    ),
    "not a number": ({"extra_body": {"x": float("nan")}}, "not JSON"),
    "bytes": ({"extra_body": {"x": b"SECRET"}}, "not JSON"),
    "no answers": ({"n": 0}, "n=0"),
    "DSPy's prefix": ({"model": "claude_code/claude-code:sonnet"}, "claude_code/sonnet"),
    "a colon": ({"model": "claude_code:sonnet"}, "model='claude_code/sonnet'"),
    "a hyphen": ({"model": "claude-code/sonnet"}, "Unknown provider 'claude-code'. Did you mean 'claude_code/sonnet'"),
    "a hyphen and a colon": ({"model": "claude-code:opus"}, "claude_code/opus"),
    "five cache marks": ({"messages": [user([MARKED] * 5)]}, "5 cache marks"),
    "three cache marks and the system prompt": ({"messages": [SYSTEM_MARKED, user([MARKED] * 3)]}, "counts as two"),
    **{
        f"{key} in extra_body": ({"extra_body": {key: "x"}}, f"'{key}' cannot be set")
        for key in ("system", "metadata", "model", "stream", "messages")
    },
    "system as a keyword": ({"system": "Be brief"}, "'system' cannot be set"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("stream", [False, True])
def test_bad_input_is_a_bad_request_that_says_what_to_change(stand_in: StandIn, name: str, stream: bool) -> None:
    request, sentence = BAD[name]
    with pytest.raises(litellm.BadRequestError, match=sentence) as raised:
        ask(stand_in, stream=stream, **request)
    assert stand_in.requests == []
    assert "SECRET" not in str(raised.value)


UNSUPPORTED: dict[str, dict[str, Any]] = {
    "temperature on a model without it": {"temperature": 0.3},
    "top_p on a model without it": {"top_p": 0.5},
    "top_k on a model without it": {"top_k": 5},
    "seed": {"seed": 7},
    "logprobs": {"logprobs": True},
    "frequency_penalty": {"frequency_penalty": 0.5},
    "user": {"user": "somebody"},
    "metadata.user_id": {"metadata": {"user_id": "somebody"}},
    "extra_headers": {"extra_headers": {"anthropic-beta": "context-1m-2025-08-07"}},
    "headers": {"headers": {"x-mine": "1"}},
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_the_model_does_not_take_is_refused(stand_in: StandIn, name: str) -> None:
    with pytest.raises(litellm.UnsupportedParamsError):
        ask(stand_in, **UNSUPPORTED[name])
    assert stand_in.requests == []


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_the_model_does_not_take_is_dropped_under_drop_params(stand_in: StandIn, name: str) -> None:
    ask(stand_in)
    ask(stand_in, **UNSUPPORTED[name], drop_params=True)
    plain, dropped = stand_in.requests
    assert {**dropped.body, "metadata": 0} == {**plain.body, "metadata": 0}
    assert dropped.headers["anthropic-beta"] == plain.headers["anthropic-beta"]


@pytest.mark.parametrize(
    "tool",
    [
        {
            "type": "computer_20250124",
            "name": "computer",
            "function": {"name": "computer", "parameters": {"display_width_px": 1, "display_height_px": 1}},
        },
        {"type": "code_execution_20250825", "name": "code_execution"},
        {"type": "memory_20250818", "name": "memory"},
    ],
    ids=lambda tool: str(tool["name"]),
)
def test_a_hosted_tool_that_needs_a_beta_is_refused(stand_in: StandIn, tool: dict[str, Any]) -> None:
    with pytest.raises(litellm.UnsupportedParamsError, match="needs the beta"):
        ask(stand_in, tools=[tool])
    assert stand_in.requests == []


def test_ordinary_metadata_stays_with_litellm(stand_in: StandIn) -> None:
    ask(stand_in, metadata={"team": "blue", "tags": ["a"]})
    assert "blue" not in str(stand_in.requests[0].body)


@pytest.mark.parametrize(("ttl", "mark"), [(None, {"type": "ephemeral"}), ("1h", {"type": "ephemeral", "ttl": "1h"})])
def test_a_marked_system_prompt_is_marked_on_the_wire(stand_in: StandIn, ttl: str | None, mark: dict[str, str]) -> None:
    given = {"type": "ephemeral", **({"ttl": ttl} if ttl else {})}
    system = {"role": "system", "content": [{"type": "text", "text": "Long", "cache_control": given}]}
    ask(stand_in, messages=[system, *ASK])
    assert [block.get("cache_control") for block in stand_in.requests[0].body["system"]] == [None, mark, mark]
    ask(stand_in, messages=[{"role": "system", "content": "Long"}, *ASK])
    assert "cache_control" not in str(stand_in.requests[1].body)


def test_a_user_agent_has_no_effect(stand_in: StandIn) -> None:
    ask(stand_in, headers={"User-Agent": "DSPy/3.4.1"})
    assert stand_in.requests[0].headers["user-agent"].startswith("claude-cli/")


def test_the_error_for_an_invalid_setting_names_it(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_CLAUDE_CODE_MAX_WORKERS", "many")
    with pytest.raises(litellm.BadRequestError, match="LITELLM_CLAUDE_CODE_MAX_WORKERS is not valid"):
        ask(stand_in)
