"""Reaches into litellm's inside are in one module, and each is still there. Of DSPy, only public names are used."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import litellm
import pytest
from litellm import constants
from litellm.litellm_core_utils.get_model_cost_map import GetModelCostMap
from litellm.litellm_core_utils.litellm_logging import Logging
from litellm.llms.anthropic.chat import transformation
from litellm.llms.anthropic.chat.handler import ModelResponseIterator
from litellm.proxy.auth.auth_utils import is_request_body_safe
from litellm.types.utils import LlmProviders, LlmProvidersSet, ModelResponse
from litellm.utils import ProviderConfigManager

ROOT = Path(__file__).parent.parent
PACKAGES = ("litellm_claude_code", "litellm_claude_code_cli", "litellm_claude_code_runs", "dspy_adapter")
SEAM = ROOT / "litellm_claude_code" / "_litellm.py"
# What litellm documents for its users, and what every program that uses it may import.
DOCUMENTED = {"litellm", "litellm.exceptions", "litellm.types.utils", "litellm.llms.custom_llm"}
# Names that only the seam may contain: private ones of litellm, and the keys that its proxy adds to a call.
INSIDE = re.compile(
    r"_hidden_params|_PROVIDER_CONFIG_MAP|_own_trace_id|_member_map_|_value2member_map_|model_alias_map|"
    r"proxy_server_request|credential_fields|user_api_key_hash|Received Messages="
)


def takes(function: Callable[..., Any], *names: str) -> bool:
    parameters = inspect.signature(function).parameters
    return all(name in parameters for name in names)


REACHES: dict[str, Callable[[], bool]] = {
    "the enum of providers, which takes a member": lambda: (
        LlmProviders("claude_code").name == "CLAUDE_CODE" and "claude_code" in LlmProvidersSet
    ),
    "the table of the providers' configs": lambda: (
        LlmProviders("claude_code") in (ProviderConfigManager._PROVIDER_CONFIG_MAP or {})
    ),
    "aliases of models": lambda: litellm.model_alias_map["claude_code:sonnet"] == "claude_code/claude_code:sonnet",
    "the parameters that litellm knows": lambda: (
        {"seed", "frequency_penalty", "prompt_cache_key"} < constants.DEFAULT_CHAT_COMPLETION_PARAM_VALUES.keys()
    ),
    "the catalog of models as it was loaded": lambda: "claude-sonnet-4-5" in GetModelCostMap.loaded_model_cost_map(),
    "`AnthropicConfig.validate_environment`": lambda: takes(
        transformation.AnthropicConfig.validate_environment, "headers", "model", "messages", "optional_params"
    ),
    "`AnthropicConfig.transform_request`": lambda: takes(
        transformation.AnthropicConfig.transform_request, "model", "messages", "optional_params", "headers"
    ),
    "`AnthropicConfig.transform_parsed_response`": lambda: takes(
        transformation.AnthropicConfig.transform_parsed_response, "completion_response", "prefix_prompt"
    ),
    "`AnthropicConfig.get_prefix_prompt`": lambda: takes(transformation.AnthropicConfig.get_prefix_prompt, "messages"),
    "the key of changed tool names": lambda: isinstance(transformation.ANTHROPIC_TOOL_NAME_REVERSE_MAP_KEY, str),
    "`ModelResponseIterator.chunk_parser`": lambda: takes(ModelResponseIterator.chunk_parser, "chunk"),
    "the cost of a response": lambda: isinstance(ModelResponse()._hidden_params, dict),
    "the id that a stream's finalizer restores": lambda: "_own_trace_id" in inspect.getsource(Logging),
    "the hooks before and after a request": lambda: (
        takes(Logging.pre_call, "input", "api_key", "additional_args")
        and takes(Logging.post_call, "original_response", "input", "api_key", "additional_args")
    ),
    "the proxy's check of a body": lambda: takes(
        is_request_body_safe, "request_body", "general_settings", "llm_router", "model"
    ),
}


@pytest.mark.parametrize("name", REACHES)
def test_every_name_that_the_seam_uses_exists(name: str) -> None:
    why = f"litellm has changed {name}: see litellm_claude_code/_litellm.py"
    try:
        is_there = REACHES[name]()
    except (AttributeError, KeyError, ValueError) as error:
        pytest.fail(f"{why} ({error!r})")
    assert is_there, why


def modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")) if path != SEAM]


def test_no_other_module_imports_what_litellm_does_not_document() -> None:
    imports = re.compile(r"^\s*(?:from|import) (litellm(?:\.\w+)*)", re.MULTILINE)
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in modules()
        for name in imports.findall(path.read_text())
        if name not in DOCUMENTED
    }
    assert found == set()


def test_no_other_module_uses_a_name_from_the_inside_of_litellm() -> None:
    found = {f"{path.relative_to(ROOT)}: {name}" for path in modules() for name in INSIDE.findall(path.read_text())}
    assert found == set()


def test_the_adapter_for_dspy_uses_public_names_only() -> None:
    private = re.compile(r"\bdspy(?:\.\w+)*\.(_(?!_)\w+)|from dspy(?:\.\w+)*\.(_\w+)")
    found = [
        (path.name, name) for path in (ROOT / "dspy_adapter").glob("*.py") for name in private.findall(path.read_text())
    ]
    assert found == []
