"""The table of what is used of the CLI is complete, in the docs, and the only place that spells the names."""

from __future__ import annotations

import ast
import copy
import re
from pathlib import Path

import psutil
import pytest

import litellm_claude_code
from litellm_claude_code import cli_protocol as cli
from litellm_claude_code.testing import StandIn

from .support.calls import ask
from .support.processes import claude_processes

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "litellm_claude_code"
ROWS = (*cli.VARIABLES, *cli.FLAGS, *cli.CONTROL_REQUESTS, *cli.COMMANDS)
OF_THE_CLI = re.compile(r"_?(CLAUDE|ANTHROPIC|DISABLE|ENABLE|API)_")


def value(text: str | None) -> str:
    return "" if text is None else f"`{text}`" if text else "empty"


def tables() -> dict[str, list[str]]:
    """Return the rows of each table of docs/how-it-works.md, by its heading."""
    variables = [
        f"| `{name}` | {value(name.worker)} | {value(name.agent)} | {name.does} | {name.seen_in} |"
        for name in cli.VARIABLES
    ]
    others = {"Flags of a worker": cli.FLAGS, "Control requests": cli.CONTROL_REQUESTS, "Commands": cli.COMMANDS}
    return {
        "Variables": variables,
        **{title: [f"| `{name}` | {name.does} | {name.seen_in} |" for name in rows] for title, rows in others.items()},
    }


@pytest.mark.parametrize("title", tables())
def test_the_docs_have_the_table_row_by_row(title: str) -> None:
    page = (ROOT / "docs" / "how-it-works.md").read_text()
    section = page.partition(f"### {title}\n")[2].partition("\n#")[0]
    in_page = [line for line in section.splitlines() if line.startswith("| `")]
    expected = tables()[title]
    assert in_page == expected, f"Write this into '{title}' of docs/how-it-works.md:\n" + "\n".join(expected)


def test_each_name_has_one_row_with_a_sentence_and_a_version() -> None:
    assert len({*ROWS}) == len(ROWS)
    for row in ROWS:
        assert row.does.endswith("."), row
        assert re.fullmatch(r"\d+\.\d+\.\d+", row.seen_in), row


def test_a_copy_of_a_name_is_a_plain_string() -> None:
    assert type(copy.deepcopy(cli.TOOLS)) is str
    assert copy.deepcopy(cli.TOOLS) == "--tools"


def test_no_other_module_contains_a_name_of_the_cli() -> None:
    spelt = {
        f"{file.relative_to(PACKAGE)}: {node.value!r}"
        for file in PACKAGE.rglob("*.py")
        # `testing/` has the names that a user's program sets for the stand-ins of clouds.
        if file.name != "cli_protocol.py" and "testing" not in file.parts
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and node.value in ROWS
    }
    assert spelt == set(), "Take the name from cli_protocol.py."


def test_a_worker_is_started_with_the_flags_and_variables_of_the_table_and_no_others(stand_in: StandIn) -> None:
    litellm_claude_code.close()  # the processes that run then are new, and this test's
    ask(stand_in)
    workers = [psutil.Process(pid) for pid in claude_processes()]
    assert workers
    for worker in workers:
        flags = {argument.partition("=")[0] for argument in worker.cmdline() if argument.startswith("--")}
        assert flags - {"--pdeathsig", "--"} == {*cli.FLAGS}
        variables = worker.environ()
        assert cli.WORKER_ENVIRONMENT.items() <= variables.items()
        assert {name for name in variables if OF_THE_CLI.match(name)} <= {*cli.VARIABLES}
