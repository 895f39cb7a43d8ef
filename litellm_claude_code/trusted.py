"""Folders and files that no other user of the machine can change.

This package reads notes and starts processes in folders below the user's cache and data folders. If another user can
write to one of them, or to a folder above it, that user can decide what is read there. Such a folder is refused.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Final

_ROOT: Final = 0
_UNMAPPED: Final = 65534
"""The owner that Linux shows for a user that the current user namespace does not know."""
_LINKS: Final = 40
"""Most symbolic links in one path, as in Linux."""


class UntrustedFolder(OSError):
    """A folder that another user can change. The message names it and says what to do."""


def trusted_folder(path: Path) -> Path:
    """Return a folder that only this user (and root) can change, and make it with mode 700 if it does not exist.

    Each level is checked from the root down, so that a level cannot be exchanged once it was checked: its parent
    belongs to this user or root and is writable by nobody else, or has the sticky bit. Raises `UntrustedFolder`.
    """
    if not path.is_absolute():
        raise UntrustedFolder(f"The folder {path} is not an absolute path. Set HOME or the XDG_* variable to one.")
    to_do, done, links = list(reversed(path.parts[1:])), Path(path.anchor), 0
    _check_level(done, os.lstat(done), is_last=False)
    while to_do:
        name = to_do.pop()
        if name == "..":
            done = done.parent
            continue
        level = done / name
        with contextlib.suppress(FileExistsError):
            if not os.path.lexists(level):
                level.mkdir(mode=0o700)
        found = os.lstat(level)
        if not stat.S_ISLNK(found.st_mode):
            _check_level(level, found, is_last=not to_do)
            done = level
            continue
        _check_owner(level, found)
        links += 1
        if links > _LINKS:
            raise UntrustedFolder(f"The folder {path} leads through too many symbolic links. Choose another folder.")
        target = level.readlink()
        if target.is_absolute():
            done = Path(target.anchor)
        to_do += reversed(target.parts[1:] if target.is_absolute() else target.parts)
    return path


def read_trusted(path: Path) -> str:
    """Return the text of a file that only this user can change. Raises `OSError`, also if another user could."""
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(number, encoding="utf-8") as file:
        found = os.fstat(number)
        if not stat.S_ISREG(found.st_mode):
            raise UntrustedFolder(f"{path} is not an ordinary file.")
        _check_owner(path, found)
        _check_mode(path, found)
        return file.read()


def replace_file(path: Path, text: str) -> None:
    """Write a file of mode 600 in one step: a reader sees the old text or the new one."""
    number, part = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(text)
        Path(part).replace(path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def _check_level(level: Path, found: os.stat_result, *, is_last: bool) -> None:
    if not stat.S_ISDIR(found.st_mode):
        raise UntrustedFolder(f"{level} is not a folder. Remove it, or choose another folder.")
    _check_owner(level, found)
    if is_last or not found.st_mode & stat.S_ISVTX:
        _check_mode(level, found)


def _check_owner(level: Path, found: os.stat_result) -> None:
    if found.st_uid in (_ROOT, os.geteuid()) or (found.st_uid == _UNMAPPED and _has_unmapped_users()):
        return
    raise UntrustedFolder(
        f"{level} belongs to another user (uid {found.st_uid}), who could change what is read there. "
        "Choose a folder of your own with HOME, XDG_CACHE_HOME or XDG_DATA_HOME."
    )


def _check_mode(level: Path, found: os.stat_result) -> None:
    is_shared = found.st_mode & stat.S_IWGRP and not _is_private_group(found.st_gid)
    if is_shared or found.st_mode & stat.S_IWOTH:
        raise UntrustedFolder(
            f"Other users can write to {level}, and so change what is read there. Run `chmod go-w {level}`, or choose "
            "a folder of your own with HOME, XDG_CACHE_HOME or XDG_DATA_HOME."
        )


def _is_private_group(gid: int) -> bool:
    """Return whether a group is this user's own one, as many systems make one for each user (with umask 002)."""
    if gid == _ROOT:
        return True
    import grp  # here, because Windows has neither of the two
    import pwd

    try:
        group, user = grp.getgrgid(gid), pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return group.gr_name == user.pw_name and user.pw_gid == gid and set(group.gr_mem) <= {user.pw_name}


def _has_unmapped_users() -> bool:
    """Return whether this process is in a user namespace that does not know all users, as in a sandbox."""
    try:
        return "4294967295" not in Path("/proc/self/uid_map").read_text().split()
    except OSError:
        return False
