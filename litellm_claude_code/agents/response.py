"""From the events of an agent's run to litellm's response, or to its chunks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from litellm.types.utils import Delta, ModelResponse, ModelResponseStream, StreamingChoices, Usage

from .._litellm import set_cost
from ..call import Chunk
from ..translation import response as translation
from ..translation.chunks import last_chunk
from .events import Activity, Begun, Finished, RunEvent, TextDelta


def to_response(events: Sequence[RunEvent]) -> ModelResponse:
    """Return the response for the events of a whole run. The record of the run is in `provider_specific_fields`.

    Its cost is Claude Code's own sum over the requests of the run.
    """
    begun, finished = events[0], events[-1]
    assert isinstance(begun, Begun), begun
    assert isinstance(finished, Finished), finished
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    response: Any = _without_record(finished, model=begun.model, text=text)
    message = response.choices[0].message
    message.provider_specific_fields = {**(message.provider_specific_fields or {}), "agent": finished.record}
    set_cost(response, finished.record["cost_usd"])
    return response  # type: ignore[no-any-return]


def _without_record(finished: Finished, *, model: str, text: str) -> ModelResponse:
    """Return the response that litellm makes of a message of the Messages API, for its usage and finish reason."""
    content = [{"type": "text", "text": text}]
    message = {"model": model, "content": content, "stop_reason": finished.stop_reason, "usage": finished.usage}
    return translation.to_response(message, translation.AnswerFormat())


class AgentChunks:
    """Converts the events of one run to litellm's chunks."""

    def __init__(self, *, model: str) -> None:
        self._asked_for = model
        self._same: dict[str, Any] = {}
        """The fields that all chunks but the first have in common."""
        self.usage: Usage | None = None
        """The usage of the whole run. Set with the last chunk."""

    def take(self, event: RunEvent) -> Iterator[Chunk]:
        """Yield an event's chunks: two for the first and the last, else one."""
        match event:
            case Begun():
                # For the two chunks see `translation/chunks.py`: the first has the requested name, the second the id.
                first = self._chunk(model=self._asked_for, content="", role="assistant")
                self._same = {"id": first.id, "created": first.created, "model": event.model}
                yield first
                yield self._chunk(content="")
            case Activity():
                yield self._chunk(fields={"agent_events": [event.event]})
            case TextDelta():
                yield self._chunk(content=event.text)
            case Finished():
                yield self._chunk(fields={"agent": event.record})
                response: Any = _without_record(event, model=self._asked_for, text="")
                self.usage = response.usage
                reason, cost_usd = response.choices[0].finish_reason, event.record["cost_usd"]
                yield last_chunk(finish_reason=reason, usage=self.usage, cost_usd=cost_usd)

    def _chunk(
        self,
        *,
        content: str | None = None,
        role: str | None = None,
        fields: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> ModelResponseStream:
        delta = Delta(content=content, role=role, provider_specific_fields=fields)
        choices = [StreamingChoices(index=0, delta=delta)]
        return ModelResponseStream(choices=choices, usage=None, **self._same, **more)
