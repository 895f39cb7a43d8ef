"""docs/clients.md: each row has a program whose header says the same, and each program has a row.

`make clients` runs the programs. It needs the registries, so it is not a test here.
"""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .support.examples import DOCS, ROOT, blocks

PAGE = DOCS / "clients.md"


def load() -> ModuleType:
    """Import tools/clients.py, which is in no package."""
    spec = importlib.util.spec_from_file_location("clients", ROOT / "tools" / "clients.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["clients"] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


tool = load()
CLIENTS = tool.clients()


@pytest.mark.parametrize("way", tool.WAYS)
def test_the_table_has_the_row_of_each_program_and_no_other(way: str) -> None:
    _, rows, _ = tool.split_at_table(PAGE.read_text(), way)
    versions = {row.split("|")[1].strip(): row.split("|")[2].strip() for row in rows}
    expected = []
    for client in CLIENTS:
        if client.way == way:
            version = versions.get(client.row("").split("|")[1].strip(), "?")
            assert re.match(r"\d+\.\d+", version), (
                f"{client.name} has no row: make clients CLIENT={client.slug} WRITE=1"
            )
            expected.append(client.row(version))
    assert rows == sorted(expected, key=str.casefold)


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.slug)
def test_a_program_has_the_line_to_type_and_prints_what_works(client: Any) -> None:
    text = client.program.read_text()
    program = text[text.index(" ///\n") :]
    assert client.type in program.split(" ///\n")[-1]
    assert client.works
    for feature in client.works:
        assert feature in tool.FEATURES
        assert f"{feature}:" in program
    assert client.version_of in " ".join((*client.python, *client.npm))


def test_the_configuration_files_shown_are_those_of_the_programs() -> None:
    shown = blocks(PAGE, "bash")
    programs = "\n".join(client.program.read_text() for client in CLIENTS)
    assert len(shown) == 4  # the variables, and three files
    assert all(block in programs for block in shown[1:])


@pytest.mark.parametrize("way", tool.WAYS)
def test_a_row_that_is_written_again_takes_the_place_of_the_old_one(way: str) -> None:
    page = PAGE.read_text()
    client = next(client for client in CLIENTS if client.way == way)
    changed = tool.with_rows(page, {client: client.row("99.1")})
    assert len(changed.splitlines()) == len(page.splitlines())
    assert "99.1" in changed
    _, rows, _ = tool.split_at_table(page, way)
    old = next(row for row in rows if row.split("|")[1] == client.row("").split("|")[1])
    assert tool.with_rows(changed, {client: old}) == page


def test_a_row_does_not_pass_if_a_line_is_missing_or_says_something_else() -> None:
    client = next(client for client in CLIENTS if client.slug == "openai")
    lines = {
        "answer": "The capital of France is Paris.",
        "stream": "2 parts: The capital of France is Paris.",
        "tools": "It is sunny in Paris.",
        "structured output": "name='Paris' population=2100000",
    }
    tool.check(client, "".join(f"{feature}: {said}\n" for feature, said in lines.items()))
    for feature in lines:
        wrong = {**lines, feature: "The capital of France"}
        for printed in (wrong, {each: said for each, said in lines.items() if each != feature}):
            with pytest.raises(tool.ClientFailed, match=feature):
                tool.check(client, "".join(f"{each}: {said}\n" for each, said in printed.items()))


def test_there_is_a_program_for_each_file_and_a_file_for_each_row() -> None:
    files = {path for path in (ROOT / "examples" / "clients").iterdir() if path.is_file()}
    assert files == {client.program for client in CLIENTS}
    linked = {Path(path).name for path in re.findall(r"\]\(\.\./examples/clients/([^)]+)\)", PAGE.read_text())}
    assert linked == {path.name for path in files}
