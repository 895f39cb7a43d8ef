"""The definition of an agent profile: the tools, servers, folders and permissions of an agent.

A profile is defined on the machine that runs the agent; a call only selects it by name. A profile is validated when it
is created, and the error has a sentence for each mistake. `profile_parts.py` has its nested tables, `options.py`
converts a profile to the SDK's options, and `registry.py` holds the profiles.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from claude_agent_sdk.types import EffortLevel, PermissionMode, SettingSource
from pydantic import Field, ImportString, ValidationError, field_validator, model_validator

from .. import cli_protocol as cli
from .profile_parts import Frozen, Hooks, McpServers, Sandbox, Subagents

NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
DEFAULT_TOOLS: Final = "default"
_BYPASS: Final = "bypassPermissions"
# Prefixes of variables that a profile may not set: the call and the settings decide who pays (auth.py).
_NOT_FOR_THE_PROFILE: Final = (
    "ANTHROPIC_",
    "CLAUDE_CODE_API_",
    "CLAUDE_CODE_CUSTOM_",
    "CLAUDE_CODE_GATEWAY_",
    "CLAUDE_CODE_HOST_",
    "CLAUDE_CODE_OAUTH",
    "CLAUDE_CODE_PROVIDER_",
    "CLAUDE_CODE_SKIP_",
    "CLAUDE_CODE_USE_",
    cli.CONFIG_DIR,
    cli.SECURESTORAGE_CONFIG_DIR,
    "_CLAUDE_CODE_",
)


class ProfileError(ValueError):
    """Raised for an invalid profile. The message has a sentence for each mistake."""


class Profile(Frozen):
    """An agent: Claude Code with tools, servers, folders and rules, for `model="claude_code/<model>@<name>"`.

    An agent may use only what its fields allow. Fields that the SDK's `ClaudeAgentOptions` also has keep their names. A
    callable may be given as an object or as an import string such as "package.module:name"; in a file, it must be an
    import string.
    """

    name: str
    tools: tuple[str, ...] | Literal["default"] = Field(
        default=(), description="Claude Code's own tools that the agent has; 'default' means all of them"
    )
    allowed_tools: tuple[str, ...] = Field(
        default=(), description="Tools, or rules such as 'Bash(git log:*)', that are allowed without asking"
    )
    disallowed_tools: tuple[str, ...] = Field(default=(), description="Tools, or rules, that are never allowed")
    mcp_servers: McpServers = Field(default_factory=dict)
    cwd: Path | None = Field(default=None, description="Working folder; None for an empty one")
    add_dirs: tuple[Path, ...] = Field(default=(), description="Other folders that the agent may access")
    setting_sources: tuple[SettingSource, ...] = Field(
        default=(), description="Settings, CLAUDE.md, skills and hooks to load: 'project', 'local', 'user'"
    )
    skills: tuple[str, ...] | Literal["all"] = ()
    plugins: tuple[Path, ...] = Field(default=(), description="Plugin folders")
    permission_mode: PermissionMode = "default"
    allow_bypass_permissions: bool = Field(
        default=False, description="Must be true if permission_mode is 'bypassPermissions'"
    )
    can_use_tool: ImportString[Any] | None = Field(
        default=None, description="Called for each tool call that no rule decides; the SDK's `CanUseTool`"
    )
    system_prompt: str | None = Field(default=None, description="Replaces Claude Code's own")
    append_system_prompt: str | None = Field(default=None, description="Follows Claude Code's own")
    max_turns: int | None = Field(default=None, ge=1)
    max_budget_usd: float | None = Field(default=None, gt=0, description="Maximum cost of one run")
    max_retries: int = Field(default=4, ge=0, description="Maximum retries of a failed model request")
    effort: EffortLevel | None = None
    thinking: Literal["adaptive", "disabled"] | Annotated[int, Field(ge=1024)] | None = Field(
        default=None,
        description="None for Claude Code's default; a number is a budget in tokens, for models that support one",
    )
    agents: Subagents = Field(default_factory=dict)
    hooks: Hooks = Field(default_factory=dict)
    sandbox: Sandbox | None = None
    env: Mapping[str, str] = Field(default_factory=dict, repr=False, description="Additional variables for the process")
    pass_env: tuple[str, ...] = Field(default=(), description="Names of variables to copy from this process")
    sessions: bool = Field(default=False, description="Keep conversations, so that `session_id=` can resume one")
    parallel: bool = Field(default=False, description="Allow several runs at once in the folder")
    content: Literal["final", "all"] = Field(
        default="final", description="Text of the answer: only after the last tool call, or all of it"
    )
    on_event: ImportString[Callable[[dict[str, Any]], object]] | None = Field(
        default=None, description="Called with each event of a run, as it happens"
    )

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError(
                f"{name!r} is not a valid profile name. Start with a letter, and continue with letters, digits, '_', "
                "'-' and '.'"
            )
        return name

    @field_validator("cwd", "add_dirs", "plugins")
    @classmethod
    def _is_a_folder(cls, value: Any) -> Any:
        for folder in value if isinstance(value, tuple) else [value]:
            if folder is not None and not folder.is_dir():
                raise ValueError(f"the folder {str(folder)!r} does not exist")
        resolved = [folder.resolve() for folder in (value if isinstance(value, tuple) else [value] if value else [])]
        return tuple(resolved) if isinstance(value, tuple) else next(iter(resolved), None)

    @field_validator("tools", "allowed_tools", "disallowed_tools", "skills", mode="before")
    @classmethod
    def _is_a_list(cls, value: object, info: Any) -> object:
        if isinstance(value, str) and value not in (DEFAULT_TOOLS, "all"):
            raise ValueError(f"must be a list, as in {info.field_name}=[{value!r}]")
        return value

    @field_validator("tools", "allowed_tools", "disallowed_tools")
    @classmethod
    def _are_rules(cls, value: Any) -> Any:
        for rule in () if isinstance(value, str) else value:
            if not re.fullmatch(r"[A-Za-z_*][\w*.:-]*(\(.*\))?", rule.strip(), re.DOTALL):
                raise ValueError(
                    f"{rule!r} is not a tool or a rule. Write 'Read', 'Bash(git log:*)' or 'mcp__server__tool'"
                )
        return value

    @field_validator("env", "pass_env")
    @classmethod
    def _leaves_the_login_alone(cls, value: Any) -> Any:
        for name in value:
            if name.startswith(_NOT_FOR_THE_PROFILE):
                raise ValueError(f"{name} cannot be set in a profile. The call and the settings decide who pays")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Profile:
        if self.system_prompt is not None and self.append_system_prompt is not None:
            raise ValueError("system_prompt and append_system_prompt exclude each other. Use one of them")
        bypassing = [self.permission_mode, *(one.permissionMode for one in self.agents.values())]
        if _BYPASS in bypassing and not self.allow_bypass_permissions:
            raise ValueError(
                "permission_mode='bypassPermissions' allows every tool call of the model. To confirm it, set "
                "allow_bypass_permissions=True"
            )
        if self.agents and isinstance(self.tools, tuple) and not {"Agent", "Task"} & set(self.tools):
            raise ValueError("subagents need the tool 'Agent'. Add it to `tools`")
        return self

    @classmethod
    def checked(cls, **fields: Any) -> Profile:
        """Return a profile. Raises `ProfileError` with a sentence for each mistake, which quotes no value of `env`."""
        try:
            return cls(**fields)
        except ValidationError as error:
            sentences = [_sentence(mistake) for mistake in error.errors(include_url=False)]
            raise ProfileError(f"The profile {fields.get('name')!r} is not valid. {' '.join(sentences)}") from None


def _sentence(mistake: Any) -> str:
    where = ".".join(str(part) for part in mistake["loc"] if part not in ("stdio", "remote", "python")) or "profile"
    text = str(mistake["msg"]).removeprefix("Value error, ").rstrip(".")
    if mistake["type"] == "extra_forbidden":
        known = Profile.model_fields.keys() - {"name"} if len(mistake["loc"]) == 1 else ()
        text = "there is no such field" + (f". The fields are {', '.join(sorted(known))}" if known else "")
    elif mistake["type"] == "union_tag_invalid":
        text = "a server's type must be 'stdio', 'http', 'sse' or 'python'"
    return f"{where}: {text}."
