"""The README's examples run, and its tables name what the code has."""

import re
from pathlib import Path
from typing import Any

import litellm
import pytest

from litellm_claude_code import Settings
from litellm_claude_code.testing import RecordedRequest, StandIn, ToolUse, answer

README = (Path(__file__).parent.parent / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", README, re.DOTALL)


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


def test_every_example_runs(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("dspy")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", stand_in.base_url)
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", str(stand_in.api_key))
    stand_in.respond = model
    names: dict[str, Any] = {}
    assert len(EXAMPLES) >= 6
    for code, printed in EXAMPLES:
        exec(compile(code, "README.md", "exec"), names)
        out = capsys.readouterr().out
        if printed:
            assert shape(out) == shape(printed)


def shape(text: str) -> str:
    """Leave out the numbers: token counts are the stand-in's."""
    return re.sub(r"\d[\d.e-]*", "0", text).strip()


def test_every_supported_parameter_is_in_the_table() -> None:
    table = README.split("## Parameters")[1].split("## Who pays")[0]
    named = set(re.findall(r"`(\w+)`", table))
    supported = set(litellm.get_supported_openai_params("claude_code/sonnet") or [])
    assert supported <= named


def test_every_setting_is_in_the_table_with_its_default() -> None:
    table = README.split("## Settings")[1].split("## Testing")[0]
    for name, field in Settings.model_fields.items():
        row = next(line for line in table.splitlines() if f"`{name.upper()}`" in line)
        if isinstance(field.default, bool):
            assert str(field.default).lower() in row
        elif isinstance(field.default, (int, float)):
            assert f"{field.default:g}" in row


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len(README.splitlines()) < 250
