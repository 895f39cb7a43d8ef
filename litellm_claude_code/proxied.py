"""What a client of litellm's proxy may not choose: who pays, where requests go, how Claude Code is started.

The proxy hands a client's body on as keyword arguments, so that a field of it can look like an argument of the one who
runs the proxy. The proxy also keeps a copy of what the client wrote; the two are told apart by it. This holds for
every proxy that this provider runs in, with `litellm-claude-code serve` or without.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .errors import bad_request

_PROXIED: Final = "proxy_server_request"

# Arguments of litellm that name a credential, a place or another provider.
_NOT_THE_CLIENTS: Final = frozenset(
    ["api_key", "api_base", "base_url", "api_version", "headers", "extra_headers", "extra_query", "custom_llm_provider",
     "provider_specific_header", "litellm_params", "litellm_credential_name", "user_config", "model_list",
     "organization", "deployment_id"]
)  # fmt: skip

# Fields that reach the Messages API under these names, or are translated by litellm before that. What is not among
# them (cwd, env, settings, session ids…) would mean nothing to the API.
_OF_THE_API: Final = frozenset(
    ["max_tokens", "temperature", "top_p", "top_k", "stop_sequences", "tools", "tool_choice", "thinking",
     "output_config", "output_format", "cache_control", "context_management", "service_tier", "speed", "json_mode", "n",
     "stream", "stream_options", "extra_body", "max_retries"]
)  # fmt: skip


def check_proxied(optional_params: Mapping[str, Any], litellm_params: Mapping[str, Any], *, model: str) -> None:
    """Refuse a proxied request with a field that is the proxy's to set, or that the Messages API does not have.

    Anything goes where the call comes from this Python process itself, or where the proxy's own configuration set it.
    """
    proxied = litellm_params.get(_PROXIED)
    if not isinstance(proxied, Mapping):
        return
    written = _mapping(proxied.get("body"))
    fields = {*written, *_mapping(written.get("extra_body")), *(proxied.get("credential_fields") or ())}
    unknown = {*optional_params, *_mapping(optional_params.get("extra_body"))} - _OF_THE_API
    refused = sorted(fields & (_NOT_THE_CLIENTS | unknown))
    if refused:
        raise bad_request(
            f"A client of the proxy cannot set {', '.join(repr(field) for field in refused)}: leave it out. Who pays, "
            "where requests go and how Claude Code is started is for the one who runs the proxy.",
            model=model,
        )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
