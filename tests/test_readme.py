"""README and the pages: their examples run, and their tables, links and commands name what the code has."""

import re
from pathlib import Path
from typing import Any

import litellm
import pytest

from litellm_claude_code import Settings
from litellm_claude_code.testing import RecordedRequest, StandIn, ToolUse, answer
from litellm_claude_code_cli.app import PROGRAM, app

from .support.examples import DOCS, PAGES, README, blocks, run_page

# docs/*.md whose examples run in a test file of their own: they need a server, files or a scripted model.
ELSEWHERE = {"agents", "clouds", "dspy", "limits", "serving"}


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


@pytest.fixture
def gateway(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", stand_in.base_url)
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", str(stand_in.api_key))
    stand_in.respond = model


@pytest.mark.usefixtures("gateway")
def test_every_example_of_the_readme_runs_alone(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("dspy").configure(lm=None)
    run_page(README, capsys, are_alone=True, simplified=shape)
    assert len(blocks(README, "python")) == 3


@pytest.mark.usefixtures("gateway")
@pytest.mark.parametrize("page", ["usage", "testing"])
def test_every_example_of_a_page_runs(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    run_page(DOCS / f"{page}.md", capsys, simplified=shape)


def test_no_page_has_examples_that_are_not_run() -> None:
    assert {page.stem for page in PAGES if blocks(page, "python")} == {"README", "usage", "testing", *ELSEWHERE}


def shape(text: str) -> str:
    """Leave out the numbers: token counts are the stand-in's."""
    return re.sub(r"\d[\d.e-]*", "0", text).strip()


def test_every_supported_parameter_is_in_the_table() -> None:
    table = (DOCS / "usage.md").read_text().split("## Parameters")[1].split("## The pool")[0]
    named = set(re.findall(r"`(\w+)`", table))
    supported = set(litellm.get_supported_openai_params("claude_code/sonnet") or [])
    assert supported <= named


def test_every_setting_is_in_the_table_with_its_default() -> None:
    table = (DOCS / "settings.md").read_text()
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
