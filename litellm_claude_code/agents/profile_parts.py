"""The parts of a profile that are tables of their own: MCP servers, hooks, subagents and the sandbox.

They repeat fields of the SDK's types. pydantic cannot check those types directly: it does not accept their `TypedDict`
before Python 3.12, ignores unknown fields of their dataclasses, and they have no limits on numbers.
tests/test_profiles.py compares the fields.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, get_args

from claude_agent_sdk import AgentDefinition, HookMatcher, SdkMcpTool
from claude_agent_sdk.types import EffortLevel, HookEvent, PermissionMode
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    ImportString,
    Tag,
    field_validator,
    model_validator,
)

from .tools import as_tool

_HOOK_EVENTS: Final = frozenset(name for literal in get_args(HookEvent) for name in get_args(literal))


class Frozen(BaseModel):
    """A model without unknown fields, which cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class StdioServer(Frozen):
    """An MCP server that Claude Code starts and talks to over its stdin and stdout."""

    type: Literal["stdio"] = "stdio"
    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = Field(default_factory=dict, repr=False)

    @field_validator("command")
    @classmethod
    def _is_there(cls, command: str) -> str:
        if shutil.which(command) is None:
            raise ValueError(f"the program {command!r} was not found. Give its full path")
        return command


class RemoteServer(Frozen):
    """An MCP server at a URL."""

    type: Literal["http", "sse"]
    url: str
    headers: Mapping[str, str] = Field(default_factory=dict, repr=False)

    @field_validator("url")
    @classmethod
    def _is_a_url(cls, url: str) -> str:
        if not re.match(r"https?://[^/]+", url):
            raise ValueError(f"{url!r} is not a URL of a server. Start it with http:// or https://")
        return url


class PythonServer(Frozen):
    """An MCP server in this Python process: a list of functions, or the return value of `create_sdk_mcp_server`."""

    type: Literal["python"] = "python"
    object: ImportString[Any]

    @field_validator("object")
    @classmethod
    def _is_a_server(cls, value: object) -> object:
        is_server = isinstance(value, dict) and value.get("type") == "sdk" and "instance" in value
        are_tools = isinstance(value, (list, tuple)) and value
        if not is_server and not (are_tools and all(callable(t) or isinstance(t, SdkMcpTool) for t in value)):
            raise ValueError(
                "an in-process server must be a list of functions, or a result of "
                "`claude_agent_sdk.create_sdk_mcp_server`"
            )
        for one in value if are_tools and isinstance(value, (list, tuple)) else []:
            if not isinstance(one, SdkMcpTool):
                as_tool(one)
        return value


def _kind_of_server(value: object) -> str:
    if isinstance(value, (list, tuple)) or (isinstance(value, dict) and value.get("type") in ("sdk", "python")):
        return "python"
    kind = value.get("type", "stdio") if isinstance(value, dict) else getattr(value, "type", None)
    return "remote" if kind in ("http", "sse") else str(kind)


McpServer = Annotated[
    Annotated[StdioServer, Tag("stdio")]
    | Annotated[RemoteServer, Tag("remote")]
    | Annotated[PythonServer, Tag("python")],
    Discriminator(_kind_of_server),
]


def _by_name(value: object) -> object:
    """Return servers with those of Python as tables, for validation. Raises `ValueError` for a name that cannot be."""
    if not isinstance(value, Mapping):
        raise ValueError("must be a table of servers by name")
    for name in value:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", str(name)):
            raise ValueError(f"{name!r} is not a valid server name. Use letters, digits, '_' and '-'")
    return {
        name: {"type": "python", "object": server}
        if _kind_of_server(server) == "python" and not _is_table(server)
        else server
        for name, server in value.items()
    }


def _is_table(server: object) -> bool:
    return isinstance(server, PythonServer) or (isinstance(server, dict) and server.get("type") == "python")


McpServers = Annotated[Mapping[str, McpServer], BeforeValidator(_by_name)]


class Hook(Frozen):
    """Python functions that Claude Code calls at a hook event. Mirrors the SDK's `HookMatcher`."""

    matcher: str | None = None
    hooks: tuple[ImportString[Any], ...]
    timeout: float | None = Field(default=None, gt=0)
    on_failure: Literal["continue", "block"] | None = None


def _by_event(value: object) -> object:
    """Return hooks with the SDK's own as tables, for validation. Raises `ValueError` for an unknown event."""
    if not isinstance(value, Mapping):
        return value
    for event in value:
        if event not in _HOOK_EVENTS:
            raise ValueError(f"{event!r} is not an event. Use one of {', '.join(sorted(_HOOK_EVENTS))}")
    return {
        event: [vars(one) if isinstance(one, HookMatcher) else one for one in hooks] for event, hooks in value.items()
    }


Hooks = Annotated[Mapping[str, tuple[Hook, ...]], BeforeValidator(_by_event)]


class SandboxNetwork(Frozen):
    """Network access from the sandbox. Mirrors the SDK's `SandboxNetworkConfig`."""

    allowedDomains: tuple[str, ...] | None = None
    deniedDomains: tuple[str, ...] | None = None
    allowManagedDomainsOnly: bool | None = None
    allowUnixSockets: tuple[str, ...] | None = None
    allowAllUnixSockets: bool | None = None
    allowLocalBinding: bool | None = None
    allowMachLookup: tuple[str, ...] | None = None
    httpProxyPort: int | None = None
    socksProxyPort: int | None = None


class Sandbox(Frozen):
    """The sandbox for an agent's shell commands. Mirrors the SDK's `SandboxSettings`."""

    enabled: bool = True
    autoAllowBashIfSandboxed: bool = False
    """False by default here. The CLI's default is true, which approves every command that runs in the sandbox."""
    excludedCommands: tuple[str, ...] = ()
    allowUnsandboxedCommands: bool = False
    """False by default here. The CLI's default is true, which lets the model request a command outside the sandbox."""
    network: SandboxNetwork | None = None
    ignoreViolations: Mapping[str, tuple[str, ...]] | None = None
    enableWeakerNestedSandbox: bool | None = None

    @model_validator(mode="after")
    def _is_possible_here(self) -> Sandbox:
        missing = [program for program in ("bwrap", "socat") if shutil.which(program) is None]
        if self.enabled and sys.platform == "linux" and missing:
            raise ValueError(
                f"{' and '.join(missing)} must be installed for a sandbox (packages bubblewrap and socat). Otherwise "
                "Claude Code would run commands outside it"
            )
        return self


class Subagent(Frozen):
    """A subagent that the agent may start. Mirrors the SDK's `AgentDefinition`."""

    description: str
    prompt: str
    tools: tuple[str, ...] | None = None
    disallowedTools: tuple[str, ...] | None = None
    model: str | None = None
    skills: tuple[str, ...] | None = None
    maxTurns: int | None = Field(default=None, ge=1)
    effort: EffortLevel | int | None = None
    permissionMode: PermissionMode | None = None


def _as_tables(value: object) -> object:
    """Return subagents with the SDK's own as tables, for validation."""
    if not isinstance(value, Mapping):
        return value
    return {
        name: {k: v for k, v in vars(one).items() if v is not None} if isinstance(one, AgentDefinition) else one
        for name, one in value.items()
    }


Subagents = Annotated[Mapping[str, Subagent], BeforeValidator(_as_tables)]
