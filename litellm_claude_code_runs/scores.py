"""The scores of a run's programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Score:
    """What DSPy has scored a program with."""

    at_s: float
    """Seconds since the start of the run."""
    score: float
    """In percent, as DSPy gives it."""
    examples: int


def described(scores: Sequence[Score]) -> str:
    """Return the last and the best score as text. There must be one."""
    return f"score {scores[-1].score:g}, best {best_of(scores):g}"


def best_of(scores: Sequence[Score]) -> float:
    """Return the highest score among those on the most examples: others are of batches. There must be one."""
    most = max(score.examples for score in scores)
    return max(score.score for score in scores if score.examples == most)
