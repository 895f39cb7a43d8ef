"""A call's lease on a worker: the events that the caller reads, and how the CLI's frames are interpreted."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Final

from ..call import ApiEvent, PlainCall
from ..cli_protocol import Frame
from ..errors import CallFailed, ConnectionBroken, Failure, timed_out
from ..limits.rate_limit_info import info_of_error
from .guard import LEFT_OUT, OneTokenGuard, is_refused_question

_CUT: Final = "the connection to the API was lost before the answer was complete"


class Lease:
    """A call's hold on a worker, until its stream ends. Only the worker talks to the process."""

    def __init__(self, call: PlainCall, *, wake: Callable[[], None]) -> None:
        self.call = call
        self.id = str(uuid.uuid4())
        self.is_sent = False
        """Whether the model may have been asked. If so, the call must not be retried on another worker."""
        self.is_abandoned = False
        self.is_over = False
        self.failed: CallFailed | None = None
        self.asked_at: float | None = None
        """When the API was asked (`time.monotonic`), or None if the CLI has not reported a request."""
        self.limit: Frame | None = None
        """The `rate_limit_info` that the CLI reported with this call, if any."""
        self.ended_by: str | None = None
        """The `subtype` of the CLI's result, for example `error_max_budget_usd`, or None if the turn was stopped."""
        self._requests = 0
        self._wake = wake
        self._events: asyncio.Queue[ApiEvent | CallFailed | None] = asyncio.Queue()
        self._moved_at = time.monotonic()
        self._watch: asyncio.TimerHandle | None = None
        self._look()

    def __aiter__(self) -> AsyncIterator[ApiEvent]:
        return self

    async def __anext__(self) -> ApiEvent:
        """Return the next event. Raises `CallFailed` if the call failed, or `WorkerLost` if it can be retried."""
        event = await self._events.get()
        if isinstance(event, CallFailed):
            raise event
        if event is None:
            raise StopAsyncIteration
        return event

    @property
    def api_s(self) -> float:
        """Return the seconds from the request to the API until its last event, or 0 if it was not asked."""
        return self._moved_at - self.asked_at if self.asked_at is not None else 0.0

    def note_requests(self, count: int) -> None:
        """Note that the call has made `count` requests to the API so far."""
        if count != self._requests:
            self.call.on_request(count - self._requests)
            self._requests = count

    def abandon(self) -> None:
        """Stop the model request because the caller has left. Does nothing once the call is over."""
        if not self.is_over:
            self.is_abandoned = True
            self._wake()

    def deliver(self, *events: ApiEvent) -> None:
        """Pass events to the caller and restart the timeout.

        Called without events when the API has sent one that is held back for now.
        """
        self._moved_at = time.monotonic()
        for event in events:
            self._events.put_nowait(event)

    def end(self, failed: CallFailed | None = None) -> None:
        """End the stream, with an error if the call failed. Only the first call has an effect."""
        if not self.is_over:
            self.is_over, self.failed = True, failed
            self._events.put_nowait(failed)
            if self._watch is not None:
                self._watch.cancel()

    def _look(self) -> None:
        """End the call with a timeout if no event came for `timeout_s`. Otherwise check again when it could expire."""
        if self.is_over or self.call.timeout_s is None:
            return
        left_s = self._moved_at + self.call.timeout_s - time.monotonic()
        if left_s <= 0:
            self.abandon()
            self.end(timed_out(self.call.timeout_s))
        else:
            self._watch = asyncio.get_running_loop().call_later(left_s, self._look)


class Reading:
    """The state of a call, as read from the CLI's frames. The result frame does not tell success: see `failure`."""

    def __init__(self, lease_id: str, *, max_tokens: int | None) -> None:
        self._lease_id = lease_id
        self._guard = OneTokenGuard(max_tokens=max_tokens)
        self._starts = 0
        self._requests = 0
        self._refused_logins = 0
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
    def ended_by(self) -> str | None:
        """Return the `subtype` of the result, or None if there is no result."""
        return (self._result or {}).get("subtype")

    @property
    def requests(self) -> int:
        """Return how many requests have reached the API so far, as the CLI (2.1.327) reports them.

        It repeats two requests in spite of `MAX_RETRIES=0`: after a 401 if a login pays, with an `api_retry` for each
        401, and after a 404 without a stream, which it does not report. Without a login it reports a request, too, but
        makes none: the number then becomes 0 again.
        """
        status = (self._result or {}).get("api_error_status")
        if self._error == "authentication_failed" and self.has_result and status is None:
            return 0
        if self._refused_logins:
            return self._refused_logins + (self.is_answered or status not in (None, 401))
        return max(self._requests, int(self.is_answered or status is not None)) + (status == 404)

    @property
    def is_answered(self) -> bool:
        """Return whether the API has begun to respond, which means that it has received the request."""
        return self._starts > 0

    @property
    def is_over(self) -> bool:
        # After a stop reason the CLI may send another request by itself; the first response counts. The CLI's budget
        # stops it only if that response cost something. Otherwise stop the turn without waiting for its result.
        is_free = self._stop_reason is not None and not self._has_cost
        return self.has_result or self._starts > 1 or self._asks_again or is_free

    def rest(self) -> list[ApiEvent]:
        """Return the events that are still held back, once the call is over."""
        return self._guard.rest()

    def take(self, frame: Frame | None) -> list[ApiEvent] | None:
        """Process a frame. Return the events to deliver now, or `None` if the frame is not an event of the response."""
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
                self._asks_again = self._stop_reason is not None  # with the disarmed body, which the CLI cannot send
                self._requests += not self._asks_again
            case {"type": "system", "subtype": "api_retry", "error_status": 401}:
                self._refused_logins += 1
            case {"type": "assistant", "error": str(error)}:
                self._error = error
                self.limit = info_of_error(frame, self.limit)
            case {"type": "rate_limit_event", "rate_limit_info": dict(limit)}:
                self.limit = limit
            case {"type": "result"}:
                self._check_is_ours(frame)
                self._result = frame
        return None

    def _check_is_ours(self, frame: Frame) -> None:
        if frame.get("user_message_uuid") not in (None, self._lease_id):
            raise ConnectionBroken("the process answered another call")

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
        """Return why the call failed, or `None` if it was answered.

        A call was answered if there was no error and the API itself sent a `stop_reason`. The result's subtype and
        `stop_reason` prove nothing: the result of a stream that was cut off looks like that of a complete one.
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
                # Without an error, the result text is the beginning of the response, which must not be in a message.
                text=(self._error and result.get("result")) or _CUT,
            )
        )
