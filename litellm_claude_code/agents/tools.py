"""Python functions as an agent's tools, and as what a profile calls: plain or async, each called as it needs."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import anyio.to_thread
from claude_agent_sdk import SdkMcpTool, tool
from pydantic import TypeAdapter, validate_call
from pydantic.errors import PydanticUserError


def as_tool(function: Callable[..., Any]) -> SdkMcpTool[Any]:
    """Make a tool of a plain function: its name, its docstring, and a schema of its parameters' types.

    Raises `ValueError` where the function has no such parameters.
    """
    name = getattr(function, "__name__", repr(function))
    try:
        parameters: TypeAdapter[Any] = TypeAdapter(function)  # type: ignore[arg-type]  # takes functions; its types say not
        schema = {"type": "object", **parameters.json_schema()}
        checked = validate_call(function)
    except (PydanticUserError, TypeError) as error:
        raise ValueError(
            f"{name!r} cannot be a tool: give it parameters with types that JSON has ({type(error).__name__})"
        ) from None
    if schema["type"] != "object":
        raise ValueError(f"{name!r} cannot be a tool: its parameters must be given by name")

    async def call(given: dict[str, Any]) -> dict[str, Any]:
        value = await called(checked, **given)
        text = value if isinstance(value, str) else TypeAdapter(Any).dump_json(value).decode()
        return {"content": [{"type": "text", "text": text}]}

    return tool(name, inspect.getdoc(function) or name, schema)(call)


async def called(function: Callable[..., Any], *args: Any, **given: Any) -> Any:
    """Call a function of the user's: a plain one in a thread, so that it may block."""
    if inspect.iscoroutinefunction(inspect.unwrap(function)):
        return await function(*args, **given)
    value = await anyio.to_thread.run_sync(functools.partial(function, *args, **given))
    return await value if inspect.isawaitable(value) else value
