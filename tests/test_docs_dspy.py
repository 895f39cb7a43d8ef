"""docs/dspy.md: its examples run, in their order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from examples.support_tickets.scripted_model import respond
from litellm_claude_code.testing import StandIn

from .support.examples import DOCS, run_page

dspy = pytest.importorskip("dspy")


def test_every_example_runs(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", stand_in.base_url)
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", str(stand_in.api_key))
    monkeypatch.chdir(tmp_path)
    stand_in.respond = respond
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    names = run_page(DOCS / "dspy.md", capsys, simplified=shape)
    metric = names["metric"]
    right = [metric(each, names["evolved"](ticket=each.ticket)).score for each in names["examples"]]
    assert right == [1, 1, 1, 1]  # what the page says of GEPA is so
    dspy.configure(lm=None)


def shape(text: str) -> str:
    """Leave out the numbers, and how wide they make the columns."""
    return re.sub(r"[\d.,]+", "0", re.sub(r" +", " ", text)).strip()
