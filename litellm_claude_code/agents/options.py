"""Conversion of a profile to the SDK's options.

docs/agents.md says of each option without a field in `Profile` what sets it, or why nothing does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from claude_agent_sdk import (
    AgentDefinition,
    ClaudeAgentOptions,
    HookMatcher,
    PermissionResultAllow,
    PermissionResultDeny,
    SdkMcpTool,
    create_sdk_mcp_server,
)

from .profile import Profile
from .profile_parts import Hook, PythonServer, RemoteServer, StdioServer, Subagent
from .tools import as_tool, call_user_function


@dataclass(frozen=True, kw_only=True)
class AgentOptions:
    """A profile's options: for the command line, for the control protocol, and for the MCP configuration file."""

    flags: ClaudeAgentOptions
    """For the command line, which every user of the machine can read: no prompt, server address or secret."""
    dialogue: ClaudeAgentOptions
    """For the SDK's client: callbacks, hooks, subagents and in-process servers."""
    servers: Mapping[str, Any]
    """All MCP servers, by name, for a file that only this user can read. In-process servers have no instance here."""


def to_options(profile: Profile) -> AgentOptions:
    """Return the SDK's options for a profile, without those of a single run (model, session, working folder)."""
    inside = {name: in_process(name, one) for name, one in profile.mcp_servers.items() if isinstance(one, PythonServer)}
    outside = {name: _wire(one) for name, one in profile.mcp_servers.items() if not isinstance(one, PythonServer)}
    skills = profile.skills if isinstance(profile.skills, str) else list(profile.skills)
    flags = ClaudeAgentOptions(
        tools={"type": "preset", "preset": "claude_code"} if isinstance(profile.tools, str) else _tools(profile),
        allowed_tools=list(profile.allowed_tools),
        disallowed_tools=list(profile.disallowed_tools),
        add_dirs=list(profile.add_dirs),
        setting_sources=list(profile.setting_sources),
        skills=skills,
        plugins=[{"type": "local", "path": str(folder)} for folder in profile.plugins],
        permission_mode=profile.permission_mode,
        permission_prompt_tool_name="stdio" if profile.can_use_tool else None,
        # The text follows in `initialize`: it must not be on the command line.
        system_prompt={"type": "preset", "preset": "claude_code"} if profile.system_prompt is None else None,
        max_turns=profile.max_turns,
        effort=profile.effort,
        thinking=_thinking(profile.thinking),
        sandbox=profile.sandbox.model_dump(exclude_none=True, mode="json") if profile.sandbox else None,  # type: ignore[arg-type]
        strict_mcp_config=True,
        include_partial_messages=True,
    )
    dialogue = ClaudeAgentOptions(
        can_use_tool=_permission(profile.can_use_tool) if profile.can_use_tool else None,
        hooks={event: [_matcher(one) for one in hooks] for event, hooks in profile.hooks.items()} or None,  # type: ignore[misc]  # checked names
        agents={name: _definition(one) for name, one in profile.agents.items()} or None,
        mcp_servers=inside,
        skills=skills,
    )
    sdk = {name: {key: value for key, value in one.items() if key != "instance"} for name, one in inside.items()}
    return AgentOptions(flags=flags, dialogue=dialogue, servers={**outside, **sdk})


def _tools(profile: Profile) -> list[str]:
    return [*profile.tools, *(["Skill"] if profile.skills and "Skill" not in profile.tools else [])]


def _thinking(value: str | int | None) -> Any:
    if value is None:
        return None
    return {"type": "enabled", "budget_tokens": value} if isinstance(value, int) else {"type": value}


def _wire(server: StdioServer | RemoteServer) -> dict[str, Any]:
    return server.model_dump(mode="json")


def _definition(one: Subagent) -> AgentDefinition:
    return AgentDefinition(**one.model_dump(mode="json", exclude_none=True))


def _matcher(hook: Hook) -> HookMatcher:
    return HookMatcher(matcher=hook.matcher, hooks=list(hook.hooks), timeout=hook.timeout, on_failure=hook.on_failure)


def in_process(name: str, server: PythonServer) -> Any:
    """Return the SDK's configuration of an in-process server: the SDK's own, or one made from a list of functions."""
    if isinstance(server.object, dict):
        return server.object
    tools = [one if isinstance(one, SdkMcpTool) else as_tool(one) for one in server.object]
    return create_sdk_mcp_server(name, tools=tools)


def _permission(decide: Callable[..., Any]) -> Callable[..., Awaitable[PermissionResultAllow | PermissionResultDeny]]:
    async def ask(name: str, given: dict[str, Any], context: Any) -> PermissionResultAllow | PermissionResultDeny:
        decided = await call_user_function(decide, name, given, context)
        if isinstance(decided, (PermissionResultAllow, PermissionResultDeny)):
            return decided
        if decided is True:
            return PermissionResultAllow()
        return PermissionResultDeny(message=decided if isinstance(decided, str) else "The profile does not allow it.")

    return ask
