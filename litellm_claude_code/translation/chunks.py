"""From the events of the Messages API's stream to litellm's chunks, one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from litellm.types.utils import Delta, GenericStreamingChunk, ModelResponseStream, StreamingChoices, Usage

from .. import _litellm
from ..call import ApiEvent, Chunk
from .response import AnswerFormat


class Chunks:
    """Converts the events of one response to litellm's chunks."""

    def __init__(self, asked: AnswerFormat, *, model: str, began: Callable[[Mapping[str, Any]], object]) -> None:
        self._parse = _litellm.anthropic_chunk_parser(
            is_json_mode=asked.is_json_mode, tool_names=asked.tool_names, options=asked.schema_options
        )
        self._asked_for = model
        self._began = began
        self._cost_usd = asked.cost_usd
        self.usage: Usage | None = None
        """The API's usage. Set with the last chunk."""

    def take(self, event: ApiEvent) -> Iterator[Chunk]:
        """Yield an event's chunks: two for `message_start`, none for `ping` and `message_stop`, else one or two."""
        kind = event.get("type")
        if kind in ("ping", "message_stop"):
            return
        chunk: Any = self._parse(event)
        if kind == "message_delta":
            self.usage = chunk.usage
            if (more := _before_the_last(chunk)) is not None:
                yield more
            choice = chunk.choices[0]
            fields = choice.delta.provider_specific_fields
            cost_usd = self._cost_usd(chunk.usage) if chunk.usage is not None else None
            yield last_chunk(finish_reason=choice.finish_reason, usage=chunk.usage, cost_usd=cost_usd, fields=fields)
            return
        chunk.usage = None  # the last chunk has the complete usage
        if kind == "message_start":
            self._began(event["message"].get("usage") or {})
            # Two chunks, because `stream_chunk_builder` takes the model from a chunk whose model differs from the first
            # chunk's. The first one has the requested name, as litellm's own last chunk does; the second has the id.
            first = chunk.model_copy(deep=True)
            first.model, first.choices[0].delta.role = self._asked_for, "assistant"
            yield first
        yield chunk


def _before_the_last(chunk: Any) -> ModelResponseStream | None:
    """Return a chunk for what the last chunk cannot carry: text that litellm held back, and a refusal's reason."""
    delta = chunk.choices[0].delta
    refusal = getattr(delta, "refusal", None)
    if not delta.content and refusal is None:
        return None
    told = Delta(content=delta.content or None, **({"refusal": refusal} if refusal is not None else {}))
    choice = StreamingChoices(index=0, delta=told)
    return ModelResponseStream(id=chunk.id, created=chunk.created, model=chunk.model, choices=[choice])


def last_chunk(
    *, finish_reason: str | None, usage: Usage | None, cost_usd: float | None = None, fields: Any = None
) -> GenericStreamingChunk:
    """Return the chunk that ends a stream. `fields` are its `provider_specific_fields`."""
    # litellm 1.106.2 drops the usage of a final `ModelResponseStream`, but keeps that of this older type.
    counts: Any = usage.model_dump() if usage is not None else None
    if counts is not None and cost_usd is not None:
        counts["cost"] = cost_usd
    last = GenericStreamingChunk(
        text="", is_finished=True, finish_reason=finish_reason or "stop", usage=counts, index=0
    )
    return GenericStreamingChunk(**last, provider_specific_fields=fields) if fields else last
