"""Serve the stand-in to other processes: `python -m litellm_claude_code.testing`, until SIGINT or SIGTERM.

One line of JSON on stdout says where: `{"base_url": ..., "api_key": ...}`. What was asked can be had with
`GET /_stand_in/requests?since=N` (`{"count": ..., "bodies": [...]}`) and forgotten with `POST /_stand_in/reset`; both
take the key as any request does.
"""

from __future__ import annotations

import argparse
import json
import signal
from queue import SimpleQueue

from .answers import Answer, answer
from .server import RecordedRequest, StandIn, echo


def main() -> None:
    """Parse the command line, serve, and return on SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser("python -m litellm_claude_code.testing", description="Serve the stand-in.")
    parser.add_argument("--port", type=int, default=0, help="a free one by default")
    parser.add_argument("--delay-s", type=float, default=0.0, help="time to the first byte of each answer, in seconds")
    parser.add_argument("--text", help="what to answer; by default the last user message is echoed")
    parser.add_argument("--record", metavar="FILE.jsonl", help="append each request's body to this file")
    options = parser.parse_args()

    async def respond(request: RecordedRequest) -> Answer:
        return answer(await echo(request) if options.text is None else options.text, delay_s=options.delay_s)

    # Not an Event: its lock is not reentrant, and the handler may run while wait() holds it.
    signals: SimpleQueue[int] = SimpleQueue()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: signals.put(number))
    with StandIn(respond=respond, port=options.port, record_to=options.record) as stand_in:
        print(json.dumps({"base_url": stand_in.base_url, "api_key": stand_in.api_key}), flush=True)
        signals.get()


if __name__ == "__main__":
    main()
