"""One self-check, from booting the workers to the report."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import anyio

from ..install import find_cli, sdk_version
from ..settings import Settings
from .bench import Bench, CheckAborted
from .policies import policies
from .report import Problem, Report
from .wire_checks import CHECKS, Check

_VERSION_WITHIN_S: Final = 3.0


async def self_check(settings: Settings, checks: Sequence[Check] = CHECKS) -> Report:
    """Let the CLI serve the calls of `checks` on loopback and return a report. All checks take a second or two.

    No request goes anywhere else. If a check finds a problem, the next one still runs; if a process fails, the
    self-check stops there, unfinished.
    """
    from ..testing import StandIn  # here: it imports a web server, which only this and the command line need

    problems: list[Problem] = []
    is_finished, version, refused = True, "", None
    try:
        # A newer CLI may send fields that the stand-in does not know. The checks compare what it sends themselves.
        with StandIn(api_key=None, validate=False) as stand_in:
            bench = Bench(stand_in, settings)
            try:
                await bench.boot()
                for check in checks:
                    problems += await check(bench)
            finally:
                await bench.close()
                version = bench.cli_version
    except CheckAborted as lost:
        problems.append(lost.problem)
        is_finished, refused = False, lost.refused
    except RuntimeError as error:  # from the stand-in, if it cannot listen
        problems.append(Problem(f"the self-check cannot run: {error}"))
        is_finished = False
    cli = find_cli(settings.cli_path)
    return Report(
        cli=cli,
        cli_version=version or await ask_version(cli),
        sdk_version=sdk_version(),
        problems=tuple(dict.fromkeys(problem.sentence() for problem in problems)),
        policies=tuple(policies()) if problems else (),
        is_finished=is_finished,
        refused=refused,
    )


async def ask_version(cli: Path | None) -> str:
    """Return the version that `cli --version` prints, for when no request has shown it, or an empty string."""
    if cli is None:
        return ""
    env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    try:
        with anyio.move_on_after(_VERSION_WITHIN_S):
            ran = await anyio.run_process([cli, "--version"], check=False, stderr=subprocess.DEVNULL, env=env)
            version = re.match(rb"\d[\w.\-]*", ran.stdout)
            return version.group().decode() if version else ""
    except OSError:
        pass
    return ""
