"""Clients that leave `serve` all at once leave nothing behind: no request, no place, no process that still boots."""

import json
import socket
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from litellm_claude_code.install import find_cli
from litellm_claude_code.testing import Answer, StandIn, Text

from .support.scripts import Forker
from .support.served import Served, serving
from .support.waiting import wait_until

# Only the first process boots. Each other one writes its id to a file and goes on booting for ever.
ONE_BOOTS = """#!/bin/sh
mkdir {folder}/first 2>/dev/null && exec {cli} "$@"
echo $$ > {folder}/$$.pid
exec sleep 600
"""
CLIENTS = 100


def booting(folder: Path) -> list[int]:
    """Return the ids of the processes that are still booting, for ever."""
    return [pid for path in folder.glob("*.pid") if psutil.pid_exists(pid := int(path.stem))]


def post(server: Served, *, stream: bool) -> bytes:
    body = json.dumps({"model": "sonnet", "messages": [{"role": "user", "content": "Hi"}], "stream": stream}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {server.key}\r\n"
    return f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.processes
def test_a_hundred_clients_that_leave_end_their_requests_and_the_boots_for_them(
    server_forks: Forker, tmp_path: Path
) -> None:
    cli = tmp_path / "claude-that-boots-once"
    cli.write_text(ONE_BOOTS.format(folder=tmp_path, cli=find_cli()))
    cli.chmod(0o700)
    timeouts = {"BOOT_TIMEOUT_S": "600", "STEP_TIMEOUT_S": "600"}  # so that only the pool ends a boot
    env = {"CLI_PATH": str(cli), "SELF_CHECK": "false", "SPARE_WORKERS": "0", **timeouts}
    with (
        StandIn(respond=lambda _: Answer(content=[Text("Late.")], delay_s=3600)) as stand_in,
        serving(
            tmp_path / "served",
            stand_in,
            *("--max-requests", str(CLIENTS)),
            forks=server_forks,
            **{f"LITELLM_CLAUDE_CODE_{name}": value for name, value in env.items()},
        ) as server,
    ):
        where = urlsplit(server.url)
        assert where.port is not None
        clients = [socket.create_connection((where.hostname, where.port)) for _ in range(CLIENTS)]
        for number, client in enumerate(clients):
            client.sendall(post(server, stream=number % 2 == 0))
        wait_until(lambda: stand_in.in_flight == 1 and len(booting(tmp_path)) >= 2, lambda: booting(tmp_path))
        for client in clients:
            client.close()
        wait_until(lambda: not booting(tmp_path) and not stand_in.in_flight, lambda: booting(tmp_path))
        assert all(request.closed_early for request in stand_in.requests)
        stand_in.respond = lambda _: "Here."
        request = urllib.request.Request(
            f"{server.url}/v1/chat/completions",
            post(server, stream=False).partition(b"\r\n\r\n")[2],
            {"authorization": f"Bearer {server.key}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            assert json.load(response)["choices"][0]["message"]["content"] == "Here."
