"""How the tests are laid out: what test files share is in tests/support/ and conftest.py."""

import ast
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent


def imported_by(file: Path) -> Iterator[str]:
    """Yield each part of each name that a file imports."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield from (node.module or "").split(".")
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (part for alias in node.names for part in alias.name.split("."))


def test_no_test_file_and_no_conftest_is_imported_by_another() -> None:
    files = {file.stem for file in HERE.rglob("*.py") if file.stem.startswith("test_") or file.stem == "conftest"}
    found = {file.name: files & set(imported_by(file)) for file in HERE.rglob("*.py")}
    assert {name: imported for name, imported in found.items() if imported} == {}
