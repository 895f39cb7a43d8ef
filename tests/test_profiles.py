"""Profiles are checked where they are defined, with a sentence for each mistake, and picked by name only."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path
from typing import Any

import litellm
import pytest
from claude_agent_sdk import AgentDefinition, ClaudeAgentOptions, HookMatcher, SandboxSettings
from claude_agent_sdk.types import SandboxNetworkConfig

import litellm_claude_code
from litellm_claude_code import models
from litellm_claude_code.agents import registry
from litellm_claude_code.agents.options import to_options
from litellm_claude_code.agents.profile import Profile, ProfileError
from litellm_claude_code.agents.profile_parts import Hook, Sandbox, SandboxNetwork, Subagent

from .support.examples import DOCS


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def mistake_in(**fields: Any) -> str:
    with pytest.raises(ProfileError) as raised:
        litellm_claude_code.profile(fields.pop("name", "agent"), **fields)
    return str(raised.value)


def test_every_option_of_the_sdk_is_a_field_of_a_profile_managed_or_refused() -> None:
    options = {field.name for field in dataclasses.fields(ClaudeAgentOptions)}
    section = (DOCS / "agents.md").read_text().split("## The SDK's other options")[1].split("\n## ")[0]
    assert sorted(options - Profile.model_fields.keys()) == sorted(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))


def test_what_the_sdk_nests_is_mapped_too() -> None:
    refused = {"memory", "mcpServers", "initialPrompt", "background"}  # files, servers and work beside the profile's
    assert {field.name for field in dataclasses.fields(AgentDefinition)} - refused == Subagent.model_fields.keys()
    assert {field.name for field in dataclasses.fields(HookMatcher)} == Hook.model_fields.keys()
    assert set(SandboxSettings.__annotations__) == Sandbox.model_fields.keys()
    assert set(SandboxNetworkConfig.__annotations__) == SandboxNetwork.model_fields.keys()


def test_each_field_reaches_the_option_of_its_name(tmp_path: Path) -> None:
    async def decide(*_: object) -> Any:
        return False

    given: dict[str, Any] = {
        "tools": ["Read", "Agent"],
        "allowed_tools": ["Bash(ls:*)"],
        "disallowed_tools": ["Write"],
        "cwd": tmp_path,
        "add_dirs": [tmp_path],
        "setting_sources": ["project"],
        "skills": ["tidy"],
        "plugins": [tmp_path],
        "permission_mode": "acceptEdits",
        "can_use_tool": decide,
        "max_turns": 3,
        "effort": "high",
        "thinking": 2048,
        "agents": {"scout": {"description": "Looks", "prompt": "Look."}},
        "hooks": {"PreToolUse": [HookMatcher(matcher="Read", hooks=[decide])]},
        "mcp_servers": {"near": [add], "far": {"type": "http", "url": "https://example.org/mcp"}},
    }
    made = to_options(Profile.checked(name="agent", **given))
    flags, dialogue = made.flags, made.dialogue
    assert (flags.tools, flags.allowed_tools, flags.disallowed_tools) == (
        ["Read", "Agent", "Skill"],
        ["Bash(ls:*)"],
        ["Write"],
    )
    assert (flags.add_dirs, flags.setting_sources, flags.skills) == ([tmp_path], ["project"], ["tidy"])
    assert (flags.permission_mode, flags.permission_prompt_tool_name, flags.max_turns) == ("acceptEdits", "stdio", 3)
    assert (flags.effort, flags.thinking) == ("high", {"type": "enabled", "budget_tokens": 2048})
    assert flags.plugins == [{"type": "local", "path": str(tmp_path)}]
    assert dialogue.agents == {"scout": AgentDefinition(description="Looks", prompt="Look.")}
    assert dialogue.hooks is not None
    assert dialogue.hooks["PreToolUse"][0].matcher == "Read"
    assert dialogue.can_use_tool is not None
    assert isinstance(dialogue.mcp_servers, dict)
    assert list(dialogue.mcp_servers) == ["near"]
    assert made.servers["far"]["url"] == "https://example.org/mcp"
    assert "instance" not in made.servers["near"]
    # Addresses and secrets of servers go by a file of this user's, never by the command line.
    assert flags.mcp_servers == {}


def test_a_profile_allows_nothing_by_default() -> None:
    flags = to_options(Profile.checked(name="agent")).flags
    assert (flags.tools, flags.allowed_tools, flags.setting_sources, flags.skills) == ([], [], [], [])
    assert flags.permission_mode == "default"
    assert flags.strict_mcp_config is True


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"tolls": ["Read"]}, "tolls: there is no such field. The fields are"),
        ({"tools": "Read"}, "tools: must be a list, as in tools=['Read']."),
        ({"tools": ["not a tool!"]}, "tools: 'not a tool!' is not a tool or a rule"),
        ({"cwd": "/no/such/folder"}, "cwd: the folder '/no/such/folder' does not exist."),
        ({"add_dirs": ["/no/such/folder"]}, "add_dirs: the folder '/no/such/folder' does not exist."),
        ({"name": "20250514"}, "Start with a letter"),
        ({"name": "re@viewer"}, "Start with a letter"),
        ({"max_turns": 0}, "max_turns: Input should be greater than or equal to 1."),
        ({"max_budget_usd": "much"}, "max_budget_usd: Input should be a valid number"),
        ({"permission_mode": "yolo"}, "permission_mode: Input should be 'default'"),
        ({"permission_mode": "bypassPermissions"}, "set allow_bypass_permissions=True"),
        ({"system_prompt": "A", "append_system_prompt": "B"}, "Use one of them"),
        ({"agents": {"scout": {"description": "d", "prompt": "p"}}}, "Add it to `tools`"),
        ({"agents": {"scout": {"description": "d"}}, "tools": ["Agent"]}, "agents.scout.prompt: Field required."),
        (
            {
                "agents": {"s": {"description": "d", "prompt": "p", "permissionMode": "bypassPermissions"}},
                "tools": ["Agent"],
            },
            "allow_bypass_permissions",
        ),
        ({"hooks": {"OnTuesday": []}}, "hooks: 'OnTuesday' is not an event. Use one of"),
        ({"can_use_tool": "no.such:function"}, "can_use_tool: Invalid python path"),
        ({"mcp_servers": {"calc": {"command": "/no/such/program"}}}, "the program '/no/such/program' was not found"),
        ({"mcp_servers": {"calc": {"type": "http", "url": "calc"}}}, "'calc' is not a URL of a server"),
        ({"mcp_servers": {"calc": {"type": "carrier"}}}, "a server's type must be 'stdio', 'http', 'sse' or 'python'"),
        ({"mcp_servers": {"calc": [1]}}, "an in-process server must be a list of functions"),
        ({"mcp_servers": {"near": [len]}}, "'len' cannot be a tool: its parameters must have types that JSON supports"),
        ({"mcp_servers": {"a b": [len]}}, "'a b' is not a valid server name"),
        ({"env": {"ANTHROPIC_API_KEY": "sk-secret"}}, "ANTHROPIC_API_KEY cannot be set in a profile"),
        ({"pass_env": ["ANTHROPIC_AUTH_TOKEN"]}, "ANTHROPIC_AUTH_TOKEN cannot be set in a profile"),
        ({"env": {"_CLAUDE_CODE_X": "1"}}, "_CLAUDE_CODE_X cannot be set in a profile"),
        ({"env": {"CLAUDE_CODE_HOST_AUTH_ENV_VAR": ""}}, "CLAUDE_CODE_HOST_AUTH_ENV_VAR cannot be set in a profile"),
        ({"sandbox": {"enabeld": True}}, "sandbox.enabeld: there is no such field."),
    ],
)
def test_a_mistake_gets_a_sentence_when_the_profile_is_defined(fields: dict[str, Any], sentence: str) -> None:
    told = mistake_in(**fields)
    assert sentence in told
    assert "secret" not in told
    assert "pydantic" not in told
    assert registry.known_profiles() == {}


def test_an_impossible_sandbox_is_an_error_and_never_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert "bwrap and socat must be installed for a sandbox" in mistake_in(sandbox={"enabled": True})


def test_one_error_lists_every_mistake_of_a_profile() -> None:
    told = mistake_in(tolls=[], cwd="/no/such/folder", max_turns=0)
    assert all(word in told for word in ("tolls", "cwd", "max_turns"))


@pytest.mark.processes
def test_a_server_that_cannot_start_is_an_error_when_the_profile_is_defined(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text("raise SystemExit('no')")
    servers = {"calc": {"command": sys.executable, "args": [str(tmp_path / "server.py")]}}
    told = mistake_in(mcp_servers=servers)
    assert "did not start: 'calc'" in told
    assert registry.known_profiles() == {}


def test_a_file_defines_profiles_with_paths_of_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "my_rules.py").write_text("async def decide(tool, given, context):\n    return False\n")
    (tmp_path / "agents.toml").write_text(
        '[reviewer]\ntools = ["Read", "Grep"]\ncwd = "code"\ncan_use_tool = "my_rules:decide"\nmax_turns = 20\n'
        '[reviewer.agents]\n[writer]\ntools = "default"\n'
    )
    reviewer, writer = litellm_claude_code.load_profiles(tmp_path / "agents.toml")
    assert reviewer.cwd == (tmp_path / "code").resolve()
    assert reviewer.can_use_tool is not None
    assert reviewer.can_use_tool.__name__ == "decide"
    assert to_options(writer).flags.tools == {"type": "preset", "preset": "claude_code"}
    assert registry.known_profiles() == {"reviewer": reviewer, "writer": writer}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[reviewer\n", "are not valid TOML"),
        ('reviewer = "Read"\n', "'reviewer' must be a table"),
        ("[a]\nturns = 3\n[b]\nmax_turns = 0\n", "The profile 'a' is not valid"),
        ("[a]\nturns = 3\n[b]\nmax_turns = 0\n", "The profile 'b' is not valid"),
    ],
)
def test_a_mistake_in_a_file_names_the_file_and_the_profile(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "agents.toml"
    file.write_text(text)
    with pytest.raises(ProfileError, match=r"agents\.toml") as raised:
        litellm_claude_code.load_profiles(file)
    assert sentence in str(raised.value)
    assert registry.known_profiles() == {}


def test_a_missing_file_of_profiles_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="Cannot read"):
        litellm_claude_code.load_profiles(tmp_path / "none.toml")


def test_the_environment_names_a_file_of_profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "agents.toml").write_text("[reviewer]\nmax_turns = 7\n")
    monkeypatch.setenv("LITELLM_CLAUDE_CODE_PROFILES", str(tmp_path / "agents.toml"))
    assert registry.known_profiles()["reviewer"].max_turns == 7
    # What code defines by that name goes before the file.
    litellm_claude_code.profile("reviewer", max_turns=9)
    assert registry.known_profiles()["reviewer"].max_turns == 9


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("sonnet", ("sonnet", None)),
        ("sonnet@reviewer", ("sonnet", "reviewer")),
        ("claude-sonnet-4@20250514", ("claude-sonnet-4@20250514", None)),
        ("claude-sonnet-4@20250514@reviewer", ("claude-sonnet-4@20250514", "reviewer")),
    ],
)
def test_a_date_behind_the_at_sign_is_a_vertex_version(name: str, split: tuple[str, str | None]) -> None:
    assert models.split_profile(name) == split


def test_an_unknown_name_is_not_found_and_the_known_ones_are_listed() -> None:
    litellm_claude_code.profile("reader")
    with pytest.raises(litellm.NotFoundError, match=r"no agent profile 'reviewer'; .*: 'reader'"):
        litellm.completion("claude_code/sonnet@reviewer", messages=[{"role": "user", "content": "x"}], max_retries=0)


def test_litellm_knows_the_model_behind_a_profile() -> None:
    litellm_claude_code.profile("reader")
    name = "claude_code/sonnet@reader"
    assert (
        litellm.get_model_info(name)["max_input_tokens"]
        == litellm.get_model_info("claude_code/sonnet")["max_input_tokens"]
    )
    assert litellm.supports_function_calling(name) is False
    assert litellm.supports_response_schema(name) is True
    supported = litellm.get_supported_openai_params(name) or []
    assert "response_format" in supported
    assert "tools" not in supported
