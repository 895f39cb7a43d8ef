"""Names: which model a name means, and which are refused."""

from pathlib import Path

import litellm
import pytest

from litellm_claude_code import cache, models
from litellm_claude_code.testing import StandIn

from .support.calls import ask
from .support.native import native_model


@pytest.mark.parametrize("alias", sorted(models.ALIASES))
def test_an_alias_is_what_the_cli_makes_of_it(stand_in: StandIn, alias: str) -> None:
    assert ask(stand_in, model=f"claude_code/{alias}").model == models.ALIASES[alias]
    assert stand_in.requests[0].body["model"] == models.ALIASES[alias]


@pytest.mark.parametrize("name", ["sonnet[1m]", "claude-opus-5-5[1m]"])
def test_a_wide_context_uses_the_models_own_if_it_has_one(stand_in: StandIn, name: str) -> None:
    ask(stand_in, model=f"claude_code/{name}")
    assert stand_in.requests[0].body["model"] == models.resolve(name.removesuffix("[1m]"))


def test_a_wide_context_that_needs_a_beta_is_refused(stand_in: StandIn) -> None:
    with pytest.raises(litellm.UnsupportedParamsError, match="1M context beta"):
        ask(stand_in, model="claude_code/claude-sonnet-4-5[1m]")
    assert stand_in.requests == []


@pytest.mark.parametrize("name", ["claude-sonnet-4-5-20250929", "claude-opus-4-1", "claude-something-new-9"])
def test_a_full_id_passes_as_it_is(stand_in: StandIn, name: str) -> None:
    assert ask(stand_in, model=f"claude_code/{name}").model == name
    assert stand_in.requests[0].body["model"] == name


@pytest.mark.parametrize("name", ["gpt-4o", "us.anthropic.claude-sonnet-4-5:0", "claude-sonnet-4-5@20250929", "llama"])
def test_behind_another_api_base_any_id_passes(stand_in: StandIn, name: str) -> None:
    ask(stand_in, model=f"claude_code/{name}", max_tokens=10)
    assert stand_in.requests[0].body["model"] == name


@pytest.mark.parametrize("name", ["gpt-4o", "llama", "", "sonett", "gemini/gemini-2", "us.anthropic.claude:0"])
def test_another_family_is_not_found_and_the_error_names_the_known_ones(name: str) -> None:
    with pytest.raises(litellm.NotFoundError, match="'sonnet'"):
        litellm.completion(f"claude_code/{name}", messages=[{"role": "user", "content": "Hi"}])


def test_a_misspelt_alias_is_an_error_that_suggests_the_right_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(litellm.NotFoundError, match="Did you mean 'sonnet'"):
        litellm.completion("claude_code/sonett", messages=[{"role": "user", "content": "Hi"}])


def test_the_clis_environment_overrides_of_aliases_hold(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_DEFAULT_SONNET_MODEL", "claude-sonnet-4-6")
    monkeypatch.setenv("ANTHROPIC_DEFAULT_HAIKU_MODEL", "my-haiku")
    for name in ("sonnet", "opusplan", "haiku", "opus"):
        ask(stand_in, model=f"claude_code/{name}", max_tokens=5)
    asked = [record.body["model"] for record in stand_in.requests]
    assert asked == ["claude-sonnet-4-6", "claude-sonnet-4-6", "my-haiku", "claude-opus-5-5"]


@pytest.mark.parametrize("alias", sorted(models.ALIASES))
def test_the_cli_itself_resolves_aliases_alike(stand_in: StandIn, alias: str) -> None:
    assert native_model(stand_in, alias) == models.resolve(alias)


def test_aliases_of_a_newer_cli_are_learned_and_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_told", {})
    try:
        models.learn({"sonnet": "claude-sonnet-6", "unheard-of": "x"})
        assert models.resolve("sonnet") == models.resolve("opusplan") == "claude-sonnet-6"
        assert models.resolve("opus") == "claude-opus-5-5"
        assert cache.recall("models", dict) == {"sonnet": "claude-sonnet-6"}
    finally:
        cache.remember("models", {})
        monkeypatch.undo()
        models.register_models()


def test_aliases_of_another_cli_are_forgotten(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cache.remember("key", "value")
    assert cache.recall("key", str) == "value"
    other = tmp_path / "claude"
    other.write_text("another")
    monkeypatch.setattr(cache, "find_cli", lambda: other)
    assert cache.recall("key", str) == ""
