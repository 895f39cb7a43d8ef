"""The folders of Claude Code processes: an empty working folder for plain calls, a private one for temporary files."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from ..cache import cache_folder

_LOCK: Final = "lock"
_STARTING_WITHIN_S: Final = 10.0
_private_folders: dict[int, tuple[Path, FileLock]] = {}


def empty_folder() -> Path:
    """Return the working folder that all plain workers share. It contains nothing that the CLI would read.

    Its `.claude` is a dangling symlink. At each change of settings, so twice a call, the CLI 2.1.327 checks whether git
    tracks the settings in `.claude`. For a symlink it does not run git, which would take 10 of a call's 50 ms and
    would have the request in its environment.
    """
    folder = cache_folder("empty")
    with contextlib.suppress(FileExistsError):
        (folder / ".claude").symlink_to("nowhere")
    return folder


def private_folder() -> Path:
    """Return this Python process's own folder for the CLI's temporary files. Make it if it does not exist.

    Call `remove_private_folder` once no process uses it any more. The folder of a Python process that was killed is
    removed when another Python process makes its own.
    """
    known = _private_folders.get(os.getpid())
    if known is not None and known[0].is_dir():
        return known[0]
    parent = cache_folder("run")
    with _one_start_at_a_time():
        _sweep(parent)
        folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=parent))
        lock = FileLock(folder / _LOCK, thread_local=False)
        lock.acquire()
    _private_folders[os.getpid()] = (folder, lock)
    return folder


def remove_private_folder() -> None:
    """Remove this Python process's folder, if it has one."""
    known = _private_folders.pop(os.getpid(), None)
    if known is not None:
        folder, lock = known
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


@contextlib.contextmanager
def _one_start_at_a_time() -> Iterator[None]:
    """Prevent other Python processes from sweeping while our folder exists but is not yet locked."""
    lock = FileLock(cache_folder("locks") / "starting", timeout=_STARTING_WITHIN_S, thread_local=False)
    with contextlib.suppress(Timeout):  # a suspended process may hold the lock; it does not sweep meanwhile
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _sweep(parent: Path) -> None:
    """Remove the folders of Python processes that were killed. Their locks are free."""
    for folder in parent.iterdir():
        lock = FileLock(folder / _LOCK, blocking=False, thread_local=False)
        try:
            lock.acquire()
        except (Timeout, OSError):
            continue
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
