"""A web server on the loopback interface, in a thread of its own.

uvicorn does the HTTP, but its `Server` is not used: it writes to the process's logs, and its shutdown takes 0.2 s, or
hangs on Python 3.12 while a connection is open.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from concurrent.futures import Future

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

HOST = "127.0.0.1"
_BACKLOG = 2048
_START_TIMEOUT_S = 10.0
_STOP_TIMEOUT_S = 5.0


class ServerThread:
    """One run of the server, from opening its socket to the end of its thread.

    Raises RuntimeError if it cannot start.
    """

    def __init__(self, app: ASGIApp, port: int) -> None:
        # Leave log_level and access_log unset: they would change uvicorn's loggers for the whole process.
        self._config = uvicorn.Config(
            app, http="h11", ws="none", interface="asgi3", log_config=None, timeout_keep_alive=3600
        )
        self._socket = _listen(port)
        self.port: int = self._socket.getsockname()[1]
        self._started: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=self._run, name=f"stand-in-{self.port}", daemon=True)
        self._thread.start()
        try:
            self._loop = self._started.result(_START_TIMEOUT_S)
        except Exception as error:
            self._socket.close()
            raise RuntimeError(f"the stand-in did not start on {HOST}:{self.port}: {error!r}") from error

    def stop(self) -> None:
        """Drop all connections and join the thread. Raises RuntimeError if the thread does not end in time."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(_STOP_TIMEOUT_S)
        if self._thread.is_alive():
            raise RuntimeError(
                f"the stand-in's thread did not end within {_STOP_TIMEOUT_S} s. Check whether `respond` blocks"
            )

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:
            if self._started.done():
                raise
            self._started.set_exception(error)

    async def _serve(self) -> None:
        self._stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        state = ServerState()
        listener = await loop.create_server(
            lambda: _SilentProtocol(self._config, state, {}), sock=self._socket, backlog=_BACKLOG
        )
        self._started.set_result(loop)
        await self._stopping.wait()
        listener.close()
        for connection in list(state.connections):
            connection.transport.abort()
        if state.tasks:
            await asyncio.wait(state.tasks, timeout=_STOP_TIMEOUT_S / 2)


class _SilentProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol, but without log messages about cut responses and invalid requests."""

    def __init__(self, config: uvicorn.Config, state: ServerState, app_state: dict[str, object]) -> None:
        super().__init__(config, state, app_state)
        self.logger = _SILENT
        self.access_log = False


# Not from getLogger: the process's loggers stay untouched, and nothing reaches logging.lastResort.
_SILENT = logging.Logger(__name__, level=logging.CRITICAL + 1)


def _listen(port: int) -> socket.socket:
    # IPPROTO_TCP is explicit because asyncio disables Nagle's algorithm (40 ms a response) for such sockets only.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise RuntimeError(f"the stand-in cannot listen on {HOST}:{port}: {error}") from error
    return listening
