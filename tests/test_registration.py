"""What litellm knows of `claude_code/…` as soon as the package is imported, before any call."""

import json
import os
import subprocess
import sys
from typing import Any

import litellm
import pytest

import litellm_claude_code
from litellm_claude_code import models
from litellm_claude_code.translation.left_out import DEFAULTS

TWINS = {"sonnet": "claude-sonnet-5-5", "opus": "claude-opus-5-5", "haiku": "claude-haiku-5-5"} | {
    full: full for full in ("claude-sonnet-5-5", "claude-haiku-4-5", "claude-opus-4-5", "claude-fable-5-1")
}


@pytest.mark.parametrize("name", TWINS)
def test_capabilities_are_those_of_the_same_anthropic_model(name: str) -> None:
    ours, theirs = f"claude_code/{name}", f"anthropic/{TWINS[name]}"
    assert litellm.get_llm_provider(ours)[:2] == (name, "claude_code")
    for supports in (
        litellm.supports_function_calling,
        litellm.supports_response_schema,
        litellm.supports_reasoning,
        litellm.supports_vision,
        litellm.utils.supports_prompt_caching,
        litellm.utils.supports_pdf_input,
        litellm.utils.supports_tool_choice,
    ):
        assert supports(ours) == supports(theirs), supports
    assert litellm.get_max_tokens(ours) == litellm.get_max_tokens(theirs)
    mine, other = litellm.get_model_info(ours), litellm.get_model_info(theirs)
    numbers = [key for key in other if "cost" in key or key.startswith("max_")]
    assert numbers
    assert {key: mine.get(key) for key in numbers} == {key: other.get(key) for key in numbers}


@pytest.mark.parametrize("name", TWINS)
def test_supported_parameters_are_those_of_anthropic_and_n_and_those_that_may_ask_for_nothing(name: str) -> None:
    ours = set(litellm.get_supported_openai_params(f"claude_code/{name}") or [])
    theirs = set(litellm.get_supported_openai_params(f"anthropic/{TWINS[name]}") or [])
    assert ours == (theirs - {"user", "extra_headers"}) | {"n"} | DEFAULTS.keys()


def test_a_model_litellm_does_not_know_yet_has_the_clis_prices() -> None:
    info = litellm.get_model_info("claude_code/fable")
    assert (info["input_cost_per_token"], info["output_cost_per_token"]) == (8e-6, 40e-6)
    assert litellm.supports_reasoning("claude_code/fable")
    assert litellm.supports_vision("claude_code/claude-fable-5-2")


def test_registering_again_changes_nothing() -> None:
    before = [item["provider"] for item in litellm.custom_provider_map]
    litellm_claude_code.register()
    litellm_claude_code.register()
    assert [item["provider"] for item in litellm.custom_provider_map] == before
    assert list(litellm.LlmProviders).count(litellm.LlmProviders("claude_code")) == 1


def test_registering_again_repairs_maps_that_user_code_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    other: Any = {"provider": "mine", "custom_handler": litellm.CustomLLM()}
    litellm.custom_provider_map = [other]
    monkeypatch.setattr(litellm, "model_cost", {})
    litellm_claude_code.register()
    assert [item["provider"] for item in litellm.custom_provider_map] == ["mine", "claude_code"]
    assert litellm.supports_vision("claude_code/sonnet")


def test_prices_and_capabilities_survive_if_a_program_replaces_litellms_table(monkeypatch: pytest.MonkeyPatch) -> None:
    litellm_claude_code.profile("reader")
    before = litellm.get_model_info("claude_code/fable")
    monkeypatch.setattr(litellm, "model_cost", litellm.get_model_cost_map(url=""))
    assert litellm.get_model_info("claude_code/fable") == before
    assert litellm.supports_vision("claude_code/sonnet@reader")
    mine = {"claude_code/sonnet": {**litellm.model_cost["claude_code/sonnet"], "input_cost_per_token": 7.0}}
    monkeypatch.setattr(litellm, "model_cost", mine)
    assert litellm.get_model_info("claude_code/sonnet")["input_cost_per_token"] == 7


def test_litellm_lists_the_models_of_the_provider() -> None:
    litellm_claude_code.register()
    listed = litellm.get_valid_models(custom_llm_provider="claude_code")
    assert {"claude_code/sonnet", "claude_code/claude-haiku-4-5"} <= {*listed}
    assert {*listed} == litellm.models_by_provider["claude_code"] == {f"claude_code/{name}" for name in models.names()}
    litellm.add_known_models()
    assert {*listed} == litellm.models_by_provider["claude_code"]
    assert all(litellm.get_model_info(name) for name in listed)


def test_the_enum_member_is_one_like_any_other() -> None:
    member = litellm.LlmProviders("claude_code")
    assert member.value == "claude_code"
    assert member.name == "CLAUDE_CODE"
    assert member in list(litellm.LlmProviders)
    assert litellm.LlmProviders["CLAUDE_CODE"] is member


@pytest.mark.processes
def test_importing_starts_nothing_and_leaves_the_sdk_and_web_servers_alone() -> None:
    code = """
import json, os, socket, sys, threading
import litellm
before = set(threading.enumerate())
def refuse(*_): raise AssertionError("a connection")
socket.socket.connect = refuse
import litellm_claude_code
children = open(f"/proc/self/task/{os.getpid()}/children").read().split()
told = {
    "threads": len(set(threading.enumerate()) - before),
    "children": children,
    "sdk": "claude_agent_sdk" in sys.modules,
    "vision": litellm.supports_vision("claude_code/sonnet"),
}
import litellm_claude_code.testing.plugin
print(json.dumps({**told, "servers": [name for name in ("uvicorn", "starlette") if name in sys.modules]}))
"""
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"threads": 0, "children": [], "sdk": False, "vision": True, "servers": []}


def test_aliases_and_their_prices_are_those_of_the_cli(told_by_the_cli: dict[str, Any]) -> None:
    told = {model["value"]: model["resolvedModel"] for model in told_by_the_cli["models"]}
    assert told == {name: models.ALIASES[name] for name in told}
    fable = next(model for model in told_by_the_cli["models"] if model["value"] == "fable")
    assert "$8/$40 per Mtok" in fable["description"]
