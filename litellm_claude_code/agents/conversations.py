"""Conversations that are kept: whose they are, and that only one run at a time goes on with one.

The words of a conversation are the CLI's own file; a note beside our other data says which profile and which client
it belongs to, and what it has cost so far. Locks are the kernel's, so that they hold across processes and end with
theirs.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import anyio
import platformdirs

from ..errors import CallFailed, Failure
from ..installed import cache_folder

_PATIENCE_S: Final = 3.0
"""How long a run waits for the one before it to be gone: one that was cancelled takes a moment to end."""
_LOOK_EVERY_S: Final = 0.05


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """A kept conversation, as its note has it."""

    id: str
    is_new: bool
    usage_by_model: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    cost_usd: float = 0.0


def sessions_folder() -> Path:
    """Return the folder of the notes, made if need be."""
    data = Path(platformdirs.user_data_dir("litellm_claude_code", appauthor=False))
    folder = data / "sessions"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def begin(session_id: str, *, profile: str, owner: str) -> Conversation:
    """Note that a conversation begins."""
    if not owner:
        raise _refused(
            "this proxy does not tell its clients apart (it has no keys), so that none can own a conversation: give "
            "it keys, or the profile sessions=False",
            status=403,
        )
    _write(session_id, {"profile": profile, "owner": _digest(owner)})
    return Conversation(id=session_id, is_new=True)


def resume(session_id: str, *, profile: str, owner: str) -> Conversation:
    """Return a conversation to go on with. Raises `CallFailed` where it is not this client's."""
    noted = _read(session_id)
    if not owner or noted.get("profile") != profile or noted.get("owner") != _digest(owner):
        # Whose else it may be is nobody's business: this is the answer for one that never was, too.
        raise _refused(f"there is no conversation {session_id} of the profile '{profile}' to go on with", status=400)
    return Conversation(
        id=session_id,
        is_new=False,
        usage_by_model=noted.get("usage_by_model") or {},
        cost_usd=float(noted.get("cost_usd") or 0.0),
    )


def note_totals(session_id: str, *, usage_by_model: Mapping[str, Any], cost_usd: float) -> None:
    """Note what a conversation has used so far: the CLI counts from its beginning."""
    _write(session_id, {**_read(session_id), "usage_by_model": usage_by_model, "cost_usd": cost_usd})


def forget(session_id: str) -> None:
    """Take back the note of a conversation that did not come about."""
    (sessions_folder() / f"{session_id}.json").unlink(missing_ok=True)


@asynccontextmanager
async def alone(what: str, name: str, *, hint: str) -> AsyncIterator[None]:
    """Hold the only run on something: a folder, a conversation. Raises `CallFailed`, of status 429, where there is one.

    Also in another process of this user's.
    """
    folder = cache_folder() / "locks"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / _digest(f"{what} {name}")
    until = time.monotonic() + _PATIENCE_S
    while (lock := _taken(path)) is None:
        if time.monotonic() > until:
            text = f"another run of an agent is at work in the {what} {name}: {hint}"
            raise CallFailed(Failure(kind="busy", status=429, text=text, retry_after_s=1.0))
        await anyio.sleep(_LOOK_EVERY_S)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(lock)


def _taken(path: Path) -> int | None:
    """Return the lock on a file, or `None` where somebody has it. Who has it removes the file in the end."""
    lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), path.stat()):
            return lock
    except OSError:
        pass  # somebody has it, or has just removed the file
    os.close(lock)
    return None


def _refused(text: str, *, status: int) -> CallFailed:
    return CallFailed(Failure(kind="session", status=status, text=text))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _read(session_id: str) -> dict[str, Any]:
    try:
        noted = json.loads((sessions_folder() / f"{session_id}.json").read_text())
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def _write(session_id: str, noted: Mapping[str, Any]) -> None:
    path = sessions_folder() / f"{session_id}.json"
    part = path.with_suffix(f".{os.getpid()}.part")
    part.touch(mode=0o600)
    part.write_text(json.dumps(noted))
    part.replace(path)
