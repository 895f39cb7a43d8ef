"""DSPy's cache keys name the service that answers, so scripted answers and real ones never mix."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from litellm.caching.caching import Cache

from litellm_claude_code.after_import import after_import
from litellm_claude_code.auth import choose_login
from litellm_claude_code.settings import Settings
from litellm_claude_code.testing import StandIn

pytest.importorskip("dspy")

import dspy

from dspy_adapter import ClaudeCodeLM

HERE = "http://127.0.0.1:4000"
BEDROCK = {"CLAUDE_CODE_USE_BEDROCK": "1", "AWS_REGION": "eu-west-1", "AWS_SECRET_ACCESS_KEY": "secret"}
VERTEX = {"CLAUDE_CODE_USE_VERTEX": "1", "ANTHROPIC_VERTEX_PROJECT_ID": "one", "CLOUD_ML_REGION": "us-east5"}
FOUNDRY = {"CLAUDE_CODE_USE_FOUNDRY": "1", "ANTHROPIC_FOUNDRY_RESOURCE": "one", "ANTHROPIC_FOUNDRY_API_KEY": "secret"}


def answerer(env: Mapping[str, str], *, api_base: str | None = None, api_key: str | None = None) -> str:
    settings = Settings(send_login_to=("https://gateway.example",))
    return choose_login(api_key=api_key, api_base=api_base, settings=settings, model="sonnet", environ=env).answerer


def test_a_service_has_one_name_whoever_pays_and_another_service_has_another() -> None:
    anthropic = answerer({})
    assert anthropic == answerer({}, api_key="secret") == answerer({"CLAUDE_CODE_OAUTH_TOKEN": "secret"})
    gateway = answerer({}, api_base="https://gateway.example/", api_key="secret")
    assert gateway == answerer({"ANTHROPIC_BASE_URL": "https://gateway.example", "ANTHROPIC_AUTH_TOKEN": "secret"})
    assert gateway == answerer({"CLAUDE_CODE_OAUTH_TOKEN": "secret"}, api_base="https://gateway.example")
    assert gateway == answerer({}, api_base="https://user:secret@gateway.example", api_key="secret")
    assert gateway == answerer({}, api_base="https://gateway.example", api_key="stand-in-key")
    scripted = answerer({}, api_base=HERE, api_key=StandIn().api_key)
    assert scripted == answerer({"ANTHROPIC_BASE_URL": "http://127.0.0.1:5000", "ANTHROPIC_AUTH_TOKEN": "stand-in-key"})
    assert scripted == answerer({"LITELLM_CLAUDE_CODE_STAND_IN": f"{HERE} stand-in-key"})
    others = [
        answerer({}, api_base=HERE, api_key="secret"),
        answerer(BEDROCK),
        answerer({**BEDROCK, "AWS_REGION": "us-east-1"}),
        answerer({**BEDROCK, "ANTHROPIC_DEFAULT_SONNET_MODEL": "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"}),
        answerer({**BEDROCK, "ANTHROPIC_BEDROCK_BASE_URL": "https://bedrock.example"}),
        answerer(VERTEX),
        answerer({**VERTEX, "ANTHROPIC_VERTEX_PROJECT_ID": "two"}),
        answerer(FOUNDRY),
        answerer({**FOUNDRY, "ANTHROPIC_FOUNDRY_RESOURCE": "two"}),
    ]
    assert answerer({**BEDROCK, "AWS_SECRET_ACCESS_KEY": "rotated"}) == answerer(BEDROCK)
    everyone = [anthropic, gateway, scripted, *others]
    assert len(set(everyone)) == len(everyone)
    assert not any("secret" in each for each in everyone)


def called(lm: Any, question: str) -> str:
    return str(lm(question)[0])


def awaited(lm: Any, question: str) -> str:
    return str(asyncio.run(lm.acall(question))[0])


def requested(lm: Any, question: str) -> str:
    from dspy.lm15 import Config, Message, Request

    request = Request(model=lm.model, messages=(Message.user(question),), config=Config(max_tokens=50))
    return str(lm(request).text)


WAYS = [called, awaited, *([] if dspy.__version__.startswith("3.3.") else [requested])]


def test_scripted_answers_are_not_found_by_a_run_on_another_service(stand_in: StandIn, tmp_path: Path) -> None:
    def lm(kind: Any, of: StandIn) -> Any:
        return kind("claude_code/haiku", api_base=of.base_url, api_key=of.api_key)

    stand_in.respond = lambda _: "Scripted."
    with StandIn(respond=lambda _: "Real.", api_key="real") as real, StandIn() as restarted:
        for _, kind, ask in product(["in memory", "on disk"], [ClaudeCodeLM, dspy.LM], WAYS):
            dspy.configure_cache(enable_memory_cache=True, disk_cache_dir=str(tmp_path))
            for _ in range(2):
                question = f"Who? {kind} {ask}"
                assert ask(lm(kind, stand_in), question) == "Scripted."
                assert ask(lm(kind, real), question) == "Real."
                assert ask(lm(kind, restarted), question) == "Scripted."  # on another port
        assert len(stand_in.requests) == len(real.requests) == 2 * len(WAYS)
        assert restarted.requests == []


def test_litellms_cache_keeps_services_apart_by_namespace() -> None:
    def key(**more: Any) -> str:
        messages = [{"role": "user", "content": "Who?"}]
        return Cache().get_cache_key(model="claude_code/haiku", messages=messages, **more)

    assert key(api_base=HERE) == key()  # for which docs/usage.md names the way around it
    assert key(cache={"namespace": "tests"}) != key()


def test_a_module_is_changed_whether_it_is_imported_before_or_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "a_later_module.py").write_text("name = 'itself'")
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))

    def change(module: ModuleType) -> None:
        seen.append(vars(module)["name"])

    seen: list[str] = []
    try:
        after_import("a_later_module", change)
        after_import("a_later_module", change)
        assert seen == []
        importlib.import_module("a_later_module")
        assert seen == ["itself"] * 2
        after_import("a_later_module", change)
        assert seen == ["itself"] * 3
    finally:
        sys.modules.pop("a_later_module", None)
