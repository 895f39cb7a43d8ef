"""Ensure that a caller never gets the response to a different request, and that the API gets only one per call.

A call's body reaches the API through `CLAUDE_CODE_EXTRA_BODY`. The CLI 2.1.327 drops it and sends a request of its own
instead if the body has a key that names a use case, if the body is not JSON, or if the organisation's policy forbids
betas ("hipaa" in the CLI's code). The last of these shows only in the process's debug log. Three safeguards work
whatever the reason is:

- The API refuses the CLI's own request. The message that a worker fires (which the call's body replaces on the wire)
  contains `LEFT_OUT_BLOCK`, a content block of a type that does not exist. So that request is invalid and gets a 400
  instead of a response. The error quotes the block's name.
- A gateway may ignore unknown blocks. For this case the CLI's own requests have `max_tokens: 1`
  (`CLAUDE_CODE_MAX_OUTPUT_TOKENS`), so the response ends in `max_tokens` after one token. `OneTokenGuard` detects that.
- Outside a call the body in force is `UNSENDABLE_BODY`, with which the CLI fails before it sends anything. So nothing
  is sent if a new body fails to replace it. It is put back at the first event of a response: by then the API has the
  request, and the CLI must not send a second one by itself (it does so after `max_tokens` or an empty response if the
  reported usage costs nothing). Such a response is also interrupted at its stop reason (`lease.Reading.is_over`). Both
  can come too late for a response that arrives in one piece: see docs/limits.md.

None of this is on the wire if the call's body is in force: tests/test_wire.py compares the requests. In
tests/test_guard.py the CLI drops the body.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..call import ApiEvent  # only for annotations: it imports litellm

_BLOCK_NAME: Final = "request_left_out_by_claude_code"
LEFT_OUT_BLOCK: Final = {"type": _BLOCK_NAME}
# The CLI (2.1.327) converts `betas` to a string before it sends the request. JavaScript fails to convert this value. If
# another version sends the request anyway, the API refuses it because `messages` is empty.
UNSENDABLE_BODY: Final = json.dumps({"betas": {"toString": None}, "messages": []})
LEFT_OUT: Final = (
    "Claude Code replaced this request by one of its own, and its answer was discarded. A policy of your organisation "
    "can cause this. Use an API key (`api_key=`) or another account."
)


def is_refused_question(text: object) -> bool:
    """Return whether an API error is about the CLI's own request. Such an error quotes the name of `LEFT_OUT_BLOCK`."""
    return isinstance(text, str) and _BLOCK_NAME in text


class OneTokenGuard:
    """Hold back the beginning of a response until it cannot be the response to a request with `max_tokens: 1`.

    It is one if it ends in `max_tokens` after one output token although the call's `max_tokens` is not 1.
    """

    def __init__(self, *, max_tokens: int | None) -> None:
        self._is_open = max_tokens == 1
        self._deltas = 0
        self._held: list[ApiEvent] = []
        self.is_left_out = False
        """Whether this is the response to the CLI's own request."""

    def take(self, event: ApiEvent) -> list[ApiEvent]:
        """Add the next event. Return the events that can be delivered now."""
        if self.is_left_out:
            return []
        self._held.append(event)
        if event.get("type") == "content_block_delta":
            self._deltas += _has_content(event)
        if event.get("type") == "message_delta" and not self._is_open:
            self.is_left_out = _is_cut_after_one_token(event)
            self._is_open = True
        self._is_open = self._is_open or self._deltas > 1
        return self.rest() if self._is_open or self._deltas == 0 else []

    def rest(self) -> list[ApiEvent]:
        """Return the events that are held back, or none if they belong to the response to the CLI's own request."""
        held, self._held = self._held, []
        return [] if self.is_left_out else held


def _has_content(event: ApiEvent) -> bool:
    return any(value for key, value in event.get("delta", {}).items() if key != "type")


def _is_cut_after_one_token(event: ApiEvent) -> bool:
    stop_reason = (event.get("delta") or {}).get("stop_reason")
    return stop_reason == "max_tokens" and (event.get("usage") or {}).get("output_tokens") == 1
