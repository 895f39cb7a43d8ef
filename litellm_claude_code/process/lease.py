"""One call on its worker: what the caller reads of it, and what its frames say of how it went."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Final

from claude_agent_sdk import CLIConnectionError

from ..call import ApiEvent, Call
from ..errors import CallFailed, Failure, timed_out
from .guard import LEFT_OUT, OneTokenGuard, is_refused_question
from .transport import Frame

_CUT: Final = "the connection to the API was lost before the answer was whole"


class Turn:
    """One call being served. The caller reads its events; the worker alone talks to the process."""

    def __init__(self, call: Call, *, wake: Callable[[], None]) -> None:
        self.call = call
        self.id = str(uuid.uuid4())
        self.is_sent = False
        """Whether the model may have been asked: then no other worker may repeat the call."""
        self.is_abandoned = False
        self.is_over = False
        self.failed: CallFailed | None = None
        self.asked_at: float | None = None
        """When the API was asked (`time.monotonic`), as far as is known."""
        self.limit: Frame | None = None
        """What the CLI said of the subscription's limits (`rate_limit_info`), if it did."""
        self._wake = wake
        self._events: asyncio.Queue[ApiEvent | CallFailed | None] = asyncio.Queue()
        self._moved_at = time.monotonic()
        self._watch: asyncio.TimerHandle | None = None
        self._look()

    def __aiter__(self) -> AsyncIterator[ApiEvent]:
        return self

    async def __anext__(self) -> ApiEvent:
        """Return the next event. Raises `CallFailed` where the call failed, `WorkerLost` if it can be repeated."""
        event = await self._events.get()
        if isinstance(event, CallFailed):
            raise event
        if event is None:
            raise StopAsyncIteration
        return event

    @property
    def api_s(self) -> float:
        """Return how long the API was waited for, up to its last event."""
        return self._moved_at - self.asked_at if self.asked_at is not None else 0.0

    def abandon(self) -> None:
        """Say that nobody reads on: the model request is stopped. A turn that is over takes no notice."""
        if not self.is_over:
            self.is_abandoned = True
            self._wake()

    def deliver(self, *events: ApiEvent) -> None:
        """Hand over events. None at all says that the answer goes on, with an event that is held back for now."""
        self._moved_at = time.monotonic()
        for event in events:
            self._events.put_nowait(event)

    def end(self, failed: CallFailed | None = None) -> None:
        """Hand over the end, or what went wrong instead. Only the first end counts."""
        if not self.is_over:
            self.is_over, self.failed = True, failed
            self._events.put_nowait(failed)
            if self._watch is not None:
                self._watch.cancel()

    def _look(self) -> None:
        """End the turn if nothing has moved for as long as the caller waits; else look again when that can be."""
        if self.is_over or self.call.timeout_s is None:
            return
        left_s = self._moved_at + self.call.timeout_s - time.monotonic()
        if left_s <= 0:
            self.abandon()
            self.end(timed_out(self.call.timeout_s))
        else:
            self._watch = asyncio.get_running_loop().call_later(left_s, self._look)


class Reading:
    """What a turn's frames have said so far. The result's own words prove nothing: see `failure`."""

    def __init__(self, turn_id: str, *, max_tokens: int | None) -> None:
        self._turn_id = turn_id
        self._guard = OneTokenGuard(max_tokens=max_tokens)
        self._starts = 0
        self._asks_again = False
        self._has_cost = False
        self._stop_reason: str | None = None
        self._error: str | None = None
        self._result: Frame | None = None
        self.limit: Frame | None = None
        self.has_begun = False
        self.is_asked = False
        """Whether the API has been asked."""

    @property
    def has_result(self) -> bool:
        return self._result is not None

    @property
    def is_answered(self) -> bool:
        """Return whether the API has begun to answer: the request has arrived there."""
        return self._starts > 0

    @property
    def is_over(self) -> bool:
        # After a stop reason the CLI may want to ask again by itself; the first answer stands. Only an answer that
        # costs something exceeds the CLI's budget: after any other the turn is stopped without waiting for its result.
        is_free = self._stop_reason is not None and not self._has_cost
        return self.has_result or self._starts > 1 or self._asks_again or is_free

    def rest(self) -> list[ApiEvent]:
        """Return the events that are still held back, once the turn is over."""
        return self._guard.rest()

    def take(self, frame: Frame | None) -> list[ApiEvent] | None:
        """Take note of a frame. Return the events that can be handed on, or `None` if the frame holds no event."""
        if frame is None:
            return None
        match frame:
            case {"type": "stream_event", "event": dict(event)}:
                self._check_is_ours(frame)
                return self._take_event(event)
            case {"type": "system", "subtype": "init"}:
                self.has_begun = True
            case {"type": "system", "subtype": "status", "status": "requesting"}:
                self.is_asked = True
                self._asks_again = self._stop_reason is not None
            case {"type": "assistant", "error": str(error)}:
                self._error = error
                # A limit that was told before makes no event of its own again, but is here.
                limit = (frame.get("api_error_params") or {}).get("rate_limit_info") or {}
                self.limit = {**(self.limit or {}), **limit} or None
            case {"type": "rate_limit_event", "rate_limit_info": dict(limit)}:
                self.limit = limit
            case {"type": "result"}:
                self._check_is_ours(frame)
                self._result = frame
        return None

    def _check_is_ours(self, frame: Frame) -> None:
        if frame.get("user_message_uuid") not in (None, self._turn_id):
            raise CLIConnectionError("the process answered another call")

    def _take_event(self, event: ApiEvent) -> list[ApiEvent] | None:
        if event.get("type") == "message_start":
            self._starts += 1
        if self._starts != 1:
            return None
        usage = event.get("usage") or (event.get("message") or {}).get("usage") or {}
        self._has_cost = self._has_cost or any(isinstance(count, int) and count > 0 for count in usage.values())
        if event.get("type") == "message_delta":
            self._stop_reason = event.get("delta", {}).get("stop_reason") or self._stop_reason
        return self._guard.take(event)

    def failure(self) -> CallFailed | None:
        """Return why the turn is no answer, or `None` if it is one.

        An answer is what came without an error and with the API's own `stop_reason`. The result's subtype and
        `stop_reason` say nothing: a cut stream ends in a result of the same kind as a whole one.
        """
        result = self._result or {}
        if self._guard.is_left_out or (self._error is not None and is_refused_question(result.get("result"))):
            return CallFailed(Failure(kind="left_out", text=LEFT_OUT))
        if self._error is None and self._stop_reason is not None:
            return None
        return CallFailed(
            Failure(
                kind=self._error or ("cut" if self._starts else "silent"),
                status=result.get("api_error_status"),
                reason=result.get("terminal_reason"),
                # Without an error of the CLI's the result is the beginning of the answer, which is nobody's to read.
                text=(self._error and result.get("result")) or _CUT,
            )
        )
