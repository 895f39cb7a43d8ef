"""From litellm's request to a call for a worker: the Messages API body that `anthropic/` would send, checked.

litellm's own translator makes the body. There is no I/O here, except that litellm fetches `http://` images.
"""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

import litellm
from litellm.exceptions import NotFoundError, UnsupportedParamsError
from litellm.types.utils import ModelResponse

from .. import _litellm, models
from .._litellm import Body, Translated
from ..call import ApiEvent, PlainCall, Request, Waiting
from ..errors import InvalidRequest, unsupported
from ..login import Login
from ..observer import NOBODY, Observer
from . import left_out
from .chunks import Chunks
from .response import AnswerFormat, fold, to_response
from .validation import (
    RESERVED_KEYS,
    UNSENDABLE_KEYS,
    check_encodable,
    check_images,
    check_messages,
    check_numbers,
    check_turns,
    not_sendable,
    refuse_keys,
    without_user_id,
)

if TYPE_CHECKING:
    from ..pool.pool import Pool

# The betas that CLI 2.1.327 sends by itself, and one that is left out: structured output is no longer a beta for the
# current models. It was not verified with the live API that it works without the header.
SENT_BETAS: Final = frozenset({"claude-code-20250219", "interleaved-thinking-2025-05-14", "effort-2025-11-24"})
OMITTED_BETAS: Final = frozenset({"structured-outputs-2025-11-13"})
_MOST_CACHE_MARKS: Final = 4
_CLI_CACHE_MARKS: Final = 2
# Parameters that litellm refuses, or leaves out, when it makes the body. All others it has mapped before.
_REFUSED_LATE: Final = ("top_k", "speed")
_NOT_FOR_THE_BODY: Final = ("stream", "stream_options", "max_retries", "extra_headers", "extra_query")


@dataclass(frozen=True, kw_only=True)
class GivenCall:
    """A call as litellm passes it to the provider, and the login that was chosen for it."""

    model: str
    """The model name that the caller used, for errors."""
    base_model: str
    """The name without an agent's profile."""
    messages: Sequence[Mapping[str, Any]] = field(repr=False)
    optional_params: Mapping[str, Any] = field(repr=False)
    """The parameters, which litellm has already mapped to the Messages API's."""
    litellm_params: Mapping[str, Any] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    login: Login
    timeout_s: float | None
    leaves_out: bool = False
    """Whether the settings say to leave out, with a warning, what the model does not take."""
    observer: Observer = NOBODY

    @property
    def drops(self) -> bool:
        """Return whether anything says to leave out what the model does not take: the settings, litellm or the call."""
        return self.leaves_out or litellm.drop_params is True or self.litellm_params.get("drop_params") is True

    def resolved_model(self) -> str:
        """Return the model id that is sent. Raises litellm's exceptions for a name that cannot be sent."""
        return models.resolve(self.base_model, login=self.login)

    def common(self) -> dict[str, Any]:
        """Return the fields that every `Call` has, except the system prompt."""
        return {
            "model": self.resolved_model(),
            "timeout_s": self.timeout_s,
            "login": self.login,
            "on_limit": self.observer.on_limit,
            "on_request": self.observer.requested,
        }


@dataclass(frozen=True, kw_only=True)
class PlainRequest(Request):
    """A request to the model. Its events are those of the Messages API's stream."""

    call: PlainCall
    answer_format: AnswerFormat = field(default_factory=AnswerFormat)

    def events(self, pool: Pool, waiting: Waiting) -> AsyncGenerator[ApiEvent, None]:
        return pool.events(self.call, waiting=waiting, queued=self.observer.queued)

    def response(self, events: Sequence[ApiEvent]) -> ModelResponse:
        return to_response(fold(events), self.answer_format)

    def chunks(self) -> Chunks:
        return Chunks(self.answer_format, model=self.model, began=self.observer.began)


def to_request(given: GivenCall) -> PlainRequest:
    """Translate and check a request to the model.

    Raises `InvalidRequest`, or litellm's `UnsupportedParamsError` or `NotFoundError`, which says what to change.
    """
    model, common = given.model, given.common()
    params = copy.deepcopy(dict(given.optional_params))
    n, is_json_mode = params.pop("n", 1), params.pop("json_mode", False)
    extra_body = params.pop("extra_body", None) or {}
    for key in _NOT_FOR_THE_BODY:
        params.pop(key, None)
    refuse_keys({**params, **extra_body}, RESERVED_KEYS)
    body, betas, tool_names = to_body(given, params)
    missing = betas - SENT_BETAS - OMITTED_BETAS
    if missing:
        is_file = any(beta.startswith("files-api") for beta in missing)
        instead = "Send the file's data or its address" if is_file else "Leave out the tool or parameter that needs it"
        raise unsupported(
            f"The request needs the beta {', '.join(sorted(missing))}, which Claude Code does not send. {instead}.",
            model=model,
        )
    _merge(body, extra_body)
    refuse_keys(body, UNSENDABLE_KEYS)
    check_turns(body)
    _restore_documents(body)
    check_images(body)
    check_numbers(body)
    marked = body.pop("system", None) or []
    system, extra = "\n\n".join(block["text"] for block in marked), _to_json(body)
    check_encodable(system)
    check_encodable(extra)
    effort = body.get("output_config", {}).get("effort")
    return PlainRequest(
        model=model,
        call=PlainCall(
            **common,
            system=system,
            cache_ttl=_cache_ttl(marked, body),
            extra_body=extra,
            prompt=_first_text(body["messages"]),
            max_tokens=body.get("max_tokens"),
            effort=effort if isinstance(effort, str) else None,
        ),
        body={**body, **({"system": marked} if marked else {})},
        observer=given.observer,
        n=n,
        answer_format=AnswerFormat(
            is_json_mode=bool(is_json_mode),
            prefix=_litellm.prefix_prompt(given.messages),
            tool_names=tool_names,
            schema_options=_litellm.schema_options(body) if is_json_mode else {},
            cost_usd=partial(models.cost_usd, common["model"], login=given.login),
        ),
    )


def _restore_documents(body: Body) -> None:
    """Turn images whose data is a PDF into documents.

    litellm (1.106.2) has one part for both when it translates a document of the Messages API to OpenAI's format.
    """
    contents = [message.get("content") for message in body["messages"]]
    for block in (block for content in contents if isinstance(content, list) for block in content):
        source = block.get("source")
        if block.get("type") == "image" and isinstance(source, dict) and source.get("media_type") == "application/pdf":
            block["type"] = "document"


def to_body(given: GivenCall, params: Body) -> Translated:
    """Check the messages, and return the body that `anthropic/` sends for them and for `params`.

    On a cloud, this is the body for the Claude model behind the id.

    Raises `InvalidRequest` for what cannot be translated, and `UnsupportedParamsError` for headers, a user id, and
    parameters that the model does not take, unless they are dropped.
    """
    model, resolved, asked = given.model, given.resolved_model(), dict(params)
    check_messages(given.messages)
    refused = not_sendable(given.headers, given.litellm_params)
    if refused and not given.drops:
        raise left_out.refused(refused, model=model)
    litellm_params = {**without_user_id(given.litellm_params), "drop_params": given.drops}
    claude = (models.claude_behind(resolved, given.login) if given.login.cloud else None) or resolved
    conversation = copy.deepcopy([dict(message) for message in given.messages])
    try:
        translated = _litellm.anthropic_body(claude, conversation, params, litellm_params)
    except UnsupportedParamsError as error:
        raise unsupported(f"{_litellm.without_advice(error)} {left_out.ADVICE}", model=model) from None
    except NotFoundError:
        raise
    except Exception as error:
        why = _litellm.without_prompt(error)
        raise InvalidRequest(f"The request cannot be translated: {why}") from None
    if given.leaves_out:
        refused.update((key, asked[key]) for key in _REFUSED_LATE if key in asked and key not in translated.body)
        left_out.warn(refused, model=model)
    translated.body["model"] = resolved
    return translated


def _merge(body: Body, extra: Mapping[str, Any]) -> None:
    for key, value in extra.items():
        if isinstance(value, Mapping) and isinstance(body.get(key), dict):
            body[key] = {**body[key], **value}
        else:
            body[key] = value


def _to_json(body: Body) -> str:
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"The request contains a value that is not JSON: {error}") from None


def _first_text(messages: Sequence[Mapping[str, Any]]) -> str:
    content = messages[0].get("content")
    if isinstance(content, str):
        return content
    texts = (block.get("text", "") for block in content or [] if block.get("type") == "text")
    return next(texts, "")


def _cache_ttl(system: Sequence[Mapping[str, Any]], body: Body) -> Literal["5m", "1h"] | None:
    """Return the lifetime of the caller's cache mark on the system prompt, or `None` if it is not marked.

    The CLI joins the system blocks and also marks its own identity block, so a marked system prompt uses two of the
    API's four cache marks. Raises `InvalidRequest` if there are too many marks.
    """
    marks = [block["cache_control"] for block in system if block.get("cache_control")]
    count = _count_marks({key: body.get(key) for key in ("messages", "tools")}) + (
        1 if body.get("cache_control") else 0
    )
    count += _CLI_CACHE_MARKS if marks else 0
    if count > _MOST_CACHE_MARKS:
        raise InvalidRequest(
            f"The request has {count} cache marks (`cache_control`), but the API allows {_MOST_CACHE_MARKS}"
            f"{', and a marked system prompt counts as two' if marks else ''}. Mark fewer blocks."
        )
    return ("1h" if marks[-1].get("ttl") == "1h" else "5m") if marks else None


def _count_marks(value: Any) -> int:
    if isinstance(value, list):
        return sum(map(_count_marks, value))
    if isinstance(value, dict):
        return (1 if value.get("cache_control") else 0) + sum(map(_count_marks, value.values()))
    return 0
