"""Looking at a run: its line of progress in a terminal, its plots, and what has changed about the prompts."""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import termios
from typing import Any

import pytest

from litellm_claude_code.accounting.plot import plotted
from litellm_claude_code_runs.progress_line import ProgressLine, clock
from litellm_claude_code_runs.report import CallRecord
from litellm_claude_code_runs.scores import Score


def test_in_a_terminal_the_line_is_below_the_bars_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    ours, terminals = os.openpty()
    fcntl.ioctl(terminals, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with os.fdopen(ours, "rb", buffering=0) as screen, os.fdopen(terminals, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        texts = iter(["first", "last"])
        line = ProgressLine(lambda: next(texts, "last"))
        line.stop()
        line.join()
        shown = ""
        while not shown.rstrip().endswith("last"):
            shown += screen.read(4096).decode()
    assert "\r\n\rfirst\x1b[A" in shown  # goes down a line, and up again


@pytest.mark.parametrize(("seconds", "shown"), [(5, "00:05"), (125.9, "02:05"), (3725, "1:02:05")])
def test_a_time_is_shown_as_on_a_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


def record(number: int, *, is_cached: bool = False) -> CallRecord:
    return CallRecord(
        model="haiku", began_s=number, took_s=0.5, is_cached=is_cached, error=None, is_in_flight=False,
        requests=int(not is_cached), input_tokens=10, cache_read_tokens=0, cache_write_tokens=0, output_tokens=5,
        cost_usd=0.25, limit_wait_s=0.0,
    )  # fmt: skip


@pytest.mark.processes  # matplotlib asks one for fonts
def test_a_run_is_plotted() -> None:
    pytest.importorskip("matplotlib")
    calls = [record(0), record(1), record(2, is_cached=True), record(3)]
    scores = [Score(at_s=0.9, score=100.0, examples=1), Score(at_s=1.9, score=40.0, examples=2),
              Score(at_s=3.9, score=60.0, examples=2)]  # fmt: skip
    axes: Any = plotted(calls, scores).axes
    score, cost, latency, cache = axes
    [best] = score.lines
    assert [tuple(point) for point in best.get_xydata()] == [(1, 100), (2, 40), (4, 60)]  # the best on most examples
    assert list(cost.lines[0].get_ydata()) == [0.25, 0.5, 0.75, 1.0]
    assert sum(bar.get_height() for bar in latency.patches) == 3
    assert [line.get_ydata()[-1] for line in cache.lines] == [3, 1]
    assert plotted([], []).axes  # of a run that has done nothing yet


def test_without_matplotlib_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install .litellm_claude_code\[notebooks\]"):
        plotted([], [])


def test_a_prompt_is_compared_word_by_word() -> None:
    dspy = pytest.importorskip("dspy")
    from dspy_adapter import PromptDiff

    before = dspy.Predict(dspy.Signature("ticket -> team", "Route the ticket & go."))
    after = before.deepcopy()
    after.signature = after.signature.with_instructions("Route the <old> ticket & go.")
    after.demos = [dspy.Example(ticket="1", team="2")]
    diff = PromptDiff(before, after)
    assert str(diff) == "self:\nRoute the{+ <old>+} ticket & go.{+\n\nExamples shown: 1+}"
    assert "the<ins" in diff._repr_html_()
    assert " &lt;old&gt;</ins> ticket &amp; go." in diff._repr_html_()
    assert "[- <old>-]" in str(PromptDiff(after, before))
    assert str(PromptDiff(before, before)) == "self:\nRoute the ticket & go."
