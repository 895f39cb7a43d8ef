"""docs/agents.md: its examples run on the real CLI, and its table names every field of a profile."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from litellm_claude_code.agents import registry
from litellm_claude_code.agents.profile import Profile
from litellm_claude_code.testing import RecordedRequest, StandIn, ToolUse, answer

from .support.examples import DOCS, blocks, run_page

PAGE = DOCS / "agents.md"


def model(request: RecordedRequest) -> Any:
    """Answer the page's questions, with the tools that the page's agents have."""
    said = json.dumps(request.body["messages"])
    results = said.count('"tool_result"')
    if "what was it before" in said:
        return "12 euros."
    if "Where is the price" in said:
        return "In prices.py, line 1." if results else answer(ToolUse("Read", {"file_path": "prices.py"}))
    if "tides" in said:
        found = re.search(r"'On tides', \d+, shelf \d+", said)
        return found[0] if found else answer(ToolUse("mcp__library__find_paper", {"topic": "tides"}))
    steps = [
        ToolUse("Read", {"file_path": "prices.py"}),
        ToolUse("Edit", {"file_path": "prices.py", "old_string": "12", "new_string": "13"}),
        ToolUse("Bash", {"command": "git push"}),
    ]
    return answer(steps[results]) if results < len(steps) else "Done."


def test_every_example_runs(
    stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("dspy")
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "prices.py").write_text("PRICE = 12\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", stand_in.base_url)
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", str(stand_in.api_key))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    stand_in.respond = model
    run_page(PAGE, capsys)
    assert (tmp_path / "shop" / "prices.py").read_text() == "PRICE = 13\n"


def test_the_profiles_file_on_the_page_is_valid(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "library.py").write_text(
        'def find_paper(topic: str) -> str:\n    """Find."""\n    return topic\n\n\ntools = [find_paper]\n'
    )
    (tmp_path / "agents.toml").write_text(blocks(PAGE, "toml")[0])
    assert [profile.name for profile in registry.read_profiles(tmp_path / "agents.toml")] == ["reader", "researcher"]


def test_every_field_of_a_profile_is_in_the_table() -> None:
    table = PAGE.read_text().split("## What a profile can say")[1].split("## What a call can say")[0]
    named = set(re.findall(r"`(\w+)`", table))
    assert Profile.model_fields.keys() - {"name"} <= named
