"""Reject parameters that a client of litellm's proxy must not set: payment, endpoint, or how Claude Code is started.

The proxy passes a client's body on as keyword arguments, so a field of the body can look like an argument set by the
proxy's operator. The proxy also keeps a copy of the client's body, which shows the fields that the client set. This
check applies in every litellm proxy, not only in that of `litellm-claude-code serve`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ._litellm import client_fields
from .errors import bad_request

# litellm arguments that name a credential, an endpoint or another provider.
_NOT_THE_CLIENTS: Final = frozenset(
    ["api_key", "api_base", "base_url", "api_version", "headers", "extra_headers", "extra_query", "custom_llm_provider",
     "provider_specific_header", "litellm_params", "litellm_credential_name", "user_config", "model_list",
     "organization", "deployment_id"]
)  # fmt: skip

# Fields that reach the Messages API under these names, or that litellm translates first. Other fields (cwd, env,
# settings, session ids…) mean nothing to the API.
_OF_THE_API: Final = frozenset(
    ["max_tokens", "temperature", "top_p", "top_k", "stop_sequences", "tools", "tool_choice", "thinking",
     "output_config", "output_format", "cache_control", "context_management", "service_tier", "speed", "json_mode", "n",
     "stream", "stream_options", "extra_body", "max_retries"]
)  # fmt: skip


def check_proxied(optional_params: Mapping[str, Any], litellm_params: Mapping[str, Any], *, model: str) -> None:
    """Raise `BadRequestError` if a proxy's client set a field that is the operator's or unknown to the Messages API.

    Fields are not restricted in calls from this Python process itself, or if the proxy's own configuration set them.
    """
    unknown = {*optional_params, *_mapping(optional_params.get("extra_body"))} - _OF_THE_API
    refused = sorted(client_fields(litellm_params) & (_NOT_THE_CLIENTS | unknown))
    if refused:
        raise bad_request(
            f"A client of the proxy cannot set {', '.join(repr(field) for field in refused)}. Leave it out: the "
            "operator of the proxy decides who pays, where requests go and how Claude Code is started.",
            model=model,
        )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
