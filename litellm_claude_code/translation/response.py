"""From the events of the Messages API's stream to litellm's response. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from litellm.types.utils import ModelResponse, Usage

from .. import _litellm
from .._litellm import Body
from ..call import ApiEvent


@dataclass(frozen=True, kw_only=True)
class AnswerFormat:
    """What litellm's translators of a response need to know of the request."""

    is_json_mode: bool = False
    prefix: str | None = field(default=None, repr=False)
    """The start of the response, if the last message sets it (`"prefix": True`)."""
    tool_names: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Maps names on the wire to the caller's tool names, for tool names that the API would not accept."""
    schema_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Arguments for litellm's response translators, if `response_format` was sent as a tool."""
    cost_usd: Callable[[Usage], float | None] = lambda _: None
    """Returns what a response costs, or None: then litellm calculates the cost from its registered prices."""


def fold(events: Iterable[ApiEvent]) -> Body:
    """Fold the events of one response into the message that the API would send without streaming.

    The unparsed input of a `tool_use` block is kept in `input_json`.
    """
    message: Body = {"usage": {}}
    blocks: dict[int, Body] = {}
    parts: dict[tuple[int, str], list[str]] = {}
    for event in events:
        match event.get("type"):
            case "message_start":
                message = {**event["message"], "usage": dict(event["message"].get("usage") or {})}
            case "content_block_start":
                blocks[event["index"]] = dict(event["content_block"])
            case "content_block_delta":
                _take_delta(blocks[event["index"]], event["delta"], parts, event["index"])
            case "message_delta":
                message.update(event["delta"])
                message["usage"].update({k: v for k, v in (event.get("usage") or {}).items() if v is not None})
    for (index, key), texts in parts.items():
        blocks[index][key] = blocks[index].get(key, "") + "".join(texts)
    message["content"] = [_finished(block) for block in blocks.values()]
    return message


def _take_delta(block: Body, delta: Mapping[str, Any], parts: dict[tuple[int, str], list[str]], index: int) -> None:
    match delta.get("type"):
        case "text_delta":
            parts.setdefault((index, "text"), []).append(delta["text"])
        case "thinking_delta":
            parts.setdefault((index, "thinking"), []).append(delta["thinking"])
        case "input_json_delta":
            parts.setdefault((index, "input_json"), []).append(delta["partial_json"])
        case "signature_delta":
            block["signature"] = delta["signature"]
        case "citations_delta":
            block["citations"] = [*(block.get("citations") or []), delta["citation"]]


def _finished(block: Body) -> Body:
    if block.get("type") not in ("tool_use", "server_tool_use"):
        return block
    text = block.get("input_json") or json.dumps(block.get("input") or {})
    try:
        value = json.loads(text)
    except ValueError:
        value = {}  # cut off by max_tokens: the caller gets the unparsed arguments
    return {**block, "input": value, "input_json": text}


def to_response(message: Body, asked: AnswerFormat) -> ModelResponse:
    """Convert a folded message to litellm's response."""
    raw = [block.pop("input_json", None) for block in message["content"]]
    response = _litellm.anthropic_response(
        message,
        is_json_mode=asked.is_json_mode,
        prefix=asked.prefix,
        tool_names=asked.tool_names,
        options=asked.schema_options,
    )
    arguments = [text for block, text in zip(message["content"], raw, strict=True) if text is not None]
    calls: Any = response.choices[0].message.tool_calls or []
    if len(calls) == len(arguments):  # fewer if one of them was the `response_format` tool
        for index, (call, text) in enumerate(zip(calls, arguments, strict=True)):
            call.function.arguments, call.index = text, index
    if (cost_usd := asked.cost_usd(response.usage)) is not None:  # type: ignore[attr-defined]
        _litellm.set_cost(response, cost_usd)
    return response


def merge_choices(responses: Sequence[ModelResponse]) -> ModelResponse:
    """Combine `n` responses into one, with one choice each and the usage summed."""
    first: Any = responses[0]
    for index, response in enumerate(responses[1:], start=1):
        choice = response.choices[0]
        choice.index = index
        first.choices.append(choice)
        first.usage = Usage(**_add(first.usage.model_dump(), response.usage.model_dump()))  # type: ignore[attr-defined]
    costs = [cost for response in responses if (cost := _litellm.cost_of(response)) is not None]
    if len(responses) > 1 and len(costs) == len(responses):
        _litellm.set_cost(first, sum(costs))
    return responses[0]


def _add(one: Any, other: Any) -> Any:
    if isinstance(one, dict) and isinstance(other, dict):
        return {key: _add(one.get(key), other.get(key)) for key in one.keys() | other.keys()}
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return one + other
    return other if one is None else one
