"""The demo, as a user runs it: a process of its own, on the stand-in, in a home of its own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from .support.scripts import Forker, Program, remember_check
from .support.waiting import wait_until

pytest.importorskip("dspy")

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parent.parent
# A quarter of what `make demo` spends, which is enough to see the score rise.
ARGUMENTS = ["--budget", "40"]
# A shell has what it runs in the background ignore SIGINT, and with it a whole test run.
INTERRUPTIBLE = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("examples.support_tickets", run_name="__main__", alter_sys=True)
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment with a nearly empty home folder, which also identifies the processes of the demo."""
    (tmp_path / "home").mkdir()
    return {
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DSPY_", "XDG_", "LITELLM_CLAUDE_CODE_"))
        },
        "HOME": str(tmp_path / "home"),
        "CLAUDE_CONFIG_DIR": str(tmp_path / "claude"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "TMPDIR": str(tmp_path),
        "LITELLM_CLAUDE_CODE_MAX_WORKERS": "2",  # each takes longer to start than to answer this test's calls
    }


@pytest.fixture
def started(
    environment: dict[str, str], checked_cli: Path, forks: Forker, tmp_path: Path, tmp_path_factory: Any
) -> Iterator[tuple[Program, Path, Path]]:
    """The demo, forked, and the files of its stdout and stderr, which are not in its folders."""
    remember_check(checked_cli, tmp_path / "cache")
    out, errors = (tmp_path_factory.mktemp("demo") / name for name in ("out", "errors"))
    out.touch()
    errors.touch()
    demo = forks.fork(INTERRUPTIBLE, *ARGUMENTS, env=environment, out=out, errors=errors, cwd=ROOT)
    yield demo, out, errors
    demo.kill()


def test_the_score_rises_and_the_run_is_accounted_for(
    started: tuple[Program, Path, Path], environment: Mapping[str, str], tmp_path: Path
) -> None:
    demo, out, errors = started
    code, printed = demo.wait(240), out.read_text()
    assert (code, errors.read_text()) == (0, "")
    first_line = printed.splitlines()[0]
    assert first_line.startswith("Stand-in: no login is used")
    assert "scripted" in first_line
    before, after = map(int, _find(r"^score +(\d+) % → (\d+) %$", printed))
    assert before + 20 <= after
    count = r" +([\d,]+)"
    row = _find(rf"^all{count * 7} +([\d.]+) ", printed)
    calls, cached, failed, requests, tokens_in, _, tokens_out = (int(cell.replace(",", "")) for cell in row[:7])
    cost_usd = row[7]
    assert (cached, failed, requests) == (0, 0, calls)
    assert int(calls) > 40
    assert int(tokens_in) > int(tokens_out) > int(calls)
    assert float(cost_usd) > 0
    assert _find(r"^The stand-in saw (\d+) requests", printed) == (str(calls),)
    assert float(*_find(r"^([\d.]+) s in total\. ", printed)) > 0
    assert "  - Tickets about " in printed.partition("Instruction after:")[2]
    _assert_nothing_left(environment, tmp_path)


def test_ctrl_c_ends_it_within_seconds(
    started: tuple[Program, Path, Path], environment: dict[str, str], tmp_path: Path
) -> None:
    demo, out, errors = started
    wait_until(lambda: demo.poll() is not None or "score before" in out.read_text(), errors.read_text)
    assert demo.poll() is None, errors.read_text()
    os.killpg(demo.pid, signal.SIGINT)  # as a terminal does: the Claude Code processes get it as well
    assert demo.wait() == 130
    assert errors.read_text().strip() == "Interrupted."
    _assert_nothing_left(environment, tmp_path)


def _find(pattern: str, text: str) -> tuple[str, ...]:
    found = re.search(pattern, text, flags=re.MULTILINE)
    assert found, f"{pattern} is not in:\n{text}"
    return found.groups()


def _assert_nothing_left(environment: Mapping[str, str], folder: Path) -> None:
    """Check that the demo left no process, and no files but the CLI's own and two small ones of ours."""
    wait_until(lambda: not _processes(environment), lambda: _processes(environment))
    assert list((folder / "home").rglob("*")) == []
    assert sorted(path.name for path in folder.iterdir()) == ["cache", "claude", "home"]
    assert sorted(path.name for path in (folder / "cache").rglob("*") if path.is_file()) == ["cli.json", "starting"]


def _processes(environment: Mapping[str, str]) -> list[str]:
    """List the command lines of the processes that live in this environment."""
    mine = f"CLAUDE_CONFIG_DIR={environment['CLAUDE_CONFIG_DIR']}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mine in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found
