"""What needs Anthropic's servers and a login: `pytest -m live`. Off by default, and not run when this was written."""

import base64
import os
import struct
import zlib

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


def test_a_request_of_a_megabyte_passes_whatever_the_login_starts() -> None:
    # What the CLI starts for a credential (the macOS keychain tool, say) inherits the request in its environment.
    rows = b"".join(b"\0" + os.urandom(3 * 600) for _ in range(600))
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", 600, 600, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    chunks = (struct.pack(">I", len(d)) + kind + d + struct.pack(">I", zlib.crc32(kind + d)) for kind, d in parts)
    image = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(chunks)).decode()
    assert len(image) > 1_000_000
    content = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}},
        {"type": "text", "text": "Say just: pong"},
    ]
    response = litellm.completion("claude_code/haiku", messages=[{"role": "user", "content": content}])
    assert "pong" in response.choices[0].message.content.lower()
