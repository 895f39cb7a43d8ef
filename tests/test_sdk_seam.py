"""Every name inside claude-agent-sdk that process/_sdk.py uses is there, and no other module uses one."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import anyio
import claude_agent_sdk
import pytest
from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, Transport

from litellm_claude_code import cli_protocol as cli
from litellm_claude_code.install import find_cli, sdk_version

ROOT = Path(__file__).parent.parent
TRANSPORT = "claude_agent_sdk._internal.transport.subprocess_cli"


def gone(name: str, use: str) -> str:
    return f"claude-agent-sdk {claude_agent_sdk.__version__} has no {name}, which {use}: see process/_sdk.py"


def test_every_internal_name_that_is_used_exists() -> None:
    try:
        transport = getattr(import_module(TRANSPORT), "SubprocessCLITransport", None)
    except ImportError:
        transport = None
    assert hasattr(transport, "_build_command"), gone(f"{TRANSPORT}._build_command", "makes a command line")


def test_a_workers_command_line_is_the_one_that_the_sdk_makes_of_these_options() -> None:
    command_line: Callable[[ClaudeAgentOptions], list[str]] = import_module(
        "litellm_claude_code.process._sdk"
    ).command_line
    options = ClaudeAgentOptions(
        cli_path="/bin/true",
        tools=[],
        max_turns=1,
        max_budget_usd=1e-9,
        setting_sources=[],
        strict_mcp_config=True,
        include_partial_messages=True,
        extra_args={"no-session-persistence": None, "system-prompt-snapshot": "off"},
    )
    assert ["/bin/true", *cli.WORKER_ARGUMENTS] == command_line(options), "See `Flag` in cli_protocol.py."


class Script(Transport):
    """Answers `initialize` and keeps what the SDK's client wrote."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self._can_read = anyio.Event()

    async def connect(self) -> None: ...
    async def close(self) -> None: ...
    async def end_input(self) -> None: ...
    def is_ready(self) -> bool:
        return True

    async def write(self, data: str) -> None:
        self.written.append(data)
        self._can_read.set()

    async def read_messages(self) -> AsyncIterator[dict[str, Any]]:
        await self._can_read.wait()
        response = {"subtype": "success", "request_id": json.loads(self.written[0])["request_id"], "response": {}}
        yield {"type": "control_response", "response": response}


async def test_the_first_frame_of_the_sdks_client_is_recognised_as_initialize() -> None:
    with_initialize_fields: Callable[..., str | None] = import_module(
        "litellm_claude_code.process._sdk"
    ).with_initialize_fields
    script = Script()
    client = ClaudeSDKClient(ClaudeAgentOptions(), transport=script)
    await client.connect()
    await client.disconnect()
    extended = with_initialize_fields(script.written[0], {"systemPrompt": "Be brief."})
    assert extended is not None, gone("frame with `request.subtype` `initialize`", "carries an agent's system prompt")
    assert extended.endswith("\n")
    before, after = json.loads(script.written[0]), json.loads(extended)
    assert after["request"].pop("systemPrompt") == "Be brief."
    assert after == before
    assert with_initialize_fields('{"request": {"subtype": "interrupt"}}\n', {"a": 1}) is None
    assert with_initialize_fields('{"type": "user", "message": "about \\"initialize\\""}\n', {"a": 1}) is None
    assert with_initialize_fields('{"type": "user", "message": "initialize"}\n', {"a": 1}) is None


def test_the_version_is_that_of_the_imported_sdk() -> None:
    assert sdk_version() == claude_agent_sdk.__version__


def test_the_wheel_has_the_cli() -> None:
    folder = Path(claude_agent_sdk.__file__).parent / "_bundled"
    use = "is the CLI unless LITELLM_CLAUDE_CODE_CLI_PATH names another (here it is install.py that looks)"
    assert find_cli() == folder / "claude", gone("_bundled/claude", use)


# What only the seam may hold. `install.py` looks for the CLI without importing the SDK.
PRIVATE = {
    r"claude_agent_sdk\._": (),
    r"\b_build_command\b": (),
    r"['\"]initialize['\"]": ("cli_protocol.py",),
    r"_bundled": ("install.py",),
}


@pytest.mark.parametrize("pattern", PRIVATE)
def test_only_the_seam_uses_internal_names(pattern: str) -> None:
    names = ("litellm_claude_code", "litellm_claude_code_cli", "litellm_claude_code_runs", "dspy_adapter")
    packages = [ROOT / name for name in names]
    inside = {
        str(file.relative_to(package))
        for package in packages
        for file in package.rglob("*.py")
        if re.search(pattern, file.read_text())
    }
    assert inside - {"process/_sdk.py", *PRIVATE[pattern]} == set(), "Move it to process/_sdk.py."
