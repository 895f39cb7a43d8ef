"""Working folders for agents whose profile has no `cwd`: an empty one for each run, or one for each kept conversation.

The CLI records every folder that it was ever started in (`projects` in its `.claude.json`). So folder names are reused:
the record grows with the number of concurrent runs and kept conversations, not with every run.
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
from ..process.cli_process import finished
from ..trusted import trusted_folder

CONVERSATION_KEPT_S: Final = 30 * 24 * 3600.0
"""A conversation's folder that was unused for this long is removed when a new conversation begins."""


@asynccontextmanager
async def folder_of_run() -> AsyncIterator[Path]:
    """Provide an empty folder that no other run uses, in this process or another. It is removed on exit."""
    lock, folder = await asyncio.to_thread(_take)
    try:
        yield folder
    finally:
        await finished(asyncio.to_thread(_give_back, lock, folder))


def new_folder_of_conversation() -> Path:
    """Create and return an empty folder for a new conversation. Expired folders are removed first."""
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
    """Return the folder of a resumed conversation, and update its modification time so that it does not expire."""
    folder = data_folder("folders", name)
    os.utime(folder)
    return folder


def remove_folder(folder: Path) -> None:
    """Remove a folder, even if an agent has removed permissions in it. Files that cannot be removed are left."""
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
        remove_folder(folder)  # left over if the Python process of an earlier run was killed
        if not os.path.lexists(folder):
            return lock, trusted_folder(folder)
        lock.release()
    raise AssertionError


def _give_back(lock: FileLock, folder: Path) -> None:
    remove_folder(folder)
    lock.release()
