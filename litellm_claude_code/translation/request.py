"""OpenAI's format to the Messages API and back, with litellm's own translators.

`to_request` makes of a litellm request the body that `anthropic/` would send, and the `Call` a worker takes; `fold` and
`to_response` make an answer of the API's events, `Chunks` a stream of them. No I/O happens here, besides litellm's own
fetching of `http://` images. How litellm maps parameters for this provider is `ClaudeCodeConfig`.
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
from ..call import ApiEvent, Call
from ..errors import alone, bad_request, unsupported, without_prompt
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

# Betas the CLI sends by itself (CLI 2.1.327), and the one whose feature is asked for without its header: structured
# output left beta for the current models; that the API takes it without was not seen live.
SENT_BETAS: Final = frozenset({"claude-code-20250219", "interleaved-thinking-2025-05-14", "effort-2025-11-24"})
OMITTED_BETAS: Final = frozenset({"structured-outputs-2025-11-13"})
# What a call to an agent may say (`<model>@<profile>`); the rest is its profile's, defined where it runs.
AGENT_PARAMS: Final = ("stream", "stream_options", "max_tokens", "max_completion_tokens", "response_format", "n")
_MOST_CACHE_MARKS: Final = 4
_CLI_CACHE_MARKS: Final = 2
_NOT_FOR_THE_BODY: Final = ("stream", "stream_options", "max_retries", "extra_headers", "extra_query")


class ClaudeCodeConfig(AnthropicConfig):
    """How litellm maps this provider's parameters: as for `anthropic/`, of the model that the name stands for."""

    def get_supported_openai_params(self, model: str) -> list[str]:
        """Return what `anthropic/` supports, and `n`; without `user` and `extra_headers`, which cannot be carried.

        To an agent, a call may say less: see `AGENT_PARAMS`.
        """
        if models.split_profile(model)[1]:
            return list(AGENT_PARAMS)
        supported = super().get_supported_openai_params(_full_id(model))
        return [*(param for param in supported if param not in ("user", "extra_headers")), "n"]

    @alone()
    def map_openai_params(self, non_default_params: Body, optional_params: Body, model: str, drop_params: bool) -> Body:
        """Map as `anthropic/` does. Raises `BadRequestError` for a tool or schema that is none."""
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
        """Return the JSON schema of a `response_format`. Raises `BadRequestError` where it is none."""
        check_schema(response_format)
        try:
            return super().get_json_schema_from_pydantic_object(response_format)
        except Exception as error:  # pydantic's, of a class that has no schema
            why = f"`response_format` cannot be made a JSON schema ({type(error).__name__})."
            raise bad_request(why, model=models.PROVIDER) from None


def _full_id(model: str) -> str:
    # litellm gives the name here with the prefix or without. Whether it exists is for `to_request` to say.
    return models.resolve(model.removeprefix(f"{models.PROVIDER}/"), any_id=True)


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request that has been translated and checked: nothing has been sent or spent for it yet."""

    model: str
    """The name the caller used, for errors."""
    call: Call
    n: int = 1
    is_json_mode: bool = False
    prefix: str | None = field(default=None, repr=False)
    """The start of the answer, where the last message gave it (`"prefix": True`)."""
    tool_names: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The caller's tool names by the names on the wire, where the API would not take them."""
    schema_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What litellm's translators of answers want to know of a `response_format` that was sent as a tool."""


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
    """Translate a request that litellm has mapped (`optional_params` are the Messages API's own by then).

    Raises `BadRequestError`, `UnsupportedParamsError` or `NotFoundError` of litellm's, saying what to change.
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
    call = Call(
        model=resolved,
        system=system,
        cache_ttl=_cache_ttl(marked, body, model=model),
        extra_body=extra,
        prompt=_first_text(body["messages"]),
        max_tokens=body.get("max_tokens"),
        effort=effort if isinstance(effort, str) else None,
        timeout_s=timeout_s,
        login=login,
        observer=observer,
    )
    return Request(
        model=model,
        call=call,
        n=n,
        is_json_mode=bool(is_json_mode),
        prefix=AnthropicConfig().get_prefix_prompt(messages=[dict(message) for message in messages]),  # type: ignore[misc]
        tool_names=inner_params.get(ANTHROPIC_TOOL_NAME_REVERSE_MAP_KEY) or {},
        schema_options=_schema_options(body) if is_json_mode else {},
    )


def _schema_options(body: Body) -> dict[str, Any]:
    """Return the `response_format_schema` that litellm's translators take; nothing for a litellm before 1.107."""
    request_class = getattr(transformation, "JsonModeRequest", None)
    return {} if request_class is None else {"response_format_schema": request_class.model_validate(body).tool_schema()}


def to_body(
    resolved: str, messages: Sequence[Mapping[str, Any]], params: Body, litellm_params: Body, *, model: str
) -> tuple[Body, set[str]]:
    """Return the body that `anthropic/` sends for the model id `resolved`, and the betas that it names for it."""
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
        # litellm quotes the conversation in these errors; what is wrong with it stands in front.
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
    """Return the lifetime of the caller's mark on the system prompt, or `None` where it bears none.

    The CLI joins the blocks and marks its own identity block too: two of the API's four marks.
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
    """Fold the events of one answer into the message that the API would have sent as a whole.

    A `tool_use` block keeps the JSON of its input as it came, in `input_json`.
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
        value = {}  # cut by max_tokens: the arguments are handed on as they came
    return {**block, "input": value, "input_json": text}


def to_response(message: Body, request: Request) -> ModelResponse:
    """Make litellm's answer of a folded message."""
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
    if len(calls) == len(arguments):  # fewer where one of them was the answer to a `response_format`
        for index, (call, text) in enumerate(zip(calls, arguments, strict=True)):
            call.function.arguments, call.index = text, index
    if (record := message.get("agent")) is not None:
        _add_record(response, record)
    return response


def _add_record(response: Any, record: Mapping[str, Any]) -> None:
    """Tell what an agent did beside what it answered. What its run cost is Claude Code's own sum of its requests."""
    message = response.choices[0].message
    message.provider_specific_fields = {**(message.provider_specific_fields or {}), "agent": record}
    response._hidden_params["response_cost"] = record["cost_usd"]


def together(responses: Sequence[ModelResponse]) -> ModelResponse:
    """Make one answer of `n`: a choice each, usage summed."""
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
    """Makes litellm's chunks of the events of one answer."""

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
        """What the API counted, once the last chunk is there."""

    def take(self, event: ApiEvent) -> Iterator[ModelResponseStream | GenericStreamingChunk]:
        """Yield the chunks of one event: one, two at the start, and none of what only keeps the connection alive."""
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
        chunk.usage = None  # the last chunk has all of it
        if kind == "message_start":
            # Two, because `stream_chunk_builder` takes the model from a chunk whose name differs from the first's, and
            # litellm's own last chunk bears the name that was asked for.
            first = chunk.model_copy(deep=True)
            first.model, first.choices[0].delta.role = self._asked_for, "assistant"
            self._shape = chunk
            yield first
        yield chunk

    def _told(self, event: ApiEvent) -> ModelResponseStream:
        """Make a chunk of what an agent does, or of all it has done; it adds nothing to the answer's text."""
        told = {"agent": event["agent"]} if event["type"] == "agent" else {"agent_events": [event["event"]]}
        if event["type"] == "agent":
            self._cost_usd = event["agent"]["cost_usd"]
        delta = Delta(content=None, provider_specific_fields=told)
        shape = self._shape
        choice = StreamingChoices(index=0, delta=delta)
        return ModelResponseStream(id=shape.id, created=shape.created, model=shape.model, choices=[choice])


def _before_the_last(chunk: Any) -> ModelResponseStream | None:
    """Return a chunk with what the last one cannot carry: text that litellm held back, and the reason of a refusal."""
    delta = chunk.choices[0].delta
    refusal = getattr(delta, "refusal", None)
    if not delta.content and refusal is None:
        return None
    told = Delta(content=delta.content or None, **({"refusal": refusal} if refusal is not None else {}))
    choice = StreamingChoices(index=0, delta=told)
    return ModelResponseStream(id=chunk.id, created=chunk.created, model=chunk.model, choices=[choice])


def _last_chunk(chunk: Any, *, cost_usd: float | None = None) -> GenericStreamingChunk:
    # litellm 1.106.2 loses the usage of a finishing `ModelResponseStream`; that of this older form it keeps.
    usage = chunk.usage.model_dump() if chunk.usage is not None else None
    if usage is not None and cost_usd is not None:
        usage["cost"] = cost_usd
    fields = chunk.choices[0].delta.provider_specific_fields
    last = GenericStreamingChunk(
        text="", is_finished=True, finish_reason=chunk.choices[0].finish_reason or "stop", usage=usage, index=0
    )
    return GenericStreamingChunk(**last, provider_specific_fields=fields) if fields else last
