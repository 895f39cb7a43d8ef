"""Parameters that a model does not take: refused, or left out with one warning if a setting says so."""

from __future__ import annotations

import logging
from typing import Any

import dspy
import litellm
import pytest

from litellm_claude_code import ClaudeCodeProvider, Settings
from litellm_claude_code.testing import StandIn, answer
from litellm_claude_code.translation import left_out

from .support.requests import ASK, TOOLS, user

FORCED = {"type": "function", "function": {"name": "weather"}}
# Parameters that frameworks send with every call, although their users did not set them.
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "temperature": ({"temperature": 0}, "temperature=0"),
    "top_p": ({"top_p": 0.9}, "top_p=0.9"),
    "top_k": ({"top_k": 5}, "top_k"),
    "a tool that must be called": ({"tools": TOOLS, "tool_choice": "required"}, "a forced tool"),
    "this tool must be called": ({"tools": TOOLS, "tool_choice": FORCED}, "a forced tool"),
    "one forced tool at a time": (
        {"tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False},
        "a forced tool",
    ),
    "frequency_penalty": ({"frequency_penalty": 0.5}, "frequency_penalty=0.5"),
    "store": ({"store": True}, "store=True"),
    "service_tier": ({"service_tier": "flex"}, "service_tier"),
    "logprobs": ({"logprobs": True}, "logprobs=True"),
    "user": ({"user": "somebody"}, "user"),
    "metadata.user_id": ({"metadata": {"user_id": "somebody"}}, "metadata.user_id"),
    "headers": ({"headers": {"x-mine": "1"}}, "extra_headers"),
}
# litellm refuses these itself, by name, before it asks the provider.
REFUSED_BY_LITELLM: dict[str, tuple[dict[str, Any], str]] = {
    "seed": ({"seed": 7}, "seed=7"),
    "verbosity": ({"verbosity": "low"}, "verbosity"),
    "prompt_cache_key": ({"prompt_cache_key": "SECRET"}, "prompt_cache_key"),
    "safety_identifier": ({"safety_identifier": "SECRET"}, "safety_identifier"),
    "extra_headers": ({"extra_headers": {"x-mine": "1"}}, "extra_headers"),
}
ALL = REFUSED | REFUSED_BY_LITELLM
ASKING_FOR_NOTHING: dict[str, dict[str, Any]] = {
    "temperature=1": {"temperature": 1},
    "top_p=1": {"top_p": 1.0},
    "no penalties": {"frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}},
    "no logprobs": {"logprobs": False, "top_logprobs": 0},
    "not stored": {"store": False},
    "the usual tier": {"service_tier": "auto"},
    "no user": {"user": ""},
    "one answer": {"n": 1},
}


@pytest.fixture
def leaving_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_CLAUDE_CODE_DROP_PARAMS", "1")
    left_out.forget()


def ask(stand_in: StandIn, **request: Any) -> Any:
    given = {"messages": ASK, **request}
    return litellm.completion("claude_code/sonnet", **given, api_base=stand_in.base_url, api_key=stand_in.api_key)


def bodies(stand_in: StandIn) -> list[dict[str, Any]]:
    return [{**record.body, "metadata": None} for record in stand_in.requests]


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "litellm_claude_code"]


@pytest.mark.parametrize("name", REFUSED)
def test_an_error_names_the_parameter_and_both_switches(stand_in: StandIn, name: str) -> None:
    request, parameter = REFUSED[name]
    with pytest.raises(litellm.UnsupportedParamsError) as raised:
        ask(stand_in, **request)
    told = str(raised.value)
    assert parameter in told
    assert "drop_params=True" in told
    assert "LITELLM_CLAUDE_CODE_DROP_PARAMS=1" in told
    assert "allowed_openai_params" not in told
    assert stand_in.requests == []


def test_an_error_names_all_that_the_model_does_not_take(stand_in: StandIn) -> None:
    with pytest.raises(litellm.UnsupportedParamsError, match=r"frequency_penalty=1, temperature=0\.2, top_p=0\.5"):
        ask(stand_in, temperature=0.2, top_p=0.5, frequency_penalty=1)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.usefixtures("leaving_out")
def test_the_setting_leaves_out_what_the_model_does_not_take_with_one_warning(
    stand_in: StandIn, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    request, parameter = ALL[name]
    tools = {"tools": request["tools"]} if "tools" in request else {}
    one_at_a_time = {"disable_parallel_tool_use": True} if "parallel_tool_calls" in request else {}
    expected = {"tool_choice": {"type": "auto", **one_at_a_time}} if tools else {}
    ask(stand_in, **tools)
    for _ in range(2):
        ask(stand_in, **request)
    plain, first, second = bodies(stand_in)
    assert first == second == {**plain, **expected}
    (told,) = warnings_in(caplog)
    assert told.startswith("sonnet does not take ")
    assert parameter in told
    assert "SECRET" not in told


@pytest.mark.usefixtures("leaving_out")
def test_each_parameter_and_each_model_has_a_warning(stand_in: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    where: dict[str, Any] = {"api_base": stand_in.base_url, "api_key": stand_in.api_key}
    for model in ("sonnet", "haiku", "sonnet"):
        litellm.completion(f"claude_code/{model}", messages=ASK, temperature=0, top_p=0.5, **where)
    names = [told.split(":")[0] for told in warnings_in(caplog)]
    assert names == [
        "sonnet does not take temperature=0",
        "sonnet does not take top_p=0.5",
        "haiku does not take temperature=0",
        "haiku does not take top_p=0.5",
    ]


@pytest.mark.parametrize("name", ASKING_FOR_NOTHING)
def test_an_explicit_default_counts_as_not_given(
    stand_in: StandIn, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    ask(stand_in)
    ask(stand_in, **ASKING_FOR_NOTHING[name])
    plain, other = bodies(stand_in)
    assert other.pop("temperature", 1) == plain.pop("temperature", 1) == 1
    assert other.pop("service_tier", "auto") == "auto"  # litellm sends it from version 1.109 on
    assert other == plain
    assert warnings_in(caplog) == []


@pytest.mark.usefixtures("leaving_out")
def test_what_a_model_takes_is_sent_with_the_setting_too(stand_in: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    where: dict[str, Any] = {"api_base": stand_in.base_url, "api_key": stand_in.api_key}
    litellm.completion(
        "claude_code/claude-haiku-4-5", messages=ASK, temperature=0.3, tools=TOOLS, tool_choice="required", **where
    )
    litellm.completion("claude_code/claude-haiku-4-5", messages=ASK, top_p=1, **where)
    first, second = bodies(stand_in)
    assert (first["temperature"], first["tool_choice"], second["top_p"]) == (0.3, {"type": "any"}, 1)
    assert warnings_in(caplog) == []


@pytest.mark.usefixtures("leaving_out")
async def test_the_setting_helps_programs_that_cannot_be_changed(stand_in: StandIn) -> None:
    where: dict[str, Any] = {"api_base": stand_in.base_url, "api_key": stand_in.api_key}
    stand_in.respond = lambda request: answer("[[ ## answer ## ]]\nParis\n[[ ## completed ## ]]")
    router = litellm.Router([{"model_name": "m", "litellm_params": {"model": "claude_code/haiku", **where}}])
    await router.acompletion("m", messages=ASK, temperature=0.1, seed=3)  # type: ignore[arg-type]
    [chunk async for chunk in await router.acompletion("m", messages=ASK, temperature=0.1, stream=True)]  # type: ignore[call-overload]
    lm = dspy.LM("claude_code/sonnet", temperature=0.7, seed=3, cache=False, **where)
    with dspy.context(lm=lm):
        assert dspy.Predict("question -> answer")(question="Capital?").answer == "Paris"
    litellm.responses(model="claude_code/sonnet", input="Capital?", temperature=0.1, **where)
    assert len(stand_in.requests) == 4
    assert all(record.body.get("temperature", 1) == 1 for record in stand_in.requests)


def test_a_providers_own_settings_count(stand_in: StandIn) -> None:
    mine = ClaudeCodeProvider(Settings(drop_params=True))
    litellm.custom_provider_map = [{"provider": "claude_code", "custom_handler": mine}]
    try:
        ask(stand_in, temperature=0, seed=7, top_k=5, messages=[user("Hello")])
    finally:
        mine.close()
    assert len(stand_in.requests) == 1


def test_the_models_parameters_are_listed_and_with_the_setting_all(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "seed" not in (litellm.get_supported_openai_params("claude_code/sonnet") or [])
    monkeypatch.setenv("LITELLM_CLAUDE_CODE_DROP_PARAMS", "true")
    assert {"seed", "verbosity", "user"} <= {*(litellm.get_supported_openai_params("claude_code/sonnet") or [])}
    monkeypatch.setenv("LITELLM_CLAUDE_CODE_DROP_PARAMS", "perhaps")
    assert "temperature" in (litellm.get_supported_openai_params("claude_code/sonnet") or [])


def test_the_warning_is_printed_if_a_program_does_not_configure_logging() -> None:
    logger = logging.getLogger("litellm_claude_code")
    assert logger.isEnabledFor(logging.WARNING)
    assert logger.handlers == []
