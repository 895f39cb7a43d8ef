"""The plots of a run. Needs matplotlib, which is an optional dependency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from litellm_claude_code_runs.report import CallRecord
from litellm_claude_code_runs.scores import Score, best_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plotted(calls: Sequence[CallRecord], scores: Sequence[Score]) -> Figure:
    """Return a figure of four plots: best score over calls, cost and cache over time, and latencies.

    Raises `ModuleNotFoundError` without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        message = 'run.plot() needs matplotlib. Run: pip install "litellm_claude_code[notebooks]"'
        raise ModuleNotFoundError(message, name=error.name) from None
    over = sorted((call for call in calls if not call.is_in_flight), key=_end)
    figure = Figure(figsize=(10, 6), layout="constrained")
    (top_left, top_right), (bottom_left, bottom_right) = figure.subplots(2, 2)
    _plot_scores(top_left, over, scores)
    _plot_cost(top_right, over)
    _plot_latency(bottom_left, over)
    _plot_cache(bottom_right, over)
    return figure


def _plot_scores(axes: Axes, calls: Sequence[CallRecord], scores: Sequence[Score]) -> None:
    after = [sum(_end(call) <= score.at_s for call in calls) for score in scores]
    axes.scatter(after, [score.score for score in scores], s=8, color="tab:gray", label="each evaluation")
    best = [best_of(scores[: number + 1]) for number in range(len(scores))]
    axes.step(after, best, where="post", label="best so far")
    axes.set(title="Score", xlabel="calls", ylabel="%")
    if scores:
        axes.legend()


def _plot_cost(axes: Axes, calls: Sequence[CallRecord]) -> None:
    axes.step([_end(call) for call in calls], _sums([call.cost_usd for call in calls]), where="post")
    axes.set(title="Cost, at API prices", xlabel="seconds", ylabel="USD")


def _plot_latency(axes: Axes, calls: Sequence[CallRecord]) -> None:
    asked = [call for call in calls if not call.is_cached and call.error is None]
    for model in dict.fromkeys(call.model for call in asked):
        axes.hist(
            [call.took_s - call.limit_wait_s for call in asked if call.model == model], 25, alpha=0.6, label=model
        )
    axes.set(title="Latency, without waits for limits", xlabel="seconds", ylabel="calls")
    if asked:
        axes.legend()


def _plot_cache(axes: Axes, calls: Sequence[CallRecord]) -> None:
    ends = [_end(call) for call in calls]
    axes.step(ends, _sums([float(not call.is_cached) for call in calls]), where="post", label="asked of the model")
    axes.step(ends, _sums([float(call.is_cached) for call in calls]), where="post", label="from the cache")
    axes.set(title="Cache", xlabel="seconds", ylabel="calls")
    axes.legend()


def _end(call: CallRecord) -> float:
    return call.began_s + call.took_s


def _sums(values: Sequence[float]) -> list[float]:
    total = 0.0
    return [total := total + value for value in values]
