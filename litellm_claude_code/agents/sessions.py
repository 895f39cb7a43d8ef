"""Kept conversations: which client owns each one, and a lock that lets only one run at a time use it.

The CLI stores the text of a conversation in a file of its own. A note in this package's data folder says which profile
and which client the conversation belongs to, and what it has cost so far. The locks are file locks of the kernel: they
work across processes, and are released when a process ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import anyio
from filelock import FileLock, Timeout

from ..cache import cache_folder, data_folder
from ..errors import CallFailed, Failure
from ..trusted import read_trusted, replace_file
from .folder import folder_of_conversation, new_folder_of_conversation, remove_folder

_PATIENCE_S: Final = 3.0
"""How long a run waits for the lock: the run before it may have been cancelled, and takes a moment to end."""
_LOOK_EVERY_S: Final = 0.05


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """A kept conversation, as described by its note."""

    id: str
    is_new: bool
    usage_by_model: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    cost_usd: float = 0.0
    folder: str | None = None
    """The name of the conversation's own working folder, if the profile has no `cwd`."""

    def working_folder(self) -> Path:
        """Return the conversation's own working folder. Raises `CallFailed` if it has none."""
        if self.folder is None or not self.folder.isdecimal():
            raise _refused(
                "this conversation's folder is no longer the profile's. Start a new one, without `session_id`",
                status=400,
            )
        return folder_of_conversation(self.folder)


def sessions_folder() -> Path:
    """Return the folder of the notes. It is created if it does not exist."""
    return data_folder("sessions")


def begin(session_id: str, *, profile: str, owner: str, has_folder: bool = False) -> Conversation:
    """Write the note of a new conversation. With `has_folder`, also create a working folder that is kept with it.

    Raises `CallFailed` if `owner` is empty.
    """
    if not owner:
        raise _refused(
            "this proxy has no keys, so it cannot tell which client a conversation belongs to. Add keys, or define the "
            "profile with sessions=False",
            status=403,
        )
    folder = new_folder_of_conversation().name if has_folder else None
    own = {"folder": folder} if folder else {}
    _write(session_id, {"profile": profile, "owner": _digest(owner), **own})
    return Conversation(id=session_id, is_new=True, folder=folder)


def resume(session_id: str, *, profile: str, owner: str) -> Conversation:
    """Return a conversation to resume. Raises `CallFailed` if it does not belong to this client and profile."""
    noted = _read(session_id)
    if not owner or noted.get("profile") != profile or noted.get("owner") != _digest(owner):
        # The same error as for an unknown id, so that clients cannot probe for the conversations of others.
        raise _refused(f"the profile '{profile}' has no conversation {session_id} to continue", status=400)
    return Conversation(
        id=session_id,
        is_new=False,
        usage_by_model=noted.get("usage_by_model") or {},
        cost_usd=float(noted.get("cost_usd") or 0.0),
        folder=noted.get("folder"),
    )


def note_totals(session_id: str, *, usage_by_model: Mapping[str, Any], cost_usd: float) -> None:
    """Save the usage and the cost of a conversation. Both are totals since its start, as the CLI counts them."""
    _write(session_id, {**_read(session_id), "usage_by_model": usage_by_model, "cost_usd": cost_usd})


def forget(conversation: Conversation) -> None:
    """Remove the note and the folder of a conversation that never started."""
    (sessions_folder() / f"{conversation.id}.json").unlink(missing_ok=True)
    if conversation.folder is not None:
        remove_folder(conversation.working_folder())


@asynccontextmanager
async def exclusive_lock(what: str, name: str, *, hint: str) -> AsyncIterator[None]:
    """Hold the lock on a folder or a conversation, which only one run at a time may use, across this user's processes.

    Raises `CallFailed` with status 429 if another run still holds the lock after a few seconds.
    """
    path = cache_folder("locks") / _digest(f"{what} {name}")
    lock = FileLock(path, thread_local=False)
    until = time.monotonic() + _PATIENCE_S
    while not _is_taken(lock):
        if time.monotonic() > until:
            text = f"another run is using the {what} {name}: {hint}"
            raise CallFailed(Failure(kind="busy", status=429, text=text, retry_after_s=1.0))
        await anyio.sleep(_LOOK_EVERY_S)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # before the release: a waiting run then creates a new lock file
        lock.release()


def _is_taken(lock: FileLock) -> bool:
    with contextlib.suppress(Timeout):
        lock.acquire(blocking=False)
    return lock.is_locked


def _refused(text: str, *, status: int) -> CallFailed:
    return CallFailed(Failure(kind="session", status=status, text=text))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _read(session_id: str) -> dict[str, Any]:
    try:
        noted = json.loads(read_trusted(sessions_folder() / f"{session_id}.json"))
    except (OSError, ValueError, RecursionError):
        return {}
    return noted if isinstance(noted, dict) else {}


def _write(session_id: str, noted: Mapping[str, Any]) -> None:
    replace_file(sessions_folder() / f"{session_id}.json", json.dumps(noted))
