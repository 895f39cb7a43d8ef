"""A stand-in that sends a response up to an event, and the rest later or never: tests then need no pauses."""

from __future__ import annotations

import threading
from collections.abc import MutableMapping
from typing import Any

from starlette.requests import Request

from litellm_claude_code.testing import StandIn
from litellm_claude_code.testing.asgi import Client


class HoldingStandIn(StandIn):
    """A stand-in that holds back the event named `before`, and those after it, until `goes_on` is set.

    That event has to be sent by itself: `RawEvents` with a `between_s`.
    """

    def __init__(self, *, before: str) -> None:
        super().__init__()
        self.goes_on = threading.Event()
        self._before = f"event: {before}\n".encode()

    async def _serve_message(self, request: Request, content: bytes, client: Client) -> None:
        send = client.send

        async def send_or_hold(message: MutableMapping[str, Any]) -> None:
            while message.get("body", b"").startswith(self._before) and not self.goes_on.is_set():
                await client.pause(0.01)  # raises if the client leaves
            await send(message)

        client.send = send_or_hold
        await super()._serve_message(request, content, client)
