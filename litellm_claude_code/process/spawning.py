"""What a process is started with, and its start.

Imports no SDK: that takes half a second, in which a process that was spawned before can boot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE

from ..errors import ConnectionBroken, NoCli
from ..install import NO_CLI


@dataclass(frozen=True, kw_only=True)
class Start:
    """The command line, the complete environment and the working folder of a process."""

    command: Sequence[str]
    env: Mapping[str, str] = field(repr=False)
    cwd: Path

    async def spawn(self, connection: asyncio.SubprocessProtocol) -> None:
        """Spawn the process with this end of its pipes. Raises `NoCli`, or `ConnectionBroken` without its folder."""
        try:
            # In a session of its own the process does not receive a terminal's or notebook's Ctrl-C. The caller does.
            await asyncio.get_running_loop().subprocess_exec(
                lambda: connection,
                *self.command,
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                cwd=self.cwd,
                env={**self.env, "PWD": str(self.cwd)},
                start_new_session=True,
            )
        except FileNotFoundError as error:
            if not self.cwd.exists():
                raise ConnectionBroken(f"the working folder {self.cwd} does not exist") from error
            raise NoCli(NO_CLI) from error
