"""The notebooks run from top to bottom, on scripted answers; what they show here was shown by them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("dspy")
pytest.importorskip("matplotlib")

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
PRIVATE = ("/tmp/", "/home/", "/root/", "Warning", "Traceback")


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell: Any) -> set[str]:
    """Name what a cell has put out, by kind."""
    return {kind for output in cell.outputs for kind in (output.get("data") or {output.output_type: ""})}


@pytest.mark.processes
@pytest.mark.usefixtures("forked_kernels", "checked_cli")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the Jupyter client's own
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_is_committed(path: Path, tmp_path: Path) -> None:
    committed = nbformat.read(path, 4)
    ran = nbformat.read(path, 4)
    for cell in code(ran):
        cell.outputs = []
        cell.source = cell.source.replace("max_metric_calls=160", "max_metric_calls=20")  # shows as much, in less time
    folders = {"HOME": str(tmp_path), "IPYTHONDIR": str(tmp_path)}
    few = {"LITELLM_CLAUDE_CODE_MAX_WORKERS": "2"}  # each takes longer to start than to answer these questions
    client = nbclient.NotebookClient(ran, timeout=240, resources={"metadata": {"path": str(FOLDER)}})
    client.execute(env={**os.environ, **folders, **few})
    assert [kinds(cell) for cell in code(ran)] == [kinds(cell) for cell in code(committed)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_notebooks_have_no_noise_and_their_first_line_says_who_answers(path: Path) -> None:
    cells = code(nbformat.read(path, 4))
    assert cells[0].source.startswith("LOGIN = False")
    shown = str([output for cell in cells for output in cell.outputs])
    assert shown != "[]"
    assert [word for word in PRIVATE if word in shown] == []
    assert all(len(cell.source.splitlines()) <= 25 for cell in cells)
    # It would hide an interrupt from Jupyter, which would then run the cells behind.
    assert not any("%%capture" in cell.source for cell in cells)
