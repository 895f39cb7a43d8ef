"""Translation of a litellm call for an agent: the conversation, and the few parameters that a call may set.

The profile alone decides what the agent may use. A call that sets any of that is refused, whatever the value.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from litellm.types.utils import ModelResponse

from .. import _litellm
from .._litellm import Body
from ..call import Request, Waiting
from ..errors import InvalidRequest, unsupported
from ..translation.config import AGENT_PARAMS
from ..translation.request import GivenCall, to_body
from ..translation.validation import (
    check_encodable,
    check_images,
    check_numbers,
    check_schema,
)
from .call import LOCAL, AgentCall
from .events import RunEvent
from .profile import Profile
from .records import active_collectors
from .registry import find
from .response import AgentChunks, to_response
from .run import agent_events

if TYPE_CHECKING:
    from ..pool.pool import Pool

_TAKEN: Final = frozenset({*AGENT_PARAMS, "session_id", "max_retries", "extra_headers"})


@dataclass(frozen=True, kw_only=True)
class AgentRequest(Request):
    """A request for one run of an agent."""

    call: AgentCall

    def events(self, pool: Pool, waiting: Waiting) -> AsyncGenerator[RunEvent, None]:
        return agent_events(pool, self.call, waiting=waiting)

    def response(self, events: Sequence[RunEvent]) -> ModelResponse:
        return to_response(events)

    def chunks(self) -> AgentChunks:
        return AgentChunks(model=self.model)


def to_agent_request(given: GivenCall, *, profile_name: str) -> AgentRequest:
    """Translate and check a call for `<model>@<profile>`.

    Raises `NotFoundError` if the profile is not defined, and `InvalidRequest` or `UnsupportedParamsError` for a
    parameter that cannot be sent or that only the profile may set.
    """
    model = given.model
    profile = find(profile_name, model=model)
    common = given.common()
    params = {**given.optional_params, **(given.optional_params.get("extra_body") or {})}
    params.pop("extra_body", None)
    _refuse_keys(params, profile, model=model)
    if params.get("n", 1) != 1:
        raise unsupported("n>1 would start several runs of the agent. Make one call per run.", model=model)
    body = to_body(given, {"max_tokens": 1}).body
    messages = body["messages"]
    check_images(body)
    check_numbers(messages)
    if messages[-1]["role"] != "user":
        raise InvalidRequest("The last message must have the role 'user' or 'tool', because the agent answers it.")
    system = "\n\n".join(block["text"] for block in body.get("system") or [])
    check_encodable(system + str(messages))
    call = AgentCall(
        **common,
        system=system,
        profile=profile,
        messages=messages,
        schema=_schema(params.get("response_format")),
        max_tokens=_max_tokens(params),
        session_id=_session_id(params, profile, messages=len(messages)),
        owner=owner_of(given.litellm_params),
        records=active_collectors(),
    )
    return AgentRequest(model=model, call=call, body={**body, "max_tokens": call.max_tokens}, observer=given.observer)


def owner_of(litellm_params: Mapping[str, Any]) -> str:
    """Return the owner of the conversations that a call may resume: `LOCAL`, or the hash of a proxy client's key.

    Empty if the proxy does not identify its clients. The proxy writes the key's hash to one of two fields, depending on
    the endpoint, and a client can write the other. If the fields disagree, neither is trusted and the result is empty.
    """
    if not _litellm.is_proxied(litellm_params):
        return LOCAL
    keys = _litellm.client_key_hashes(litellm_params)
    return f"proxy:{keys.pop()}" if len(keys) == 1 else ""


def _refuse_keys(params: Mapping[str, Any], profile: Profile, *, model: str) -> None:
    """Raise for a parameter that only the profile may set, or that agents do not support."""
    for key in sorted(params.keys() - _TAKEN):
        if key in Profile.model_fields:
            raise InvalidRequest(f"'{key}' can only be set in the profile '{profile.name}'. Leave it out of the call.")
        raise unsupported(
            f"'{key}' cannot be set in a call to an agent. A call can set `messages`, `response_format`, "
            "`max_tokens`, `session_id`, `stream` and `timeout`.",
            model=model,
        )


def _schema(response_format: Any) -> Body | None:
    check_schema(response_format)
    if not isinstance(response_format, dict) or response_format.get("type") != "json_schema":
        return None
    schema: Body = response_format["json_schema"]["schema"]
    return schema


def _max_tokens(params: Mapping[str, Any]) -> int | None:
    value = params.get("max_tokens") or params.get("max_completion_tokens")
    if value is not None and (not isinstance(value, int) or value < 1):
        raise InvalidRequest(f"max_tokens={value!r} is not valid. Use an integer of at least 1.")
    return value


def _session_id(params: Mapping[str, Any], profile: Profile, *, messages: int) -> str | None:
    value = params.get("session_id")
    if value is None:
        return None
    if not profile.sessions:
        raise InvalidRequest(
            f"The profile '{profile.name}' does not keep conversations. Leave out `session_id` and send the history, "
            "or define the profile with sessions=True."
        )
    if messages > 1:
        raise InvalidRequest(
            "With `session_id`, send only the new message. The conversation already has the earlier ones."
        )
    try:
        return str(uuid.UUID(value))
    except (AttributeError, TypeError, ValueError):
        raise InvalidRequest("`session_id` is not valid. Use the one in provider_specific_fields['agent'].") from None
