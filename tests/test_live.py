"""What needs Anthropic's servers and a login: `pytest -m live`. Off by default, and not run when this was written."""

import os

import litellm
import pytest
from pydantic import BaseModel

pytestmark = pytest.mark.live


@pytest.fixture(autouse=True)
def _own_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLAUDE_CONFIG_DIR")
    monkeypatch.setenv("HOME", os.path.expanduser(f"~{os.environ.get('USER', '')}"))


def test_an_answer_comes_from_the_login() -> None:
    response = litellm.completion("claude_code/haiku", messages=[{"role": "user", "content": "Say just: pong"}])
    assert "pong" in response.choices[0].message.content.lower()


def test_structured_output_is_accepted_without_its_beta() -> None:
    class Capital(BaseModel):
        city: str

    messages = [{"role": "user", "content": "Capital of France?"}]
    response = litellm.completion("claude_code/haiku", messages=messages, response_format=Capital)
    assert Capital.model_validate_json(response.choices[0].message.content).city == "Paris"


def test_effort_is_accepted() -> None:
    messages = [{"role": "user", "content": "What is 17 * 23?"}]
    response = litellm.completion("claude_code/sonnet", messages=messages, reasoning_effort="low")
    assert "391" in response.choices[0].message.content
