"""Deciding whether a self-check is due.

A good result is remembered. It holds until the CLI, the SDK's version, a module of the self-check or a file of managed
settings changes.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio

from ..cache import recall, remember
from ..errors import CallFailed, Failure
from ..in_force import policy_files
from ..install import find_cli, sdk_version
from ..settings import Settings
from .report import Report

_REMEMBERED: Final = "self_check"
_REMEMBERED_CLIS: Final = 8
_AGAIN_AFTER_S: Final = 30.0
"""After an unfinished self-check, for example on a busy machine, a call after this time starts another one."""


async def ensure_checked(settings: Settings, *, timeout_s: float | None = None) -> None:
    """Run the self-check, unless this Python process has a result, or an earlier one remembered a good result.

    Concurrent callers share one self-check. Raises `CallFailed` if the CLI does not do what this package relies on, or
    if a setting is refused under which no process may run, and `TimeoutError` if the wait takes longer than
    `timeout_s`.
    """
    verdict = _verdicts.get(settings.cli_path)
    if verdict is None or verdict.until < time.monotonic():
        with anyio.fail_after(timeout_s):
            verdict = await asyncio.shield(_checking(settings))
    if verdict.refused is not None:
        raise CallFailed(verdict.refused)
    if verdict.wrong:
        raise CallFailed(Failure(kind="self_check", text=verdict.wrong))


def is_check_due(settings: Settings) -> bool:
    """Return whether the next call runs the self-check first, which takes a few seconds."""
    if not settings.self_check:
        return False
    verdict = _verdicts.get(settings.cli_path)
    if verdict is not None:
        return verdict.until < time.monotonic()
    return _fingerprint(settings) not in recall(_REMEMBERED, list)


@dataclass(frozen=True, kw_only=True)
class _Verdict:
    """The result that this Python process uses, until `time.monotonic()` is past `until`."""

    wrong: str = ""
    refused: Failure | None = None
    until: float = float("inf")


_verdicts: dict[Path | None, _Verdict] = {}
_running: dict[Path | None, asyncio.Task[_Verdict]] = {}


def _checking(settings: Settings) -> asyncio.Task[_Verdict]:
    """Return the self-check that is running on this event loop, or start one."""
    running = _running.get(settings.cli_path)
    if running is None or running.done() or running.get_loop() is not asyncio.get_running_loop():
        running = asyncio.create_task(_judge(settings), name="claude-code-self-check")
        _running[settings.cli_path] = running
    return running


async def _judge(settings: Settings) -> _Verdict:
    verdict, mark = _Verdict(), _fingerprint(settings)
    known = recall(_REMEMBERED, list)
    if mark not in known:
        from .run import self_check

        report = await self_check(settings)
        if report.is_good:
            remember(_REMEMBERED, [*known, mark][-_REMEMBERED_CLIS:])
        else:
            verdict = _Verdict(wrong=report.sentence(), refused=report.refused, until=_good_until(report))
    _verdicts[settings.cli_path] = verdict
    return verdict


def _good_until(report: Report) -> float:
    """Return until when a bad result is used. A refused setting may be removed, so the next call checks again."""
    if report.refused is not None:
        return time.monotonic()
    return float("inf") if report.is_finished else time.monotonic() + _AGAIN_AFTER_S


def _fingerprint(settings: Settings) -> str:
    """Return the state for which a passed check holds: the SDK's version, and the size and time of each file involved.

    The files are the CLI, this package's own modules that start and drive it, and the managed settings.
    """
    cli, package = find_cli(settings.cli_path), Path(__file__).parents[1]
    own = [
        package / "auth.py",
        package / "cli_protocol.py",
        package / "login.py",
        *sorted(package.glob("process/*.py")),
        *sorted(package.glob("selfcheck/*.py")),
    ]
    files = [*([cli.resolve()] if cli else []), *own, *policy_files()]
    return " ".join([sdk_version(), *(_stamp(file) for file in files)])


def _stamp(file: Path) -> str:
    try:
        return f"{file} {file.stat().st_size} {file.stat().st_mtime_ns}"
    except OSError:
        return f"{file} -"
