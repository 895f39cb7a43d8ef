"""The stand-in as a process of its own, for programs that are not tests in Python."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from queue import SimpleQueue

from .answers import Answer, answer
from .server import RecordedRequest, StandIn, echo


def serve_until_stopped(*, port: int, delay_s: float, text: str | None, record_to: Path | None) -> None:
    """Serve on 127.0.0.1, tell where in one line of JSON on stdout, and return on SIGINT or SIGTERM."""

    async def respond(request: RecordedRequest) -> Answer:
        return answer(await echo(request) if text is None else text, delay_s=delay_s)

    # Not an Event: its lock is not reentrant, and the handler may run while wait() holds it.
    signals: SimpleQueue[int] = SimpleQueue()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: signals.put(number))
    with StandIn(respond=respond, port=port, record_to=record_to) as stand_in:
        print(json.dumps({"base_url": stand_in.base_url, "api_key": stand_in.api_key}), flush=True)
        signals.get()
