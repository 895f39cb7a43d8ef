"""Reject invalid requests before anything is sent, with an error that says what to change.

litellm's translation accepts much that the API then rejects, or drops it silently. These checks fail before anything is
spent. Error messages never quote the conversation.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any, Final

import jsonschema
import litellm

from .._litellm import Body
from ..errors import InvalidRequest

ROLES: Final = ("system", "developer", "user", "assistant", "tool", "function")

_LARGEST_EXACT_INTEGER: Final = 2**53
IMAGES: Final = ("image/jpeg", "image/png", "image/gif", "image/webp")
# Keys that CLI 2.1.327 uses itself instead of sending them. If the first is present, the CLI leaves out the whole body
# and sends a request of its own.
UNSENDABLE_KEYS: Final[Mapping[str, str]] = {
    "program_use_case_id": "Claude Code would drop the whole request because of it. Remove it",
    "betas": "Claude Code sends its own `anthropic-beta` header. Remove it",
    "anthropic_beta": "Claude Code sends its own `anthropic-beta` header. Remove it",
}
# Keys of the body that the caller cannot set directly, and what to use instead.
RESERVED_KEYS: Final[Mapping[str, str]] = {
    "system": "use a message with the role 'system'",
    "messages": "use the `messages` argument",
    "model": "use the `model` argument",
    "stream": "use the `stream` argument",
    "metadata": "it contains Claude Code's own account and device ids",
    **UNSENDABLE_KEYS,
}


def check_messages(messages: Sequence[Mapping[str, Any]]) -> None:
    """Raise `InvalidRequest` for empty or system-only messages, unknown roles, or content other than text or parts."""
    if not messages:
        raise InvalidRequest("`messages` is empty. Add at least one message with the role 'user'.")
    for position, message in enumerate(messages):
        if message.get("role") not in ROLES:
            raise InvalidRequest(
                f"messages[{position}] has the role {message.get('role')!r}. Use one of {', '.join(ROLES)}."
            )
        content = message.get("content")
        parts = content if isinstance(content, list) else []
        if not isinstance(content, (str, list, type(None))) or not all(isinstance(part, Mapping) for part in parts):
            raise InvalidRequest(f"The content of messages[{position}] must be a string or a list of parts (dicts).")
    # With `modify_params`, litellm adds a user's message.
    if not litellm.modify_params and all(message.get("role") in ("system", "developer") for message in messages):
        raise InvalidRequest("`messages` has only system messages. Add one with the role 'user'.")


def refuse_keys(params: Mapping[str, Any], refused: Mapping[str, str]) -> None:
    """Raise `InvalidRequest` for a parameter or body key in `refused`, which maps keys to what to do instead."""
    for key in refused.keys() & params.keys():
        raise InvalidRequest(f"'{key}' cannot be set in the body: {refused[key]}.")


def not_sendable(headers: Mapping[str, str], litellm_params: Mapping[str, Any]) -> Body:
    """Return what a call has of headers and a user id. The CLI sends only its own. DSPy's `User-Agent` is ignored."""
    asked = {name: value for name, value in headers.items() if name.lower() != "user-agent"}
    user_id = (litellm_params.get("metadata") or {}).get("user_id")
    return {**({"extra_headers": asked} if asked else {}), **({"metadata.user_id": user_id} if user_id else {})}


def without_user_id(litellm_params: Mapping[str, Any]) -> Body:
    """Return the parameters without `metadata.user_id`, because the body's metadata is Claude Code's own."""
    metadata = litellm_params.get("metadata")
    if not isinstance(metadata, dict):
        return dict(litellm_params)
    return {**litellm_params, "metadata": {key: value for key, value in metadata.items() if key != "user_id"}}


def check_tools(tools: object) -> None:
    """Raise `InvalidRequest` for a tool that has no name, or whose parameters are not a JSON schema."""
    if tools is None:
        return
    if not isinstance(tools, list):
        raise InvalidRequest(f"`tools` must be a list, not a {type(tools).__name__}.")
    for position, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise InvalidRequest(f"tools[{position}] must be a dict, not a {type(tool).__name__}.")
        function = tool.get("function") if tool.get("type") == "function" else tool
        if not isinstance(function, dict) or not (
            function.get("name") or function.get("type") or function.get("server_url")
        ):
            raise InvalidRequest(f"tools[{position}] has no name. Set `function.name`.")
        _check_json_schema(function.get("parameters"), where=f"tools[{position}].function.parameters")


def check_schema(response_format: object) -> None:
    """Raise `InvalidRequest` if `response_format` is not a dict or class, or its schema is missing or invalid."""
    if not isinstance(response_format, (dict, type, NoneType)):
        raise InvalidRequest(
            f"`response_format` must be a dict or a pydantic class, not a {type(response_format).__name__}."
        )
    if not isinstance(response_format, dict) or response_format.get("type") != "json_schema":
        return
    described = response_format.get("json_schema")
    schema = described.get("schema") if isinstance(described, dict) else None
    if not isinstance(schema, dict):
        raise InvalidRequest(
            "`response_format` has no schema. Use {'type': 'json_schema', 'json_schema': {'name': …, 'schema': {…}}}."
        )
    _check_json_schema(schema, where="response_format.json_schema.schema")


def _check_json_schema(schema: Any, *, where: str) -> None:
    if schema is None:
        return
    rules = jsonschema.Draft202012Validator(jsonschema.Draft202012Validator.META_SCHEMA)
    error = jsonschema.exceptions.best_match(rules.iter_errors(schema))
    if error is not None:
        # The validator's own message quotes the schema.
        path = ".".join(str(part) for part in error.absolute_path) or "its top level"
        raise InvalidRequest(f"{where} is not a valid JSON schema. Check {path}.")


def check_turns(body: Body) -> None:
    """Raise `InvalidRequest` if the translated body has no messages."""
    if not body["messages"]:
        raise InvalidRequest("`messages` has no text. Add text to at least one message with the role 'user'.")


def check_images(body: Body) -> None:
    """Raise `InvalidRequest` for invalid base64 data, and for an image type that the API does not accept."""
    for position, message in enumerate(body["messages"]):
        content = message.get("content")
        for block in content if isinstance(content, list) else []:
            source = block.get("source") if isinstance(block, dict) else None
            if isinstance(source, dict) and source.get("type") == "base64":
                kind = source.get("media_type")
                if block.get("type") == "image" and kind not in IMAGES:
                    raise InvalidRequest(
                        f"The image in message {position + 1} has the type {kind!r}. Use one of {', '.join(IMAGES)}."
                    )
                _check_base64(source.get("data"), where=f"The {block.get('type')} in message {position + 1}")


def _check_base64(data: object, *, where: str) -> None:
    try:
        is_readable = isinstance(data, str) and len(base64.b64decode(data, validate=True)) > 0
    except (binascii.Error, ValueError):
        is_readable = False
    if not is_readable:
        raise InvalidRequest(f"{where} has invalid base64 data.")


def check_encodable(text: str) -> None:
    """Raise `InvalidRequest` for a lone surrogate, which cannot be encoded in UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(
            "The request contains a lone surrogate, which is not a character. Clean the text with "
            "text.encode('utf-8', 'replace').decode('utf-8')."
        ) from None


def check_numbers(value: Any) -> None:
    """Raise `InvalidRequest` for an integer above 2**53, which Claude Code, a JavaScript program, would round."""
    if isinstance(value, dict):
        for inner in value.values():
            check_numbers(inner)
    elif isinstance(value, list):
        for inner in value:
            check_numbers(inner)
    elif isinstance(value, int) and abs(value) > _LARGEST_EXACT_INTEGER:
        raise InvalidRequest(
            f"The request contains the integer {value}, which Claude Code would round, because it is above 2**53. "
            "Pass it as a string."
        )
