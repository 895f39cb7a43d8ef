"""The folders of agents whose profile names none: an empty one for each run, or one for each kept conversation.

The CLI notes every folder that it was ever started in (`projects` in its `.claude.json`), so names are used again: the
notes grow with the runs at a time, and with the conversations that are kept, and not with the runs.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from ..cache import cache_folder, data_folder
from ..trusted import trusted_folder

CONVERSATION_KEPT_S: Final = 30 * 24 * 3600.0
"""The folder of a conversation that was not used for so long is removed when another conversation begins."""


@asynccontextmanager
async def folder_of_run() -> AsyncIterator[Path]:
    """Hold an empty folder that no other run uses, in this process or another. It is removed at the end."""
    lock, folder = await asyncio.to_thread(_take)
    try:
        yield folder
    finally:
        removing = asyncio.ensure_future(asyncio.to_thread(_give_back, lock, folder))
        try:
            await asyncio.shield(removing)
        except asyncio.CancelledError:
            await removing
            raise


def new_folder_of_conversation() -> Path:
    """Return an empty folder for a conversation that begins; those of conversations of long ago are removed."""
    parent = data_folder("folders")
    for folder in parent.iterdir():
        if folder.stat().st_mtime < time.time() - CONVERSATION_KEPT_S:
            remove_folder(folder)
    for number in itertools.count(1):
        folder = parent / str(number)
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return folder
    raise AssertionError


def folder_of_conversation(name: str) -> Path:
    """Return the folder of a conversation that goes on, and note that it is in use."""
    folder = data_folder("folders", name)
    os.utime(folder)
    return folder


def remove_folder(folder: Path) -> None:
    """Remove a folder, also where an agent has taken its own permissions away. What cannot be removed stays."""
    for parent, names, _ in os.walk(folder, onerror=None):
        for name in names:
            below = Path(parent, name)
            if not below.is_symlink():
                below.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def _take() -> tuple[FileLock, Path]:
    parent = cache_folder("agents")
    for number in itertools.count(1):
        lock = FileLock(parent / f"{number}.lock", blocking=False, thread_local=False)
        try:
            lock.acquire()
        except Timeout:
            continue
        folder = parent / str(number)
        remove_folder(folder)  # of a run whose Python process was killed
        if not os.path.lexists(folder):
            return lock, trusted_folder(folder)
        lock.release()
    raise AssertionError


def _give_back(lock: FileLock, folder: Path) -> None:
    remove_folder(folder)
    lock.release()
