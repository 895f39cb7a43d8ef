"""The README's examples run, and its tables name what the code has."""

import re
from pathlib import Path
from typing import Any

import litellm
import pytest

from litellm_claude_code import Settings
from litellm_claude_code.testing import RecordedRequest, StandIn, ToolUse, answer
from litellm_claude_code_cli.app import PROGRAM, app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "benchmarks" / "README.md"]
EXAMPLES = re.findall(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", README, re.DOTALL)


def model(request: RecordedRequest) -> Any:
    """Answer the README's questions."""
    body = request.body
    if body.get("tools"):
        return answer(ToolUse("weather", {"city": "Paris"}))
    if "output_config" in body:
        return '{"city": "Paris", "population": 2100000}'
    if "[[ ## answer ## ]]" in str(body):
        return "[[ ## answer ## ]]\nParis\n\n[[ ## completed ## ]]"
    return "The capital of France is Paris."


def test_every_example_runs(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("dspy")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", stand_in.base_url)
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", str(stand_in.api_key))
    stand_in.respond = model
    names: dict[str, Any] = {}
    assert len(EXAMPLES) >= 6
    for code, printed in EXAMPLES:
        exec(compile(code, "README.md", "exec"), names)
        out = capsys.readouterr().out
        if printed:
            assert shape(out) == shape(printed)


def shape(text: str) -> str:
    """Leave out the numbers: token counts are the stand-in's."""
    return re.sub(r"\d[\d.e-]*", "0", text).strip()


def test_every_supported_parameter_is_in_the_table() -> None:
    table = README.split("## Parameters")[1].split("## Who pays")[0]
    named = set(re.findall(r"`(\w+)`", table))
    supported = set(litellm.get_supported_openai_params("claude_code/sonnet") or [])
    assert supported <= named


def test_every_setting_is_in_the_table_with_its_default() -> None:
    table = README.split("## Settings")[1].split("## Testing")[0]
    for name, field in Settings.model_fields.items():
        row = next(line for line in table.splitlines() if f"`{name.upper()}`" in line)
        if isinstance(field.default, bool):
            assert str(field.default).lower() in row
        elif isinstance(field.default, (int, float)):
            assert f"{field.default:g}" in row


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_within_the_pages_leads_somewhere(page: Path) -> None:
    for path, heading in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text()):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not heading or heading in {slug(line) for line in target.read_text().splitlines()}, heading


def slug(line: str) -> str:
    """Return a heading as links name it."""
    return re.sub(r"[^\w -]", "", line.lstrip("#").strip().lower()).replace(" ", "-") if line.startswith("#") else ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_subcommand_that_is_named_exists(page: Path) -> None:
    commands = {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}
    named = re.findall(rf"(?:^|[`$] ?|; ){PROGRAM} (\w[\w-]*)", page.read_text(), re.MULTILINE)
    assert set(named) <= commands


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len(README.splitlines()) < 250
