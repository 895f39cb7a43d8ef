"""Calling a user's Python functions, plain or async: as an agent's tools, and as callbacks of a profile."""

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
    """Return a tool that calls a function. It takes the function's name, docstring, and schema of parameter types.

    Raises `ValueError` if a parameter's type has no JSON schema, or if a parameter cannot be passed by name.
    """
    name = getattr(function, "__name__", repr(function))
    try:
        parameters: TypeAdapter[Any] = TypeAdapter(function)  # type: ignore[arg-type]  # accepts functions, unlike its type hints
        schema = {"type": "object", **parameters.json_schema()}
        checked = validate_call(function)
    except (PydanticUserError, TypeError) as error:
        raise ValueError(
            f"{name!r} cannot be a tool: its parameters must have types that JSON supports ({type(error).__name__})"
        ) from None
    if schema["type"] != "object":
        raise ValueError(f"{name!r} cannot be a tool: its parameters must accept keyword arguments")

    async def call(given: dict[str, Any]) -> dict[str, Any]:
        value = await call_user_function(checked, **given)
        text = value if isinstance(value, str) else TypeAdapter(Any).dump_json(value).decode()
        return {"content": [{"type": "text", "text": text}]}

    return tool(name, inspect.getdoc(function) or name, schema)(call)


async def call_user_function(function: Callable[..., Any], *args: Any, **given: Any) -> Any:
    """Call a user's function and return its result. A plain function runs in a thread, so it may block."""
    if inspect.iscoroutinefunction(inspect.unwrap(function)):
        return await function(*args, **given)
    value = await anyio.to_thread.run_sync(functools.partial(function, *args, **given))
    return await value if inspect.isawaitable(value) else value
