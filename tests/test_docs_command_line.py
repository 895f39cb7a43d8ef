"""docs/command-line.md: its examples run, and its tables name what there is."""

from __future__ import annotations

import base64
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from litellm_claude_code.testing import RecordedRequest, StandIn
from litellm_claude_code_cli.app import PROGRAM, app
from litellm_claude_code_cli.exits import ExitCode

from .support.examples import DOCS, blocks
from .support.requests import PIXEL

pytestmark = pytest.mark.usefixtures("quiet_again", "one_self_check")

PAGE = (DOCS / "command-line.md").read_text()
EXAMPLES = [
    (line, printed)
    for block in blocks(DOCS / "command-line.md", "console")
    for line, printed in re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", block, re.MULTILINE)
]
ANSWERS = {
    "France": "The capital of France is Paris.",
    "Sum this up": "Three commits.",
    "Which city": '{"city": "Paris"}',
    "Dear": "Bonjour.",
    "2 + 2": "Four.",
}


def respond(request: RecordedRequest) -> str:
    return next((said for words, said in ANSWERS.items() if words in str(request.body["messages"])), "ok")


@pytest.mark.parametrize(("line", "printed"), EXAMPLES)
def test_every_example_runs(
    gateway: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, printed: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.png").write_bytes(base64.b64decode(PIXEL))
    (tmp_path / "city.json").write_text('{"type": "object", "properties": {"city": {"type": "string"}}}')
    (tmp_path / "letter.txt").write_text("Dear friend,")
    gateway.respond = respond
    before, _, command = line.rpartition(f"{PROGRAM} ")
    command, _, file = command.partition(" < ")
    stdin = (tmp_path / file).read_text() if file else "three of them" if before else ""
    result = CliRunner().invoke(app, shlex.split(command), input=stdin)
    assert result.exit_code == 0, result.output
    assert not printed or result.stdout == printed


def test_the_shell_examples_use_existing_commands_and_options() -> None:
    for line in re.findall(rf"^{PROGRAM} (\w\S*)", PAGE, re.MULTILINE):
        assert CliRunner().invoke(app, [line, "--help"]).exit_code == 0
    assert len(EXAMPLES) >= 9


def test_every_exit_code_is_in_the_table() -> None:
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)} == set(ExitCode)


def test_every_subcommand_has_a_section() -> None:
    commands = {
        command.name or getattr(command.callback, "__name__", "")
        for command in app.registered_commands
        if not command.hidden
    }
    assert commands <= set(re.findall(r"^## (.+)$", PAGE, re.MULTILINE))
