"""The fields of a Messages API request, as the `anthropic` package 2.10 declares them.

`tests/test_stand_in_checks.py` compares these tables with the installed package. Fields of all betas count as known,
whether or not the request has the beta's header.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

Kind: TypeAlias = Any  # what `isinstance` takes
NUMBER: Final = (int, float)


@dataclass(frozen=True)
class Shape:
    """The fields of one kind of object, without the `type` that tells the kind, and what their values may be."""

    required: Mapping[str, Kind] = field(default_factory=dict)
    optional: Mapping[str, Kind] = field(default_factory=dict)


_CACHED: Final = {"cache_control": dict}
_RESULT: Final = Shape({"tool_use_id": str}, {"content": object, "caller": dict, **_CACHED})

CACHE_CONTROL: Final[Mapping[str, Shape]] = {"ephemeral": Shape({}, {"ttl": str, "scope": str})}
"""`scope` is not in the package; Claude Code sends it."""

BODY: Final = Shape(
    {"model": str, "messages": list, "max_tokens": int},
    {
        "billing_policy": dict,
        "cache_control": dict,
        "compaction": dict,
        "container": (str, dict),
        "context_management": dict,
        "diagnostics": dict,
        "fallback_credit_token": (str, dict),
        "fallbacks": object,
        "inference_geo": str,
        "mcp_servers": list,
        "metadata": dict,
        "output_config": dict,
        "output_format": dict,  # older than `output_config.format`, and no longer in the package
        "safeguards": list,  # in litellm only
        "service_tier": str,
        "speed": str,
        "stop_sequences": list,
        "stream": bool,
        "system": (str, list),
        "temperature": NUMBER,  # this and the next two are no longer in the package: newer models do not take them
        "thinking": dict,
        "thread": object,
        "tool_choice": dict,
        "tools": list,
        "top_k": int,
        "top_p": NUMBER,
        "user_profile_id": str,
        "workspace_id": str,
    },
)
_NOT_COUNTED: Final = (
    "container",
    "diagnostics",
    "fallback_credit_token",
    "fallbacks",
    "inference_geo",
    "metadata",
    "safeguards",
    "service_tier",
    "stop_sequences",
    "stream",
    "temperature",
    "thread",
    "top_k",
    "top_p",
)
COUNTED: Final = Shape(
    {"model": str, "messages": list},
    {name: kind for name, kind in BODY.optional.items() if name not in _NOT_COUNTED},
)
"""The body of a request to count tokens."""
MESSAGES: Final[Mapping[str, Shape]] = {
    "user": Shape({"content": (str, list)}),
    "assistant": Shape({"content": (str, list)}),
    "system": Shape({}, {"content": (str, list), "clear_at": str, "output_config": dict}),
}
"""By role."""

BLOCKS: Final[Mapping[str, Shape]] = {
    "text": Shape({"text": str}, {"citations": list, **_CACHED}),
    "image": Shape({"source": dict}, {"transformations": dict, **_CACHED}),
    "document": Shape({"source": dict}, {"citations": dict, "context": str, "title": str, **_CACHED}),
    "search_result": Shape({"source": str, "title": str, "content": list}, {"citations": dict, **_CACHED}),
    "thinking": Shape({"thinking": str, "signature": str}),
    "redacted_thinking": Shape({"data": str}),
    "tool_use": Shape({"id": str, "name": str, "input": object}, {"caller": dict, "toolset_name": str, **_CACHED}),
    "tool_result": Shape(
        {"tool_use_id": str}, {"content": (str, list), "is_error": bool, "toolset_name": str, **_CACHED}
    ),
    "server_tool_use": Shape({"id": str, "name": str, "input": object}, {"caller": dict, **_CACHED}),
    "mcp_tool_use": Shape({"id": str, "name": str, "input": object, "server_name": str}, _CACHED),
    "mcp_tool_result": Shape({"tool_use_id": str}, {"content": (str, list), "is_error": bool, **_CACHED}),
    "web_search_tool_result": _RESULT,
    "web_fetch_tool_result": _RESULT,
    "advisor_tool_result": _RESULT,
    "code_execution_tool_result": _RESULT,
    "bash_code_execution_tool_result": _RESULT,
    "text_editor_code_execution_tool_result": _RESULT,
    "tool_search_tool_result": _RESULT,
    "container_upload": Shape({"file_id": str}, _CACHED),
    "compaction": Shape(
        {}, {"content": object, "encrypted_content": str, "signature": str, "tool_changes": object, **_CACHED}
    ),
    "fallback": Shape({}, {"from": object, "to": object, "trigger": object}),
    "mcp_tool_listing": Shape({}, {"mcp_server_name": str, "tools": list}),
    "tool_addition": Shape({}, {"tool": object, **_CACHED}),
    "tool_removal": Shape({}, {"tool": object, **_CACHED}),
    "tool_reference": Shape({"tool_name": str}, _CACHED),
    "browser_state": Shape({}, {"state_changes": object, "tabs": object, **_CACHED}),
}
IN_RESULTS: Final = ("text", "image", "search_result", "document", "tool_reference", "browser_state")
"""The types of blocks in a `tool_result`."""
ONLY_IN_RESULTS: Final = ("tool_reference", "browser_state")

IMAGE_SOURCES: Final[Mapping[str, Shape]] = {
    "base64": Shape({"media_type": str, "data": str}),
    "url": Shape({"url": str}),
    "file": Shape({"file_id": str}),
}
IMAGE_TYPES: Final = ("image/jpeg", "image/png", "image/gif", "image/webp")

TOOL: Final = Shape(
    {"name": str, "input_schema": dict},
    {
        "allowed_callers": list,
        "defer_loading": bool,
        "description": str,
        "eager_input_streaming": bool,
        "input_examples": list,
        "strict": bool,
        "type": str,
        **_CACHED,
    },
)
"""A tool of the caller's own. Those of Anthropic have a `type` with a date, and are not checked further."""

TOOL_CHOICES: Final[Mapping[str, Shape]] = {
    "auto": Shape({}, {"disable_parallel_tool_use": bool}),
    "any": Shape({}, {"disable_parallel_tool_use": bool}),
    "tool": Shape({"name": str}, {"disable_parallel_tool_use": bool}),
    "none": Shape(),
}
THINKING: Final[Mapping[str, Shape]] = {
    "disabled": Shape(),
    "enabled": Shape({"budget_tokens": int}, {"display": str, "block_binding": dict}),
    "adaptive": Shape({}, {"display": str, "block_binding": dict}),
    "between_tools": Shape(),
}
METADATA: Final = Shape({}, {"user_id": str})
OUTPUT_CONFIG: Final = Shape({}, {"effort": str, "format": dict, "task_budget": dict})
OUTPUT_FORMATS: Final[Mapping[str, Shape]] = {"json_schema": Shape({"schema": dict})}

FAMILIES: Final = ("opus", "sonnet", "haiku", "fable", "mythos", "instant")
