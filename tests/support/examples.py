"""Find the examples in README and docs with Sybil, and run them in the order of the page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sybil import Document, Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser

ROOT = Path(__file__).parent.parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md")), ROOT / "benchmarks" / "README.md"]


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of one language on a page."""
    document = Sybil([CodeBlockParser(language, lambda example: None)]).parse(page)
    return [str(example.parsed) for example in document.examples()]


def run_page(
    page: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    are_alone: bool = False,
    simplified: Callable[[str], str] = str.strip,
) -> dict[str, Any]:
    """Run a page's Python examples, and compare each one's output with the `text` block right after it, if any.

    The output must contain the block, after `simplified` is applied to both. Each example sees the names of the ones
    before it, unless `are_alone`. Returns the names of the last example.
    """
    run = PythonEvaluator()
    names: dict[str, Any] = {}
    last_end = -1

    def execute(example: Example) -> None:
        nonlocal names, last_end
        names = {} if are_alone else names
        example.namespace = names
        capsys.readouterr()
        run(example)
        last_end = example.end

    def compare(example: Example) -> None:
        if not _between(example.document, last_end, example.start).strip():
            assert simplified(example.parsed) in simplified(capsys.readouterr().out), f"{page.name}:{example.line}"

    document = Sybil([CodeBlockParser("python", execute), CodeBlockParser("text", compare)]).parse(page)
    for example in document.examples():
        example.evaluate()
    assert last_end > 0, f"{page.name} has no example"
    return names


def _between(document: Document, end: int, start: int) -> str:
    return document.text[end:start] if end >= 0 else "no example"
