"""What the CLI's aliases mean on a cloud: a CLI process that can reach no service is asked for it.

`sonnet` is another model on each cloud, with another id in each region. Only the CLI knows it (2.1.327): the control
request `apply_flag_settings` sets an alias as `model`, and the reply to `get_settings` has the id. The process for it
gets no credential, and its requests go to a port on which nothing listens. It takes half a second, once a
day for each login; the answers are remembered in the cache folder.
"""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import anyio

from .. import cli_protocol as cli
from ..cloud_aliases import identity, note, with_known
from ..clouds import CLOUDS
from ..errors import CallFailed, Failure
from ..in_force import SettingsGuard
from ..login import Login
from ..models import ALIASES
from ..settings import Settings
from . import launch
from ._sdk import from_sdk
from .cli_process import CliProcess, finished
from .folders import private_folder

_HOST: Final = "127.0.0.1"


class Aliases:
    """Asks the CLI, once for each login even if several calls need it. Use it on one event loop only."""

    def __init__(self) -> None:
        self._asking: dict[str, asyncio.Task[dict[str, str]]] = {}

    async def complete(self, login: Login, *, settings: Settings) -> Login:
        """Return a cloud's login with what the aliases mean on it. Raises `CallFailed` if the CLI does not tell."""
        if (known := with_known(login)) is not None:
            return known
        key = identity(login)
        if key not in self._asking:
            self._asking[key] = asyncio.create_task(_ask(login, settings), name="claude-code-aliases")
            self._asking[key].add_done_callback(lambda _: self._asking.pop(key, None))
        return note(login, await asyncio.shield(self._asking[key]))


async def _ask(login: Login, settings: Settings) -> dict[str, str]:
    """Start a process without a credential on a closed port, and ask it for each alias."""
    try:
        with _port_without_listener() as port, tempfile.TemporaryDirectory(dir=private_folder()) as home:
            alone = _on_loopback(login, port=port, home=home)
            SettingsGuard(environment=alone.environment()).check_files()
            process = launch.plain_process(alone, settings=settings, on_exit=lambda: None)
            try:
                with anyio.fail_after(settings.boot_timeout_s):
                    await process.spawn()
                    return {alias: await _target(process, alias) for alias in ALIASES}
            finally:
                await finished(process.end(terminate_s=0.0))
    except Exception as error:
        raise from_sdk(error, is_sent=False) from None


async def _target(process: CliProcess, alias: str) -> str:
    await process.control(cli.APPLY_FLAG_SETTINGS, settings={"model": alias})
    settings = await process.control(cli.GET_SETTINGS)
    target = (settings.get("applied") or {}).get("model")
    if not isinstance(target, str) or not target:
        text = "the CLI does not tell which models its aliases mean on this cloud: name a full id, or use a tested CLI"
        raise CallFailed(Failure(kind="lost", text=text))
    return target


def _on_loopback(login: Login, *, port: int, home: str) -> Login:
    """Return the login of a process that knows region and project, but has no credential and can reach no service."""
    assert login.cloud is not None
    cloud = CLOUDS[login.cloud]
    place = {
        **{name: value for name, value in login.place or () if cloud.resolves_by(name)},
        **dict(cloud.no_login),
        cloud.base_url: f"http://{_HOST}:{port}{cloud.base_path}",
        "HOME": home,
        cli.CONFIG_DIR: home,
        "NO_PROXY": _HOST,
    }
    return Login(payer="cloud", cloud=cloud.name, place=tuple(place.items()))


@contextmanager
def _port_without_listener() -> Iterator[int]:
    """Reserve a port: while a socket is bound to it and does not listen, connections to it are refused."""
    with socket.socket() as reserved:
        reserved.bind((_HOST, 0))
        yield reserved.getsockname()[1]
