"""The streams of litellm's proxy, event by event, without the faults that clients trip over.

Seen with litellm 1.106.2: a stream of `/v1/messages` has the first thinking text twice, an empty text block after a
tool call, and no `stop_sequence`. The last chunk of `/v1/completions` has no text, and its chunks count no tokens. This
module does no I/O.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from .mending import with_namespace

Json: TypeAlias = dict[str, Any]
_BETWEEN_EVENTS: Final = re.compile(rb"\r?\n\r?\n")


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event of a stream."""

    raw: bytes
    """The event as it goes to the client, with the empty line that ends it."""
    data: Json | None = None
    """Its JSON object. None if it has none (`[DONE]`, a comment), or if it was not read."""

    @property
    def kind(self) -> object:
        return self.data.get("type") if self.data is not None else None

    @property
    def error(self) -> Json | None:
        """The error in the event (Anthropic, OpenAI), or in its `response` (a failed one of the Responses API)."""
        for holder in (self.data, (self.data or {}).get("response")):
            error = holder.get("error") if isinstance(holder, dict) else None
            if isinstance(error, dict):
                return error
        return None

    @property
    def is_prelude(self) -> bool:
        """Whether litellm sends the event before it has heard from the model."""
        return self.kind in ("message_start", "ping")

    def with_data(self, data: Json) -> Event:
        """Return the event with other JSON."""
        name = next((line for line in self.raw.split(b"\n") if line.startswith(b"event:")), None)
        lines = [*([name] if name is not None else []), b"data: " + json.dumps(data).encode()]
        return Event(raw=b"\n".join(lines) + b"\n\n", data=data)


Mend: TypeAlias = Callable[[Event], Iterator[Event]]


class Events:
    """Splits a stream into events and mends each. Use one for each response."""

    def __init__(self, mend: Mend | None) -> None:
        self._mend = mend
        self._rest = b""

    def take(self, content: bytes, *, is_last: bool) -> Iterator[Event]:
        """Yield the events that are complete. `is_last` means that no more content comes."""
        *complete, self._rest = _BETWEEN_EVENTS.split(self._rest + content)
        if is_last and self._rest:
            complete, self._rest = [*complete, self._rest], b""
        for block in complete:
            event = Event(raw=block + b"\n\n", data=self._data(block))
            if self._mend is None or event.data is None or event.error is not None:
                yield event
            else:
                yield from self._mend(event)

    def _data(self, block: bytes) -> Json | None:
        if self._mend is None and b'"error"' not in block:
            return None
        line = next((line for line in block.split(b"\n") if line.startswith(b"data:")), b"")
        try:
            data = json.loads(line[len(b"data:") :])
        except ValueError:
            return None
        return data if isinstance(data, dict) else None


class Messages:
    """Mends the events of `/v1/messages`."""

    def __init__(self) -> None:
        self._held: Event | None = None
        """The start of a text block, until it is known whether the block is empty."""
        self._dropped = 0

    def __call__(self, event: Event) -> Iterator[Event]:
        """Yield what the client gets for an event."""
        held, self._held = self._held, None
        if held is not None and event.kind == "content_block_stop":
            self._dropped += 1
            return
        if held is not None:
            yield held
        data = dict(event.data or {})
        if self._dropped and isinstance(data.get("index"), int):
            data["index"] -= self._dropped
        block = data.get("content_block")
        if event.kind == "content_block_start" and isinstance(block, dict):
            if block.get("type") == "thinking":
                data["content_block"] = {**block, "thinking": ""}  # the text comes again, as a delta
            elif block.get("type") == "text" and not block.get("text"):
                self._held = event.with_data(data)
                return
        elif event.kind == "message_delta" and isinstance(data.get("delta"), dict):
            data["delta"] = {"stop_sequence": None, **data["delta"]}
        yield event if data == event.data else event.with_data(data)


def completions(event: Event) -> Iterator[Event]:
    """Yield a chunk of `/v1/completions` in which each choice has a text, and tokens are counted or left out."""
    data = dict(event.data or {})
    choices, usage = data.get("choices"), data.get("usage")
    if isinstance(choices, list):
        data["choices"] = [{**choice, "text": choice.get("text") or ""} for choice in choices]
    if isinstance(usage, dict) and not usage.get("total_tokens"):
        del data["usage"]
    yield event if data == event.data else event.with_data(data)


class Responses:
    """Gives the calls of grouped tools in events of `/v1/responses` the name of their group; see `mending.py`."""

    def __init__(self, namespaces: frozenset[str]) -> None:
        self._namespaces = namespaces

    def __call__(self, event: Event) -> Iterator[Event]:
        """Yield what the client gets for an event."""
        data = dict(event.data or {})
        if isinstance(data.get("item"), dict):
            data["item"] = with_namespace(data["item"], self._namespaces)
        if isinstance(data.get("response"), dict):
            data["response"] = self.response(data["response"])
        yield event if data == event.data else event.with_data(data)

    def response(self, response: Json) -> Json:
        """Return a response whose output names the groups."""
        output = response.get("output")
        if not isinstance(output, list):
            return response
        named = [with_namespace(item, self._namespaces) if isinstance(item, dict) else item for item in output]
        return {**response, "output": named}


def events_of(path: str, namespaces: frozenset[str]) -> Events:
    """Return the reader of a stream of the endpoint at `path`. `namespaces` are the groups of tools in the request."""
    match path.removeprefix("/v1"):
        case "/messages":
            return Events(Messages())
        case "/completions":
            return Events(completions)
        case "/responses" if namespaces:
            return Events(Responses(namespaces))
    return Events(None)
