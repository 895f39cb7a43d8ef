"""A process's pipes: lines of JSON, which come in chunks that begin and end anywhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from litellm_claude_code.errors import ConnectionBroken, StepRefused
from litellm_claude_code.process.connection import Connection
from litellm_claude_code.process.spawning import Start

STDOUT, STDERR = 1, 2
FRAMES: list[dict[str, Any]] = [{"type": "a", "text": "ä\u2028\U0001f600"}, {"type": "b", "text": "x" * 70_000}]
LINES = "".join(json.dumps(frame, ensure_ascii=False) + "\n" for frame in FRAMES).encode()
# Answers each control request with its own fields, but for "nothing", "no" and "stop".
ECHO = """
import json, sys
for line in sys.stdin:
    frame = json.loads(line)
    request = frame.get("request", {})
    reply = {"subtype": "success", "request_id": frame.get("request_id"), "response": request}
    match request.get("subtype"):
        case None: print(json.dumps({"type": "said", **frame}), flush=True)
        case "nothing": pass
        case "no": print(json.dumps({"type": "control_response", "response": reply | {"subtype": "error"}}), flush=True)
        case "stop": sys.exit("the\\nlast words")
        case _: print("no frame\\n" + json.dumps({"type": "control_response", "response": reply}), flush=True)
"""


def taken(connection: Connection) -> list[Any]:
    return [connection.frames.get_nowait() for _ in range(connection.frames.qsize())]


@pytest.mark.parametrize("size", [1, 2, 3, 1000, 65536, 10**6])
async def test_frames_are_the_same_however_the_stream_is_cut(size: int) -> None:
    connection = Connection()
    for start in range(0, len(LINES), size):
        connection.pipe_data_received(STDOUT, LINES[start : start + size])
    assert taken(connection) == FRAMES


async def test_the_last_line_on_stderr_is_known_before_it_is_complete() -> None:
    connection = Connection()
    assert connection.last_line_on_stderr == ""
    connection.pipe_data_received(STDERR, b"one\ntw")
    assert connection.last_line_on_stderr == "tw"
    connection.pipe_data_received(STDERR, b"o \xff\n\n")
    assert connection.last_line_on_stderr == "two \ufffd"


@pytest.mark.parametrize("line", [b'{"secret\n', b"{" + b'"a":{' * 100_000 + b"\n", b'{"\xff": 1}\n'])
async def test_a_line_that_is_not_json_ends_the_connection_and_is_not_quoted(line: bytes) -> None:
    exits: list[bool] = []
    connection = Connection(on_exit=lambda: exits.append(True))
    connection.pipe_data_received(STDOUT, b'{"type": "a"}\n' + line + b'{"type": "b"}\n')
    connection.pipe_data_received(STDOUT, b'{"type": "c"}\n' + line)
    assert (taken(connection), exits) == ([{"type": "a"}, None], [True])
    with pytest.raises(ConnectionBroken, match=r"^the process wrote something that is not JSON$") as raised:
        raise connection.ended()
    assert raised.value.__cause__ is None


@pytest.mark.processes
async def test_control_requests_are_answered_refused_late_or_ended_with_the_process(tmp_path: Path) -> None:
    connection = Connection()
    await Start(command=[sys.executable, "-c", ECHO], env={}, cwd=tmp_path).spawn(connection)
    assert await connection.control("echo", timeout_s=60, fields=1) == {"subtype": "echo", "fields": 1}
    big = "ä" * 3_000_000  # more than a pipe holds
    then = ({"type": "user", "n": 1}, {"type": "user", "n": 2})
    assert (await connection.control("echo", timeout_s=60, then=then, big=big))["big"] == big
    assert (await connection.frames.get(), await connection.frames.get()) == (
        {"type": "user", "n": 1},
        {"type": "user", "n": 2},
    )
    with pytest.raises(StepRefused, match="no"):
        await connection.control("no", timeout_s=60)
    with pytest.raises(TimeoutError):
        await connection.control("nothing", timeout_s=0.01)
    with pytest.raises(ConnectionBroken, match="the process ended"):
        await connection.control("stop", timeout_s=60)
    with pytest.raises(ConnectionBroken, match="the process ended"):
        connection.send({"type": "user"})
    assert (await connection.frames.get(), await connection.client_frames.get()) == (None, None)
    await connection.wait()
    connection.send_signal(9)
    assert connection.last_line_on_stderr == "last words"
    connection.close()
