"""Adds pages that lie outside docs/ to the site, and makes links to and from them work there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

_ROOT = Path(__file__).parent.parent

# Page on the site: file in the repository.
_PAGES = {
    "README.md": "README.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "CODE_OF_CONDUCT.md": "CODE_OF_CONDUCT.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "SECURITY.md": "SECURITY.md",
    "benchmarks.md": "benchmarks/README.md",
    "latency.png": "benchmarks/latency.png",
    "optimizer.png": "benchmarks/optimizer.png",
}
_LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)(#[^)]*)?\)")


def on_files(files: Files, *, config: Any) -> Files:
    """Add the pages to those that MkDocs found in docs/."""
    for page, file in _PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(_ROOT / file)))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Point links at the pages of the site. A link to a file that is not on it becomes plain text."""
    source = _ROOT / _PAGES.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def replaced(link: re.Match[str]) -> str:
        target = (source.parent / link[1]).resolve()
        name = _on_site(target)
        return f"]({name}{link[2] or ''})" if name else "](#)"

    return _unlinked(_LINK.sub(replaced, markdown))


def _on_site(target: Path) -> str | None:
    if target.parent == _ROOT / "docs":
        return target.name
    return next((page for page, file in _PAGES.items() if _ROOT / file == target), None)


def _unlinked(markdown: str) -> str:
    return re.sub(r"\[([^\]]*)\]\(#\)", r"\1", markdown)
