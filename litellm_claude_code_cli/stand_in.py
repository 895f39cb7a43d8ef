"""`stand-in`: serve a scripted Messages API for the tests of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .exits import ExitCode, fail


def stand_in(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 means any free port.")] = 0,
    delay_s: Annotated[float, typer.Option(min=0, help="Time to the first byte of each answer, in seconds.")] = 0.0,
    text: Annotated[
        str | None, typer.Option(help="The text of every answer. By default, the last user message, or JSON if asked.")
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.jsonl", dir_okay=False, writable=True, help="Append the body of each request to this file."
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Also accept models like this one, such as 'qwen3-*'. Repeatable."),
    ] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Also accept this field or type of block. Repeatable."),
    ] = None,
    validate: Annotated[bool, typer.Option(help="Refuse requests that the API would refuse.")] = True,
) -> None:
    """Serve a stand-in for the Messages API, for tests without login, quota or network.

    It prints one line of JSON with its address and key: `{"base_url": …, "api_key": …}`. Give these to the program
    under test, as `api_base` and `api_key` or as `ANTHROPIC_BASE_URL` and `ANTHROPIC_AUTH_TOKEN`.
    `GET /_stand_in/requests?since=N` returns the requests so far, `POST /_stand_in/reset` forgets them. Ctrl-C ends it.
    """
    from litellm_claude_code.testing.standalone import serve_until_stopped

    try:
        serve_until_stopped(
            port=port,
            delay_s=delay_s,
            text=text,
            record_to=record,
            models=model or (),
            fields=field or (),
            validate=validate,
        )
    except RuntimeError as error:
        fail(ExitCode.UNEXPECTED, f"{error}.")
