"""Translate OpenAI's format to the Messages API and back, with litellm's own translators.

`ClaudeCodeConfig` maps the parameters of a call. `to_request` builds the body that `anthropic/` would send, and the
`PlainCall` for a worker. `fold` and `to_response` turn the API's events into a response, `Chunks` into a stream of
chunks.
There is no I/O here, except that litellm fetches `http://` images.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import httpx
import litellm
from litellm.exceptions import NotFoundError, UnsupportedParamsError
from litellm.llms.anthropic.chat import transformation
from litellm.llms.anthropic.chat.handler import ModelResponseIterator
from litellm.llms.anthropic.chat.transformation import ANTHROPIC_TOOL_NAME_REVERSE_MAP_KEY, AnthropicConfig
from litellm.types.utils import (
    Delta,
    GenericStreamingChunk,
    ModelResponse,
    ModelResponseStream,
    StreamingChoices,
    Usage,
)

from .. import models
from ..call import ApiEvent, PlainCall
from ..errors import bad_request, unsupported, without_context, without_prompt
from ..login import Login
from ..observer import NOBODY, Observer
from .validation import (
    FENCED,
    UNSENDABLE_KEYS,
    Body,
    check_encodable,
    check_fence,
    check_headers,
    check_images,
    check_messages,
    check_numbers,
    check_schema,
    check_tools,
    check_turns,
    without_user_id,
)

# The betas that CLI 2.1.327 sends by itself, and one that is left out: structured output is no longer a beta for the
# current models. It was not verified with the live API that it works without the header.
SENT_BETAS: Final = frozenset({"claude-code-20250219", "interleaved-thinking-2025-05-14", "effort-2025-11-24"})
OMITTED_BETAS: Final = frozenset({"structured-outputs-2025-11-13"})
# Parameters allowed in a call to an agent (`<model>@<profile>`). Everything else is set by its profile.
AGENT_PARAMS: Final = ("stream", "stream_options", "max_tokens", "max_completion_tokens", "response_format", "n")
_MOST_CACHE_MARKS: Final = 4
_CLI_CACHE_MARKS: Final = 2
_NOT_FOR_THE_BODY: Final = ("stream", "stream_options", "max_retries", "extra_headers", "extra_query")


class ClaudeCodeConfig(AnthropicConfig):
    """Maps parameters as litellm does for `anthropic/`, using the model id that the name resolves to."""

    def get_supported_openai_params(self, model: str) -> list[str]:
        """Return the parameters of `anthropic/` plus `n`, without `user` and `extra_headers`, which cannot be sent.

        Agents support fewer parameters: see `AGENT_PARAMS`.
        """
        if models.split_profile(model)[1]:
            return list(AGENT_PARAMS)
        supported = super().get_supported_openai_params(_full_id(model))
        return [*(param for param in supported if param not in ("user", "extra_headers")), "n"]

    @without_context()
    def map_openai_params(self, non_default_params: Body, optional_params: Body, model: str, drop_params: bool) -> Body:
        """Map parameters as `anthropic/` does. Raises `BadRequestError` for an invalid tool, schema or `n`.

        Raises `UnsupportedParamsError` for `user`, unless parameters are dropped.
        """
        drops = drop_params or litellm.drop_params is True
        given = {key: value for key, value in non_default_params.items() if key != "user"}
        if non_default_params.get("user") is not None and not drops:
            raise unsupported(
                "`user` would overwrite Claude Code's own metadata: leave it out, or set drop_params=True.", model=model
            )
        if models.split_profile(model)[1]:
            return {**optional_params, **given}
        check_tools(given.get("tools"), model=model)
        n = given.get("n")
        if n is not None and (not isinstance(n, int) or n < 1):
            raise bad_request(f"n={n!r} is not a count of answers: give a whole number from 1", model=model)
        try:
            mapped: Body = super().map_openai_params(given, optional_params, _full_id(model), drop_params)
        except (AttributeError, KeyError, TypeError) as error:
            raise bad_request(f"A parameter is not of the form it should have: {error!r}", model=model) from None
        return {**mapped, "n": n} if n is not None else mapped

    def get_json_schema_from_pydantic_object(self, response_format: Any) -> Any:
        """Return the JSON schema of a `response_format`. Raises `BadRequestError` if it is invalid."""
        check_schema(response_format)
        try:
            return super().get_json_schema_from_pydantic_object(response_format)
        except Exception as error:  # pydantic cannot make a schema of the class
            why = f"`response_format` cannot be made a JSON schema ({type(error).__name__})."
            raise bad_request(why, model=models.PROVIDER) from None


def _full_id(model: str) -> str:
    # litellm passes the name with or without the prefix. `to_request` checks whether the model exists.
    return models.resolve(model.removeprefix(f"{models.PROVIDER}/"), any_id=True)


@dataclass(frozen=True, kw_only=True)
class Request:
    """A translated and checked request. Nothing has been sent or spent for it yet."""

    model: str
    """The model name that the caller used, for errors."""
    call: PlainCall
    observer: Observer = field(default=NOBODY, repr=False, compare=False)
    n: int = 1
    is_json_mode: bool = False
    prefix: str | None = field(default=None, repr=False)
    """The start of the response, if the last message sets it (`"prefix": True`)."""
    tool_names: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Maps names on the wire to the caller's tool names, for tool names that the API would not accept."""
    schema_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Arguments for litellm's response translators, if `response_format` was sent as a tool."""


def to_request(
    *,
    model: str,
    messages: Sequence[Mapping[str, Any]],
    optional_params: Mapping[str, Any],
    litellm_params: Mapping[str, Any],
    headers: Mapping[str, str],
    login: Login,
    timeout_s: float | None,
    observer: Observer = NOBODY,
) -> Request:
    """Translate and check a request. litellm has already mapped `optional_params` to the Messages API's parameters.

    Raises litellm's `BadRequestError`, `UnsupportedParamsError` or `NotFoundError`, which says what to change.
    """
    resolved = models.resolve(model, any_id=login.is_elsewhere)
    drops = litellm.drop_params is True or litellm_params.get("drop_params") is True
    params = copy.deepcopy(dict(optional_params))
    n, is_json_mode = params.pop("n", 1), params.pop("json_mode", False)
    extra_body = params.pop("extra_body", None) or {}
    for key in _NOT_FOR_THE_BODY:
        params.pop(key, None)
    check_messages(messages, model=model)
    check_fence({**params, **extra_body}, FENCED, model=model)
    check_headers(headers, drops=drops, model=model)

    inner_params = without_user_id(dict(litellm_params), drops=drops, model=model)
    body, betas = to_body(resolved, messages, params, inner_params, model=model)
    missing = betas - SENT_BETAS - OMITTED_BETAS
    if missing:
        raise unsupported(
            f"This request needs {', '.join(sorted(missing))} (anthropic-beta), which Claude Code does not send. "
            "Leave out the tool or parameter it belongs to.",
            model=model,
        )
    _merge(body, extra_body)
    check_fence(body, UNSENDABLE_KEYS, model=model)
    check_turns(body, model=model)
    check_images(body, model=model)
    check_numbers(body, model=model)
    marked = body.pop("system", None) or []
    system, extra = "\n\n".join(block["text"] for block in marked), _to_json(body, model=model)
    check_encodable(system, model=model)
    check_encodable(extra, model=model)
    effort = body.get("output_config", {}).get("effort")
    call = PlainCall(
        model=resolved,
        system=system,
        cache_ttl=_cache_ttl(marked, body, model=model),
        extra_body=extra,
        prompt=_first_text(body["messages"]),
        max_tokens=body.get("max_tokens"),
        effort=effort if isinstance(effort, str) else None,
        timeout_s=timeout_s,
        login=login,
        on_limit=observer.on_limit,
    )
    return Request(
        model=model,
        call=call,
        observer=observer,
        n=n,
        is_json_mode=bool(is_json_mode),
        prefix=AnthropicConfig().get_prefix_prompt(messages=[dict(message) for message in messages]),  # type: ignore[misc]
        tool_names=inner_params.get(ANTHROPIC_TOOL_NAME_REVERSE_MAP_KEY) or {},
        schema_options=_schema_options(body) if is_json_mode else {},
    )


def _schema_options(body: Body) -> dict[str, Any]:
    """Return the `response_format_schema` for litellm's translators; empty for litellm before 1.107."""
    request_class = getattr(transformation, "JsonModeRequest", None)
    return {} if request_class is None else {"response_format_schema": request_class.model_validate(body).tool_schema()}


def to_body(
    resolved: str, messages: Sequence[Mapping[str, Any]], params: Body, litellm_params: Body, *, model: str
) -> tuple[Body, set[str]]:
    """Return the body and the betas that `anthropic/` sends for the model id `resolved`."""
    config = AnthropicConfig()
    conversation: Any = copy.deepcopy([dict(message) for message in messages])
    try:
        headers = config.validate_environment(
            api_key="unused",
            headers={},
            model=resolved,
            messages=conversation,
            optional_params=params,
            litellm_params={},
        )
        body = config.transform_request(resolved, conversation, params, litellm_params, headers)
    except (UnsupportedParamsError, NotFoundError):
        raise
    except Exception as error:
        # litellm's errors end with a quote of the conversation, which `without_prompt` removes.
        raise bad_request(f"The request cannot be translated: {without_prompt(error)}", model=model) from None
    if "output_format" in body:
        body.setdefault("output_config", {})["format"] = body.pop("output_format")
    betas = {beta.strip() for beta in headers.get("anthropic-beta", "").split(",") if beta.strip()}
    return body, betas


def _merge(body: Body, extra: Mapping[str, Any]) -> None:
    for key, value in extra.items():
        if isinstance(value, Mapping) and isinstance(body.get(key), dict):
            body[key] = {**body[key], **value}
        else:
            body[key] = value


def _to_json(body: Body, *, model: str) -> str:
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise bad_request(f"The request holds something that is not JSON: {error}", model=model) from None


def _first_text(messages: Sequence[Mapping[str, Any]]) -> str:
    content = messages[0].get("content")
    if isinstance(content, str):
        return content
    texts = (block.get("text", "") for block in content or [] if block.get("type") == "text")
    return next(texts, "")


def _cache_ttl(system: Sequence[Mapping[str, Any]], body: Body, *, model: str) -> Literal["5m", "1h"] | None:
    """Return the lifetime of the caller's cache mark on the system prompt, or `None` if it is not marked.

    The CLI joins the system blocks and also marks its own identity block, so a marked system prompt uses two of the
    API's four cache marks. Raises `BadRequestError` if there are too many marks.
    """
    marks = [block["cache_control"] for block in system if block.get("cache_control")]
    count = _count_marks({key: body.get(key) for key in ("messages", "tools")}) + (
        1 if body.get("cache_control") else 0
    )
    count += _CLI_CACHE_MARKS if marks else 0
    if count > _MOST_CACHE_MARKS:
        raise bad_request(
            f"{count} cache marks (`cache_control`); the API takes {_MOST_CACHE_MARKS}"
            f"{', and a marked system prompt uses two of them here' if marks else ''}. Mark fewer blocks.",
            model=model,
        )
    return ("1h" if marks[-1].get("ttl") == "1h" else "5m") if marks else None


def _count_marks(value: Any) -> int:
    if isinstance(value, list):
        return sum(map(_count_marks, value))
    if isinstance(value, dict):
        return (1 if value.get("cache_control") else 0) + sum(map(_count_marks, value.values()))
    return 0


def fold(events: Iterable[ApiEvent]) -> Body:
    """Fold the events of one response into the message that the API would send without streaming.

    The unparsed input of a `tool_use` block is kept in `input_json`.
    """
    message: Body = {"usage": {}}
    blocks: dict[int, Body] = {}
    parts: dict[tuple[int, str], list[str]] = {}
    for event in events:
        match event.get("type"):
            case "message_start":
                message = {**event["message"], "usage": dict(event["message"].get("usage") or {})}
            case "content_block_start":
                blocks[event["index"]] = dict(event["content_block"])
            case "content_block_delta":
                _take_delta(blocks[event["index"]], event["delta"], parts, event["index"])
            case "message_delta":
                message.update(event["delta"])
                message["usage"].update({k: v for k, v in (event.get("usage") or {}).items() if v is not None})
            case "agent":
                message["agent"] = event["agent"]
    for (index, key), texts in parts.items():
        blocks[index][key] = blocks[index].get(key, "") + "".join(texts)
    message["content"] = [_finished(block) for block in blocks.values()]
    return message


def _take_delta(block: Body, delta: Mapping[str, Any], parts: dict[tuple[int, str], list[str]], index: int) -> None:
    match delta.get("type"):
        case "text_delta":
            parts.setdefault((index, "text"), []).append(delta["text"])
        case "thinking_delta":
            parts.setdefault((index, "thinking"), []).append(delta["thinking"])
        case "input_json_delta":
            parts.setdefault((index, "input_json"), []).append(delta["partial_json"])
        case "signature_delta":
            block["signature"] = delta["signature"]
        case "citations_delta":
            block["citations"] = [*(block.get("citations") or []), delta["citation"]]


def _finished(block: Body) -> Body:
    if block.get("type") not in ("tool_use", "server_tool_use"):
        return block
    text = block.get("input_json") or json.dumps(block.get("input") or {})
    try:
        value = json.loads(text)
    except ValueError:
        value = {}  # cut off by max_tokens: the caller gets the unparsed arguments
    return {**block, "input": value, "input_json": text}


def to_response(message: Body, request: Request) -> ModelResponse:
    """Convert a folded message to litellm's response."""
    raw = [block.pop("input_json", None) for block in message["content"]]
    response: ModelResponse = AnthropicConfig().transform_parsed_response(
        completion_response=message,
        raw_response=httpx.Response(200),
        model_response=ModelResponse(),
        json_mode=request.is_json_mode,
        prefix_prompt=request.prefix,
        tool_name_reverse_map=dict(request.tool_names),
        **request.schema_options,
    )
    arguments = [text for block, text in zip(message["content"], raw, strict=True) if text is not None]
    calls: Any = response.choices[0].message.tool_calls or []
    if len(calls) == len(arguments):  # fewer if one of them was the `response_format` tool
        for index, (call, text) in enumerate(zip(calls, arguments, strict=True)):
            call.function.arguments, call.index = text, index
    if (record := message.get("agent")) is not None:
        _add_record(response, record)
    return response


def _add_record(response: Any, record: Mapping[str, Any]) -> None:
    """Add an agent's record to its response. Its cost is Claude Code's own sum over the requests of the run."""
    message = response.choices[0].message
    message.provider_specific_fields = {**(message.provider_specific_fields or {}), "agent": record}
    response._hidden_params["response_cost"] = record["cost_usd"]


def merge_choices(responses: Sequence[ModelResponse]) -> ModelResponse:
    """Combine `n` responses into one, with one choice each and the usage summed."""
    first: Any = responses[0]
    for index, response in enumerate(responses[1:], start=1):
        choice = response.choices[0]
        choice.index = index
        first.choices.append(choice)
        first.usage = Usage(**_add(first.usage.model_dump(), response.usage.model_dump()))  # type: ignore[attr-defined]
    return responses[0]


def _add(one: Any, other: Any) -> Any:
    if isinstance(one, dict) and isinstance(other, dict):
        return {key: _add(one.get(key), other.get(key)) for key in one.keys() | other.keys()}
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return one + other
    return other if one is None else one


class Chunks:
    """Converts the events of one response to litellm's chunks."""

    def __init__(self, request: Request) -> None:
        self._parser = ModelResponseIterator(
            streaming_response=None,
            sync_stream=True,
            json_mode=request.is_json_mode,
            tool_name_reverse_map=dict(request.tool_names),
            **request.schema_options,
        )
        self._asked_for = request.model
        self._shape: Any = None
        self._cost_usd: float | None = None
        self.usage: Usage | None = None
        """The API's usage. Set with the last chunk."""

    def take(self, event: ApiEvent) -> Iterator[ModelResponseStream | GenericStreamingChunk]:
        """Yield an event's chunks: two for `message_start`, none for `ping` and `message_stop`, else one or two."""
        kind = event.get("type")
        if kind in ("ping", "message_stop"):
            return
        if kind in ("agent_event", "agent"):
            yield self._told(event)
            return
        chunk: Any = self._parser.chunk_parser(event)
        if kind == "message_delta":
            self.usage = chunk.usage
            if (more := _before_the_last(chunk)) is not None:
                yield more
            yield _last_chunk(chunk, cost_usd=self._cost_usd)
            return
        chunk.usage = None  # the last chunk has the complete usage
        if kind == "message_start":
            # Two chunks, because `stream_chunk_builder` takes the model from a chunk whose model differs from the first
            # chunk's. The first one has the requested name, as litellm's own last chunk does; the second has the id.
            first = chunk.model_copy(deep=True)
            first.model, first.choices[0].delta.role = self._asked_for, "assistant"
            self._shape = chunk
            yield first
        yield chunk

    def _told(self, event: ApiEvent) -> ModelResponseStream:
        """Return a chunk with one event of an agent's run, or with its final record. The chunk has no text."""
        told = {"agent": event["agent"]} if event["type"] == "agent" else {"agent_events": [event["event"]]}
        if event["type"] == "agent":
            self._cost_usd = event["agent"]["cost_usd"]
        delta = Delta(content=None, provider_specific_fields=told)
        shape = self._shape
        choice = StreamingChoices(index=0, delta=delta)
        return ModelResponseStream(id=shape.id, created=shape.created, model=shape.model, choices=[choice])


def _before_the_last(chunk: Any) -> ModelResponseStream | None:
    """Return a chunk for what the last chunk cannot carry: text that litellm held back, and a refusal's reason."""
    delta = chunk.choices[0].delta
    refusal = getattr(delta, "refusal", None)
    if not delta.content and refusal is None:
        return None
    told = Delta(content=delta.content or None, **({"refusal": refusal} if refusal is not None else {}))
    choice = StreamingChoices(index=0, delta=told)
    return ModelResponseStream(id=chunk.id, created=chunk.created, model=chunk.model, choices=[choice])


def _last_chunk(chunk: Any, *, cost_usd: float | None = None) -> GenericStreamingChunk:
    # litellm 1.106.2 drops the usage of a final `ModelResponseStream`, but keeps that of this older type.
    usage = chunk.usage.model_dump() if chunk.usage is not None else None
    if usage is not None and cost_usd is not None:
        usage["cost"] = cost_usd
    fields = chunk.choices[0].delta.provider_specific_fields
    last = GenericStreamingChunk(
        text="", is_finished=True, finish_reason=chunk.choices[0].finish_reason or "stop", usage=usage, index=0
    )
    return GenericStreamingChunk(**last, provider_specific_fields=fields) if fields else last
