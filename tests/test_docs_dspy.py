"""docs/dspy.md: its examples run, in their order."""

import re
from pathlib import Path
from typing import Any

import pytest

from litellm_claude_code.testing import StandIn
from litellm_claude_code.testing.scripted_model import respond

dspy = pytest.importorskip("dspy")

PAGE = (Path(__file__).parent.parent / "docs" / "dspy.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", PAGE, re.DOTALL)


def test_every_example_runs(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", stand_in.base_url)
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", str(stand_in.api_key))
    monkeypatch.chdir(tmp_path)
    stand_in.respond = respond
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    names: dict[str, Any] = {}
    assert len(EXAMPLES) >= 4
    for code, printed in EXAMPLES:
        capsys.readouterr()
        exec(compile(code, "docs/dspy.md", "exec"), names)
        if printed:
            assert shape(printed) in shape(capsys.readouterr().out)
    metric = names["metric"]
    right = [metric(each, names["evolved"](ticket=each.ticket)).score for each in names["examples"]]
    assert right == [1, 1, 1, 1]  # what the page says of GEPA is so
    dspy.configure(lm=None)


def shape(text: str) -> str:
    """Leave out the numbers, and how wide they make the columns."""
    return re.sub(r"[\d.,]+", "0", re.sub(r" +", " ", text)).strip()
