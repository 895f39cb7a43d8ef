"""Everything that reaches into litellm's inside: what litellm does not document, and may change in any release.

Read in litellm 1.106.2, and run on 1.109.1. tests/test_litellm_seam.py names each reach, and checks that no other
module has one. What litellm documents (`litellm.completion`, `litellm.exceptions`, `litellm.types.utils`, `CustomLLM`,
`litellm.register_model`…) is used directly wherever it is needed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple

import httpx
import litellm
from litellm.constants import DEFAULT_CHAT_COMPLETION_PARAM_VALUES
from litellm.litellm_core_utils.get_model_cost_map import GetModelCostMap
from litellm.llms.anthropic.chat import transformation
from litellm.llms.anthropic.chat.handler import ModelResponseIterator
from litellm.llms.anthropic.chat.transformation import ANTHROPIC_TOOL_NAME_REVERSE_MAP_KEY, AnthropicConfig
from litellm.types.utils import LlmProviders, LlmProvidersSet, ModelResponse
from litellm.utils import ProviderConfigManager, custom_llm_setup

__all__ = ["AnthropicConfig"]  # the base class of `ClaudeCodeConfig`

Body = dict[str, Any]
"""The JSON object of a request."""

# The proxy's keys in `litellm_params`: a copy of the client's request, and the hash of the client's key. The proxy
# writes the hash to one of two fields, depending on the endpoint.
_REQUEST: Final = "proxy_server_request"
_WRITTEN_BY_THE_PROXY: Final = ("metadata", "litellm_metadata")
_KEY_HASH: Final = "user_api_key_hash"
_NO_HEADERS: Final = httpx.Response(200)


# Registration


def set_up_custom_providers() -> None:
    """Make litellm read `litellm.custom_provider_map` now. By itself, it reads the map only at the next call."""
    custom_llm_setup()  # type: ignore[no-untyped-call]


def register_config(provider: str, config: Callable[[], AnthropicConfig]) -> None:
    """Make litellm map a provider's parameters with `config`.

    There is no hook for that. litellm looks up providers in an enum and their configs in a table.
    """
    if provider not in LlmProvidersSet:
        member = str.__new__(LlmProviders, provider)
        member._name_, member._value_ = provider.upper(), provider
        LlmProviders._member_map_[member._name_] = member
        LlmProviders._value2member_map_[provider] = member
        LlmProviders._member_names_.append(member._name_)
        LlmProvidersSet.add(provider)
    if ProviderConfigManager._PROVIDER_CONFIG_MAP is None:
        ProviderConfigManager._PROVIDER_CONFIG_MAP = ProviderConfigManager._build_provider_config_map()
    ProviderConfigManager._PROVIDER_CONFIG_MAP[LlmProviders(provider)] = (config, False)


def register_aliases(aliases: Mapping[str, str]) -> None:
    """Make litellm replace these model names, unless the user's program has an alias of that name."""
    for name, model in aliases.items():
        litellm.model_alias_map.setdefault(name, model)


def keep_models(provider: str) -> None:
    """Keep a provider's models if a program replaces `litellm.model_cost`. litellm's own are in the file that it reads.

    There is no hook for that. Some programs, and litellm's own tests, replace the table to do without the network.
    """
    _Litellm.kept.add(f"{provider}/")
    if not isinstance(litellm, _Litellm):
        litellm.__class__ = _Litellm


class _Litellm(type(litellm)):  # type: ignore[misc]  # the class of a module
    """The module litellm. A new `model_cost` gets the models of the old one that are to be kept."""

    kept: ClassVar[set[str]] = set()

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "model_cost" and isinstance(value, dict):
            for model, entry in self.model_cost.items():
                if model.startswith(tuple(self.kept)):
                    value.setdefault(model, entry)
        super().__setattr__(name, value)


def catalog() -> Mapping[str, Mapping[str, Any]]:
    """Return litellm's models as it loaded them, without later changes to `litellm.model_cost` by user code."""
    return GetModelCostMap.loaded_model_cost_map()


# Of the parameters that litellm knows, those that it takes itself, and does not send.
_LITELLMS_OWN: Final = frozenset(
    ["model", "messages", "custom_llm_provider", "metadata", "drop_params", "allowed_openai_params",
     "additional_drop_params", "api_version", "max_retries", "stream", "stream_options"]
)  # fmt: skip


def openai_params() -> list[str]:
    """Return the parameters of a chat completion that litellm knows, and refuses if a provider does not list them."""
    return [name for name in DEFAULT_CHAT_COMPLETION_PARAM_VALUES if name not in _LITELLMS_OWN]


# Translation: what `anthropic/` does


class Translated(NamedTuple):
    """A Messages API body, with the betas and the changed names of tools that litellm's translator reports for it."""

    body: Body
    betas: set[str]
    tool_names: Mapping[str, str]


def anthropic_body(model: str, messages: Sequence[Mapping[str, Any]], params: Body, litellm_params: Body) -> Translated:
    """Return the body that `anthropic/` sends. Changes its arguments. Raises litellm's exceptions and others.

    The messages of some of these exceptions quote the conversation: see `without_prompt`.
    """
    config, conversation = AnthropicConfig(), list(messages)
    # For an id that it does not know, litellm prints its list of providers, unless the provider is named.
    named = model if model in litellm.model_cost else f"anthropic/{model}"
    headers = config.validate_environment(
        api_key="unused",
        headers={},
        model=named,
        messages=_without_linked_files(conversation),  # type: ignore[arg-type]
        optional_params=params,
        litellm_params={},
    )
    body = config.transform_request(named, conversation, params, litellm_params, headers)  # type: ignore[arg-type]
    body["model"] = model
    if "output_format" in body:
        body.setdefault("output_config", {})["format"] = body.pop("output_format")
    betas = {beta.strip() for beta in headers.get("anthropic-beta", "").split(",") if beta.strip()}
    return Translated(body, betas, litellm_params.get(ANTHROPIC_TOOL_NAME_REVERSE_MAP_KEY) or {})


def _without_linked_files(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Leave out files whose id is an address: litellm takes them for uploaded files, which need betas."""

    def is_linked(part: Any) -> bool:
        file = part.get("file") if isinstance(part, Mapping) else None
        return isinstance(file, Mapping) and str(file.get("file_id")).startswith("http") and not file.get("format")

    return [
        {**message, "content": [part for part in message["content"] if not is_linked(part)]}
        if isinstance(message.get("content"), list)
        else message
        for message in messages
    ]


def prefix_prompt(messages: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the start of the response, if the last message sets it (`"prefix": True`)."""
    return AnthropicConfig().get_prefix_prompt(messages=[dict(message) for message in messages])  # type: ignore[misc]


def schema_options(body: Body) -> dict[str, Any]:
    """Return the arguments that translate a `response_format` sent as a tool; empty for litellm before 1.107."""
    request_class = getattr(transformation, "JsonModeRequest", None)
    return {} if request_class is None else {"response_format_schema": request_class.model_validate(body).tool_schema()}


def anthropic_response(
    message: Body, *, is_json_mode: bool, prefix: str | None, tool_names: Mapping[str, str], options: Mapping[str, Any]
) -> ModelResponse:
    """Return litellm's response for a message of the Messages API. `options` are those of `schema_options`."""
    response: ModelResponse = AnthropicConfig().transform_parsed_response(
        completion_response=message,
        raw_response=_NO_HEADERS,
        model_response=ModelResponse(),
        json_mode=is_json_mode,
        prefix_prompt=prefix,
        tool_name_reverse_map=dict(tool_names),
        **options,
    )
    return response


def anthropic_chunk_parser(
    *, is_json_mode: bool, tool_names: Mapping[str, str], options: Mapping[str, Any]
) -> Callable[[Body], Any]:
    """Return a function from one event of the Messages API's stream to litellm's chunk. Use one for each stream."""
    return ModelResponseIterator(
        streaming_response=None,
        sync_stream=True,
        json_mode=is_json_mode,
        tool_name_reverse_map=dict(tool_names),
        **options,
    ).chunk_parser


def set_cost(response: ModelResponse, cost_usd: float) -> None:
    """Set a response's cost, which litellm would otherwise compute from its usage."""
    response._hidden_params["response_cost"] = cost_usd


def cost_of(response: ModelResponse) -> float | None:
    """Return the cost that was set with `set_cost`, or None."""
    cost_usd = response._hidden_params.get("response_cost")
    return cost_usd if isinstance(cost_usd, float) else None


def without_prompt(error: Exception) -> str:
    """Return a translation error's message without the parts of the conversation that litellm appends."""
    text = re.split(r"\n?Received Messages=| Arguments: ", getattr(error, "message", None) or str(error))[0]
    return re.sub(r"^(litellm\.\w+: )?(AnthropicException - )?", "", text)


def without_advice(error: Exception) -> str:
    """Return the first sentences of an `UnsupportedParamsError`, without litellm's advice on its own switches."""
    text = str(getattr(error, "message", error)).removeprefix("litellm.UnsupportedParamsError: ")
    return re.split(r" (?:To drop unsupported params|To drop these|Use tool_choice='auto')", text)[0]


# litellm's logging hooks: `log_pre_api_call`, `log_post_api_call`, `logger_fn` and `litellm.input_callback`


def log_request(logging: Any, *, messages: Sequence[Any], body: Mapping[str, Any], url: str, api_key: Any) -> None:
    """Tell litellm's hooks what is about to be sent. Raises litellm's own exception if only that was asked for."""
    if logging is not None:
        about = {"complete_input_dict": dict(body), "api_base": url, "headers": {}}
        logging.pre_call(input=messages, api_key=api_key, additional_args=about)


def log_response(logging: Any, response: object, *, messages: Sequence[Any], body: Mapping[str, Any]) -> None:
    """Tell litellm's hooks what came back: a response, or that a stream has begun."""
    if logging is not None:
        text = response.model_dump_json() if isinstance(response, ModelResponse) else "first stream response received"
        about = {"complete_input_dict": dict(body)}
        logging.post_call(original_response=text, input=messages, api_key="", additional_args=about)


def finalize_quietly(logging: Any) -> None:
    """Prevent litellm's stream wrapper from setting context variables when it is garbage-collected.

    The finalizer in litellm 1.106.2 restores the ids for correlated logs, even if that option is off. CPython
    before 3.12 can collect garbage in the middle of `ContextVar.set`, and a finalizer that sets a context variable then
    crashes the process (https://github.com/python/cpython/issues/148891). This has crashed a server.
    """
    if logging is not None and not litellm.request_correlation_in_logs:
        logging._own_trace_id = None  # litellm sets the variable only if it holds this value, and it never holds None


# litellm's proxy


def is_proxied(litellm_params: Mapping[str, Any]) -> bool:
    """Return whether a call comes from a client of litellm's proxy."""
    return bool(litellm_params.get(_REQUEST))


def client_fields(litellm_params: Mapping[str, Any]) -> set[str]:
    """Return the names of the fields that a client of the proxy wrote, those in `extra_body` included.

    Empty if the call does not come from a proxy.
    """
    request = _mapping(litellm_params.get(_REQUEST))
    written = _mapping(request.get("body"))
    return {*written, *_mapping(written.get("extra_body")), *(request.get("credential_fields") or ())}


def client_key_hashes(litellm_params: Mapping[str, Any]) -> set[str]:
    """Return the hashes of the client's key. More than one: a client wrote the field that the proxy did not write."""
    fields = [_mapping(litellm_params.get(name)) for name in _WRITTEN_BY_THE_PROXY]
    return {str(each[_KEY_HASH]) for each in fields if each.get(_KEY_HASH)}


def proxy_app() -> Any:
    """Return litellm's proxy, an ASGI app. Importing it takes seconds. Raises `ImportError` without the extra."""
    from litellm.proxy.proxy_server import app

    return app


def check_client_body(body: Body) -> None:
    """Raise `ValueError` if litellm's proxy would not let a client send this body."""
    from litellm.proxy.auth.auth_utils import is_request_body_safe

    is_request_body_safe(body, {}, None, body["model"])


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
