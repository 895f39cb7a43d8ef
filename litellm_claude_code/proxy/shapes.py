"""The fields that a request to each endpoint may have, and the shapes of their values that the APIs accept.

This is a list of what is allowed, not of what is forbidden: litellm's proxy accepts any litellm argument in a body
(another provider, credentials, a router, fallbacks…), and its next version accepts more. It silently repairs some wrong
shapes, and fails on others with a Python error text.

A check is a function of a value and its path in the body; it raises `Refused` with the path and the expected shape.
This module does no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from .refused import Refused

Check = Callable[[Any, str], None]

# Tools that the client runs, and the API's own web search. litellm's proxy would run some other types itself.
_TOOLS: Final = re.compile(r"function|custom|(web_search|bash|text_editor|memory|computer)(_\w+)?")


def check_fields(body: Mapping[str, Any], path: str) -> None:
    """Raise `Refused` if a field is missing, or has a shape that the endpoint at `path` would refuse.

    The body's fields must be among `FIELDS[path]`.
    """
    for field in _REQUIRED[path.removeprefix("/v1")]:
        if field not in body:
            raise Refused(400, f"`{field}` is missing.")
    for field, value in body.items():
        FIELDS[path][field](value, field)


def _fail(where: str, noun: str) -> None:
    raise Refused(400, f"`{where}` must be {noun}.")


def _is(kind: type | tuple[type, ...], noun: str) -> Check:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, kind):
            _fail(where, noun)

    return check


_text: Final = _is(str, "a string")
_flag: Final = _is(bool, "true or false")
_object: Final = _is(dict, "an object")


def _anything(_value: Any, _where: str) -> None:
    pass


def _whole(least: int) -> Check:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            _fail(where, f"an integer of at least {least}")

    return check


def _number(least: float, most: float) -> Check:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not least <= value <= most:
            _fail(where, f"a number from {least:g} to {most:g}")

    return check


def _one_of(*words: str) -> Check:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, str) or value not in words:
            _fail(where, f"one of {', '.join(words)}")

    return check


def _list(each: Check, *, noun: str = "a list", is_empty_ok: bool = True) -> Check:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, list) or not (value or is_empty_ok):
            _fail(where, noun if is_empty_ok else f"{noun} with at least one element")
        for position, item in enumerate(value):
            each(item, f"{where}[{position}]")

    return check


def _record(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """Return a check of an object's fields. Optional fields may be null, and unknown fields are accepted."""

    def check(value: Any, where: str) -> None:
        _object(value, where)
        for field, each in required.items():
            if field not in value:
                raise Refused(400, f"`{where}.{field}` is missing.")
            each(value[field], f"{where}.{field}")
        for field, each in (optional or {}).items():
            if value.get(field) is not None:
                each(value[field], f"{where}.{field}")

    return check


def _by(tag: str, kinds: Mapping[str, Check], *, takes_others: bool = True) -> Check:
    """Return a check that depends on the object's field `tag`. With `takes_others`, unknown tags are accepted."""

    def check(value: Any, where: str) -> None:
        _record({tag: _text if takes_others else _one_of(*kinds)})(value, where)
        kinds.get(value[tag], _anything)(value, where)

    return check


def _either(noun: str, *choices: tuple[type, Check]) -> Check:
    """Return a check that depends on the value's Python type."""

    def check(value: Any, where: str) -> None:
        for kind, each in choices:
            if isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool):
                return each(value, where)
        return _fail(where, noun)

    return check


def _text_or_list_of(part: Check, noun: str = "a string or a list of parts") -> Check:
    return _either(noun, (str, _anything), (list, _list(part)))


_TEXT_PART: Final = _record({"text": _text})
_SOURCE: Final = _by(
    "type",
    {
        "base64": _record({"media_type": _text, "data": _text}),
        "url": _record({"url": _text}),
        "text": _record({"data": _text}),
        "file": _record({"file_id": _text}),
    },
)

# OpenAI's chat completions.
_URL: Final = _either("a string or an object with a `url`", (str, _anything), (dict, _record({"url": _text})))
_USERS_PART: Final = _by(
    "type",
    {
        "text": _TEXT_PART,
        "image_url": _record({"image_url": _URL}),
        "file": _record({"file": _record({}, {"file_data": _text, "file_id": _text, "filename": _text})}),
        "document": _record({"source": _SOURCE}),
        "input_audio": _record({"input_audio": _object}),
        "video_url": _record({"video_url": _URL}),
    },
    takes_others=False,
)
_PART: Final = _by("type", {"text": _TEXT_PART, "refusal": _record({"refusal": _text})})
_CALL: Final = _record({"id": _text, "function": _record({"name": _text}, {"arguments": _text})})
_CHAT_MESSAGE: Final = _by(
    "role",
    {
        "system": _record({"content": _text_or_list_of(_PART)}),
        "developer": _record({"content": _text_or_list_of(_PART)}),
        "user": _record({"content": _text_or_list_of(_USERS_PART)}),
        "assistant": _record(
            {},
            {
                "content": _text_or_list_of(_PART),
                "tool_calls": _list(_CALL),
                "function_call": _record({"name": _text}, {"arguments": _text}),
                "thinking_blocks": _list(_object),
            },
        ),
        "tool": _record({"tool_call_id": _text, "content": _text_or_list_of(_by("type", {"text": _TEXT_PART}))}),
        "function": _record({"name": _text}, {"content": _text}),
    },
    takes_others=False,
)

# Anthropic's messages. litellm (1.106.2) loses blocks of other types without a word.
_RESULT: Final = _text_or_list_of(
    _by(
        "type",
        {
            "text": _TEXT_PART,
            "image": _record({"source": _SOURCE}),
            "document": _record({"source": _object}),
            "tool_reference": _record({"tool_name": _text}),
        },
        takes_others=False,
    )
)
_BLOCK: Final = _by(
    "type",
    {
        "text": _TEXT_PART,
        "image": _record({"source": _SOURCE}),
        "document": _record({"source": _object}),
        "tool_use": _record({"id": _text, "name": _text, "input": _object}),
        "tool_result": _record({"tool_use_id": _text}, {"content": _RESULT, "is_error": _flag}),
        "thinking": _record({"thinking": _text, "signature": _text}),
        "redacted_thinking": _record({"data": _text}),
        "compaction": _object,
    },
    takes_others=False,
)
_MESSAGE: Final = _record({"role": _one_of("user", "assistant", "system"), "content": _text_or_list_of(_BLOCK)})

# OpenAI's responses.
_ITEM_PART: Final = _by("type", dict.fromkeys(("text", "input_text", "output_text"), _TEXT_PART))
_SAID: Final = _record(
    {
        "role": _one_of("system", "developer", "user", "assistant"),
        "content": _text_or_list_of(_ITEM_PART),
    }
)
_TYPED: Final = _by(
    "type",
    {
        "message": _SAID,
        "function_call": _record({"call_id": _text, "name": _text, "arguments": _text}),
        "function_call_output": _record({"call_id": _text, "output": _text_or_list_of(_object)}),
    },
)


def _item(value: Any, where: str) -> None:
    _object(value, where)
    (_TYPED if "type" in value else _SAID)(value, where)


_NAMED: Final = _record({"name": _text}, {"description": _text, "parameters": _object})


def _tool(value: Any, where: str) -> None:
    """Check a tool in the format of any of the three APIs, which differ in where the name is."""
    _record({}, {"type": _text, "input_schema": _object, "parameters": _object})(value, where)
    if value.get("type") is not None and not _TOOLS.fullmatch(value["type"]):
        raise Refused(400, "A tool has a type that this server does not support. Use the type `function`.")
    if "function" in value:
        _NAMED(value["function"], f"{where}.function")
    elif value.get("type") in (None, "function", "custom"):
        _NAMED(value, where)


def _metadata(value: Any, where: str) -> None:
    # litellm's integrations read nested values as their settings.
    if not isinstance(value, dict) or not all(isinstance(inner, str) for inner in value.values()):
        _fail(where, "an object whose values are strings")


_STOP: Final = _either("a string or a list of strings", (str, _anything), (list, _list(_text)))
_EFFORT: Final = _record({}, {"effort": _text, "summary": _text, "generate_summary": _text})
_FORMAT: Final = _by("type", {})

_SAMPLING: Final[Mapping[str, Check]] = {
    "model": _anything,  # checked before all others
    "stream": _flag,
    "temperature": _number(0, 2),
    "top_p": _number(0, 1),
    "metadata": _metadata,
    "service_tier": _text,
}
# Claude's own parameters, which OpenAI's format does not have, and `drop_params`, which lets litellm drop parameters
# that a model does not take.
_OF_CLAUDE: Final[Mapping[str, Check]] = {
    "thinking": _by("type", {"enabled": _record({"budget_tokens": _whole(1)})}),
    "top_k": _whole(0),
    "cache_control": _by("type", {}),
    "context_management": _either("an object or a list", (dict, _anything), (list, _list(_object))),
    "speed": _text,
    "drop_params": _flag,
}
_OF_OPENAI: Final[Mapping[str, Check]] = {
    **_SAMPLING,
    **_OF_CLAUDE,
    "user": _text,
    "safety_identifier": _text,
    "prompt_cache_key": _text,
    "stream_options": _record({}, {"include_usage": _flag}),
    "store": _flag,
}
_OF_COMPLETIONS: Final[Mapping[str, Check]] = {
    **_OF_OPENAI,
    "n": _whole(1),
    "seed": _is(int, "an integer"),
    "stop": _STOP,
    "max_tokens": _whole(1),
    "logprobs": _anything,
    "logit_bias": _object,
    "presence_penalty": _number(-2, 2),
    "frequency_penalty": _number(-2, 2),
}
_OF_TOOLS: Final[Mapping[str, Check]] = {
    "tools": _list(_tool, noun="a list of tools"),
    "tool_choice": _either("a string or an object with a `type`", (str, _anything), (dict, _by("type", {}))),
    "parallel_tool_calls": _flag,
}
_CHAT: Final[Mapping[str, Check]] = {
    **_OF_COMPLETIONS,
    **_OF_TOOLS,
    "messages": _list(_CHAT_MESSAGE, noun="a list of messages", is_empty_ok=False),
    "max_completion_tokens": _whole(1),
    "top_logprobs": _whole(0),
    "functions": _list(_NAMED),
    "function_call": _either("a string or an object with a `name`", (str, _anything), (dict, _record({"name": _text}))),
    "response_format": _FORMAT,
    "reasoning_effort": _either("a string or an object", (str, _anything), (dict, _EFFORT)),
    "verbosity": _text,
    "modalities": _list(_text),
    "prediction": _object,
    "web_search_options": _object,
}
_COMPLETIONS: Final[Mapping[str, Check]] = {
    **_OF_COMPLETIONS,
    "prompt": _either("a string or a list of strings", (str, _anything), (list, _list(_text, is_empty_ok=False))),
    "suffix": _text,
    "echo": _flag,
    "best_of": _whole(1),
}
_RESPONSES: Final[Mapping[str, Check]] = {
    **_OF_OPENAI,
    **_OF_TOOLS,
    "input": _either(
        "a string or a list of items", (str, _anything), (list, _list(_item, noun="a list of items", is_empty_ok=False))
    ),
    "instructions": _text,
    "max_output_tokens": _whole(1),
    "max_tool_calls": _whole(1),
    "text": _record({}, {"format": _FORMAT, "verbosity": _text}),
    "reasoning": _EFFORT,
    "truncation": _text,
    "include": _list(_text),
    "top_logprobs": _whole(0),
}
_MESSAGES: Final[Mapping[str, Check]] = {
    **_SAMPLING,
    **_OF_CLAUDE,
    "messages": _list(_MESSAGE, noun="a list of messages", is_empty_ok=False),
    "max_tokens": _whole(1),
    "system": _text_or_list_of(_by("type", {"text": _TEXT_PART})),
    "stop_sequences": _list(_text),
    "temperature": _number(0, 1),
    "tools": _OF_TOOLS["tools"],
    "tool_choice": _by("type", {"tool": _record({"name": _text})}),
    "output_config": _record({}, {"effort": _text, "format": _FORMAT}),
    "output_format": _FORMAT,
}
FIELDS: Final[Mapping[str, Mapping[str, Check]]] = {
    "/v1/chat/completions": _CHAT,
    "/chat/completions": _CHAT,
    "/v1/completions": _COMPLETIONS,
    "/completions": _COMPLETIONS,
    "/v1/responses": _RESPONSES,
    "/responses": _RESPONSES,
    "/v1/messages": _MESSAGES,
    "/v1/messages/count_tokens": _MESSAGES,
}
"""By path: the fields that a body may have, each with its check. All paths take a POST."""
_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "/chat/completions": ("messages",),
    "/completions": ("prompt",),
    "/responses": ("input",),
    "/messages": ("max_tokens", "messages"),
    "/messages/count_tokens": ("messages",),
}
