"""Draw measurements: `python benchmarks/plot.py overhead.json first.json load.json`, the files that `--json` writes.

Each picture for which a file has numbers is written to this folder, where README.md shows it.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

_FOLDER: Final = Path(__file__).parent
_OURS: Final = "claude_code/"
_OUR_COLOUR: Final = "#1f6f8b"
_OTHER_COLOUR: Final = "#c8c8c0"
_COLOURS: Final = {"busy": "#1f6f8b", "resetting": "#99c1de", "idle": "#e8e8e4", "booting": "#e07a5f"}


def latency(measured: Mapping[str, Any]) -> None:
    """Draw how long a plain call takes: the share of calls that finished within a number of milliseconds."""
    figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
    for name, row in measured["rows"].items():
        taken = sorted(row["latencies_ms"])
        axes.step(taken, [(place + 1) / len(taken) for place in range(len(taken))], where="post", label=name)
    axes.set(xscale="log", xlabel="milliseconds, answers at once", ylabel="share of calls done", ylim=(0, 1))
    axes.legend(frameon=False, fontsize=8)
    _save(figure, "latency")


def first(measured: Mapping[str, Any]) -> None:
    """Draw how long the first call takes, and what it is compared with."""
    seconds = {name: statistics.median(row["seconds"]) for name, row in measured["rows"].items()}
    _bars("first", seconds, unit="s", label="seconds, median")


def early(measured: Mapping[str, Any]) -> None:
    """Draw how calls become faster: the median of the rounds for each call of a new pool, and that of `query()`."""
    figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
    medians = [statistics.median(calls) for calls in zip(*measured["rounds_ms"], strict=True)]
    axes.plot(range(1, len(medians) + 1), medians, color=_OUR_COLOUR, label="claude_code/, a new pool")
    axes.axhline(statistics.median(measured["query_ms"]), color=_OTHER_COLOUR, label="query(), a process per call")
    axes.set(yscale="log", xlabel="call, back to back", ylabel="milliseconds")
    axes.legend(frameon=False, fontsize=8)
    _save(figure, "early")


def throughput(measured: Mapping[str, Any]) -> None:
    """Draw the calls a second of each contender but `anthropic/`, which is out of scale."""
    rows = {name: row for name, row in measured["rows"].items() if "anthropic/" not in name}
    rates = {name: row["calls"] * len(row["walls_s"]) / sum(row["walls_s"]) for name, row in rows.items()}
    _bars("throughput", rates, unit="", label="calls a second, eight threads")


def memory(measured: Mapping[str, Any]) -> None:
    """Draw the memory of a process, on average, after its first call and hot."""
    kinds = {"after one call": "workers", "hot": "hot"}
    mean_mb = {name: statistics.mean(worker["pss"] for worker in measured[key]) for name, key in kinds.items()}
    _bars("memory", mean_mb, unit="MB", label="MB (PSS), mean of 16 processes")


def _bars(name: str, values: Mapping[str, float], *, unit: str, label: str) -> None:
    figure, axes = plt.subplots(figsize=(8, 0.6 + 0.45 * len(values)), layout="constrained")
    names = [*values][::-1]
    drawn = axes.barh(names, [values[name] for name in names], color=[_colour(name) for name in names])
    axes.bar_label(drawn, fmt=f"%.3g {unit}", padding=3, fontsize=8)
    axes.set(xlabel=label, xlim=(0, 1.2 * max(values.values())))
    axes.tick_params(axis="y", labelsize=8)
    _save(figure, name)


def optimizer(measured: Mapping[str, Any]) -> None:
    """Draw the run of `optimizer.py`: the wall time of each contender, and the states of our workers over time."""
    runs = measured["runs"]
    figure, (bars, states) = plt.subplots(1, 2, figsize=(10, 3.6), width_ratios=(2, 3), layout="constrained")
    walls = [(f"{name}, {delay} s", run["wall_s"]) for delay, each in runs.items() for name, run in each.items()][::-1]
    drawn = bars.barh(
        *zip(*walls, strict=True), color=[_OUR_COLOUR if _OURS in name else _OTHER_COLOUR for name, _ in walls]
    )
    bars.bar_label(drawn, fmt="%.1f s", padding=3, fontsize=8)
    bars.set(xlabel="seconds for the whole run", xlim=(0, 1.2 * max(wall for _, wall in walls)))
    bars.tick_params(axis="y", labelsize=8)

    delay, run = next((delay, each[_OURS]) for delay, each in runs.items() if _OURS in each)
    times = [at for at, _ in run["timeline"]]
    counts = [[seen.get(state, 0) for _, seen in run["timeline"]] for state in _COLOURS]
    began = times[0]
    states.stackplot([at - began for at in times], counts, labels=[*_COLOURS], colors=[*_COLOURS.values()], step="post")
    states.set(xlabel=f"seconds into our run, answers after {delay} s", ylabel="processes")
    states.margins(x=0)
    states.legend(frameon=False, fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.15))
    _save(figure, "optimizer")


def _colour(name: str) -> str:
    return _OUR_COLOUR if _OURS in name or "litellm-claude-code" in name else _OTHER_COLOUR


def _save(figure: Figure, name: str) -> None:
    figure.savefig(_FOLDER / f"{name}.png", dpi=90, pil_kwargs={"optimize": True})


PICTURES: Final[Mapping[str, Callable[[Mapping[str, Any]], None]]] = {
    "call": latency,
    "first": first,
    "early": early,
    "throughput": throughput,
    "optimizer": optimizer,
    "memory": memory,
}


def main() -> None:
    """Draw each picture for which the given files have numbers."""
    for path in map(Path, sys.argv[1:]):
        parts = json.loads(path.read_text())["parts"]
        if PICTURES.keys().isdisjoint(parts):
            sys.exit(f"{path} cannot be drawn: it was not written by overhead.py, first.py or load.py")
        for name in PICTURES.keys() & parts.keys():
            PICTURES[name](parts[name])


if __name__ == "__main__":
    main()
