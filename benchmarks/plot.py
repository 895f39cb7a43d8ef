"""Draw measurements: `python benchmarks/plot.py overhead.json load.json`, the files that `--json` writes.

Each picture for which a file has numbers is written to this folder, where README.md shows it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

_FOLDER: Final = Path(__file__).parent
_OURS: Final = "claude_code/"
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


def optimizer(measured: Mapping[str, Any]) -> None:
    """Draw the run of `optimizer.py`: the wall time of each contender, and the states of our workers over time."""
    runs = measured["runs"]
    figure, (bars, states) = plt.subplots(1, 2, figsize=(10, 3.6), width_ratios=(2, 3), layout="constrained")
    walls = [(f"{name}, {delay} s", run["wall_s"]) for delay, each in runs.items() for name, run in each.items()][::-1]
    drawn = bars.barh(*zip(*walls, strict=True), color=["#1f6f8b" if _OURS in name else "#c8c8c0" for name, _ in walls])
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


def _save(figure: Figure, name: str) -> None:
    figure.savefig(_FOLDER / f"{name}.png", dpi=90, pil_kwargs={"optimize": True})


PICTURES: Final[Mapping[str, Callable[[Mapping[str, Any]], None]]] = {"call": latency, "optimizer": optimizer}


def main() -> None:
    """Draw each picture for which the given files have numbers."""
    for path in map(Path, sys.argv[1:]):
        parts = json.loads(path.read_text())["parts"]
        if PICTURES.keys().isdisjoint(parts):
            sys.exit(f"{path} holds nothing to draw: it is neither overhead.py's nor load.py's with the optimizer")
        for name in PICTURES.keys() & parts.keys():
            PICTURES[name](parts[name])


if __name__ == "__main__":
    main()
