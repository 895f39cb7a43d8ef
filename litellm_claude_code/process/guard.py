"""How an answer to another question is kept from a caller, and a second request from the API.

A call's body reaches the API in `CLAUDE_CODE_EXTRA_BODY`. The CLI 2.1.327 leaves that out and asks a request of its own
instead if the body has a key that names a use case, if the body is not JSON, or if the organisation's policy forbids
betas ("hipaa" in the CLI's code). The last of these can only be seen in the process's debug log. So three things hold
whatever the reason is:

- The API refuses a request of the CLI's own. What a worker fires (and the call's body replaces on the wire) holds
  `LEFT_OUT_BLOCK`, a content block of a kind that does not exist. Such a request is invalid, a 400, so there is no
  answer; the error quotes the block's name.
- A gateway may overlook unknown blocks. There a request of the CLI's own says `max_tokens: 1`
  (`CLAUDE_CODE_MAX_OUTPUT_TOKENS`), so its answer ends in `max_tokens` after one token. `OneTokenGuard` finds that.
- Outside a call the body in force is `UNSENDABLE_BODY`, with which the CLI fails before it asks anything. So nothing is
  asked if a new body does not take its place. It is put back at the first event of an answer: by then the request has
  arrived, and the CLI must not ask again by itself (it does so after `max_tokens` or an empty answer if the reported
  usage costs nothing). Such an answer is also interrupted at its stop reason (`turn.Reading.is_over`). An answer that
  arrives in one piece is the limit of that: see docs/limits.md.

Nothing of this is on the wire of a call whose body is in force: tests/test_wire.py compares, and tests/test_guard.py
leaves bodies out.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..call import ApiEvent  # which knows logins, whose processes start with a body from here

_BLOCK_NAME: Final = "request_left_out_by_claude_code"
LEFT_OUT_BLOCK: Final = {"type": _BLOCK_NAME}
# The CLI turns `betas` into text before it asks (2.1.327), which JavaScript cannot do with this value. If another
# version asks all the same, the API refuses a conversation without turns.
UNSENDABLE_BODY: Final = json.dumps({"betas": {"toString": None}, "messages": []})
LEFT_OUT: Final = (
    "Claude Code left this request out and asked one of its own; its answer was thrown away. A policy of your "
    "organisation can cause that: use an API key (`api_key=`) or another account."
)


def is_refused_question(text: object) -> bool:
    """Return whether an error of the API is about a request of the CLI's own: it quotes the block that gave it away."""
    return isinstance(text, str) and _BLOCK_NAME in text


class OneTokenGuard:
    """Holds back the beginning of an answer until it can no longer be that of a request with `max_tokens: 1`.

    It is such an answer if it ends in `max_tokens` after one output token though the call asked for more.
    """

    def __init__(self, *, max_tokens: int | None) -> None:
        self._is_open = max_tokens == 1
        self._deltas = 0
        self._held: list[ApiEvent] = []
        self.is_left_out = False
        """Whether the answer is to a request of the CLI's own."""

    def take(self, event: ApiEvent) -> list[ApiEvent]:
        """Take the next event; return those that can be handed on now."""
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
        """Return the events that are held back. They are none of the caller's if they answer another request."""
        held, self._held = self._held, []
        return [] if self.is_left_out else held


def _has_content(event: ApiEvent) -> bool:
    return any(value for key, value in event.get("delta", {}).items() if key != "type")


def _is_cut_after_one_token(event: ApiEvent) -> bool:
    stop_reason = (event.get("delta") or {}).get("stop_reason")
    return stop_reason == "max_tokens" and (event.get("usage") or {}).get("output_tokens") == 1
