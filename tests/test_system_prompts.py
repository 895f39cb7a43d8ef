"""One process serves one system prompt after the other, each exact on the wire, and nothing of the one before."""

from collections.abc import Iterator
from typing import Any

import litellm
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litellm_claude_code import ClaudeCodeProvider, Settings
from litellm_claude_code.testing import StandIn

from .support.generated import examples
from .support.requests import VERBATIM
from .support.wire import caller_system

PROMPTS = st.one_of(
    st.sampled_from([*VERBATIM, "${CLAUDE_PLUGIN_ROOT}", "$ARGUMENTS", "---\nmodel: opus\n---\n", "{{x}}", "\ufeffa"]),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200),
    st.text("a \t\r\n", min_size=1, max_size=6),
)
MODELS = st.sampled_from(["claude-sonnet-5-5", "claude-haiku-4-5", "claude-opus-5-5", "claude-opus-4-1"])


@pytest.fixture(scope="module")
def one_process(one_stand_in: StandIn) -> Iterator[ClaudeCodeProvider]:
    provider = ClaudeCodeProvider(Settings(max_workers=1))
    yield provider
    provider.close()


def system_on_the_wire(provider: ClaudeCodeProvider, stand_in: StandIn, model: str, prompt: str | None) -> str:
    """Make one call; return the system prompt of its request, after checking the CLI's own lines before it."""
    litellm.custom_provider_map = [{"provider": "claude_code", "custom_handler": provider}]
    before = len(stand_in.requests)
    system: list[Any] = [] if prompt is None else [{"role": "system", "content": prompt}]
    litellm.completion(
        f"claude_code/{model}",
        messages=[*system, {"role": "user", "content": "Hello"}],
        api_base=stand_in.base_url,
        api_key=stand_in.api_key,
    )
    assert len(stand_in.requests) == before + 1
    return caller_system(stand_in.requests[-1].body["system"])


@settings(max_examples=examples(25))
@given(prompt=PROMPTS, model=MODELS)
def test_a_process_takes_any_system_prompt_after_any_other(
    stand_in: StandIn, one_process: ClaudeCodeProvider, prompt: str, model: str
) -> None:
    assert system_on_the_wire(one_process, stand_in, model, prompt) == prompt
    assert one_process.stats()["boots"] == 1


def test_a_system_prompt_of_megabytes_is_one_too(stand_in: StandIn, one_process: ClaudeCodeProvider) -> None:
    prompt = "Mind the é. " * 250_000
    assert system_on_the_wire(one_process, stand_in, "claude-sonnet-5-5", prompt) == prompt


def test_a_call_without_a_system_prompt_goes_to_a_process_that_has_had_none(stand_in: StandIn) -> None:
    provider = ClaudeCodeProvider(Settings(max_workers=1))
    for prompt, boots in [(None, 1), (None, 1), ("One.", 1), (None, 2), ("Two.", 2)]:
        assert system_on_the_wire(provider, stand_in, "claude-sonnet-5-5", prompt) == (prompt or "")
        assert provider.stats()["boots"] == boots
    provider.close()
