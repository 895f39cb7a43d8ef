"""Check that no other user of the machine can change a folder or file.

This package reads files and starts processes in folders below the user's cache and data folders. If another user can
write to such a folder, or to a folder above it, that user controls what is read there. Such a folder is refused.
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
"""The owner that Linux shows for users that do not exist in the current user namespace."""
_LINKS: Final = 40
"""The maximum number of symbolic links in one path, as in Linux."""


class UntrustedFolder(OSError):
    """Another user can change a folder or file. The message names it and says what to do."""


def trusted_folder(path: Path) -> Path:
    """Return `path` if only this user and root can change the folder. Creates missing levels with mode 700.

    Checks every level from the root down. Another user cannot replace a checked level: its parent belongs to this user
    or root, and either no other user can write to it or it has the sticky bit. Raises `UntrustedFolder`.
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
    """Return the text of a file. Raises `OSError`: its subclass `UntrustedFolder` if another user could change it."""
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(number, encoding="utf-8") as file:
        found = os.fstat(number)
        if not stat.S_ISREG(found.st_mode):
            raise UntrustedFolder(f"{path} is not an ordinary file.")
        _check_owner(path, found)
        _check_mode(path, found)
        return file.read()


def replace_file(path: Path, text: str) -> None:
    """Write a file of mode 600 atomically: a reader sees either the old text or the new one."""
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
    """Return whether a group is root's or this user's own. Many systems create one group per user (umask 002)."""
    if gid == _ROOT:
        return True
    import grp  # here, because Windows has neither module
    import pwd

    try:
        group, user = grp.getgrgid(gid), pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return group.gr_name == user.pw_name and user.pw_gid == gid and set(group.gr_mem) <= {user.pw_name}


def _has_unmapped_users() -> bool:
    """Return whether this process is in a user namespace without all users, for example in a sandbox."""
    try:
        return "4294967295" not in Path("/proc/self/uid_map").read_text().split()
    except OSError:
        return False
