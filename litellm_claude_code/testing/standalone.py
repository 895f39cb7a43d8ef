"""Run the stand-in as a separate process, for programs that are not Python tests."""

from __future__ import annotations

import json
import signal
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

from .answers import Answer, answer
from .server import RecordedRequest, StandIn, echo_or_json


def serve_until_stopped(
    *,
    port: int,
    delay_s: float,
    text: str | None,
    record_to: Path | None,
    models: Collection[str] = (),
    fields: Collection[str] = (),
    validate: bool = True,
) -> None:
    """Serve on 127.0.0.1 until SIGINT or SIGTERM. Print the base URL and the API key as one line of JSON on stdout."""

    async def respond(request: RecordedRequest) -> Answer:
        return replace(await echo_or_json(request) if text is None else answer(text), delay_s=delay_s)

    # Not an Event: its lock is not re-entrant, and the handler may run while wait() holds it.
    signals: SimpleQueue[int] = SimpleQueue()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: signals.put(number))
    with StandIn(
        respond=respond, port=port, record_to=record_to, models=models, fields=fields, validate=validate
    ) as stand_in:
        print(json.dumps({"base_url": stand_in.base_url, "api_key": stand_in.api_key}), flush=True)
        signals.get()
