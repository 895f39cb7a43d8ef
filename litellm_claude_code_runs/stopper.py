"""A stop condition for GEPA: it returns its best program before the budget is spent in the middle of a round."""

from __future__ import annotations

import math
from collections.abc import Sequence, Sized
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from .budget import Budget

# A search scores two programs on three examples each, by default, and has the model reflect on what it got wrong.
_EXAMPLES_OF_A_SEARCH: Final = 8


class GEPAState(Protocol):
    """The part of GEPA's state that is read here."""

    @property
    def program_candidates(self) -> Sized:
        """The programs that GEPA keeps."""

    @property
    def prog_candidate_val_subscores(self) -> Sequence[Sized]:
        """The scores of each of them, one for each example."""


@dataclass(frozen=True, kw_only=True)
class _Cost:
    calls: int = 0
    tokens: int = 0
    usd: float = 0.0
    time_s: float = 0.0

    def __add__(self, other: _Cost) -> _Cost:
        return _Cost(
            calls=self.calls + other.calls,
            tokens=self.tokens + other.tokens,
            usd=self.usd + other.usd,
            time_s=self.time_s + other.time_s,
        )

    def times(self, factor: float) -> _Cost:
        """Return a multiple of it."""
        return _Cost(
            calls=math.ceil(self.calls * factor),
            tokens=math.ceil(self.tokens * factor),
            usd=self.usd * factor,
            time_s=self.time_s * factor,
        )

    def or_more(self, other: _Cost) -> _Cost:
        """Return the higher of the two numbers, for each of them."""
        return _Cost(
            calls=max(self.calls, other.calls),
            tokens=max(self.tokens, other.tokens),
            usd=max(self.usd, other.usd),
            time_s=max(self.time_s, other.time_s),
        )


class Stopper:
    """Says whether a budget may not last for another round of GEPA, which asks before each round.

    GEPA first scores the given program on all examples. A round then looks for a better program on a few of them, and
    scores it on all if it found one. The next round is expected to cost as much as the most expensive one so far, and
    at least as much as the most expensive search and the first scoring together. Answers from DSPy's cache are free, so
    a run that is repeated expects too little: its budget can end in the middle of a round, with `RunHalted`.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._last = budget.spent
        self._programs = 0
        self._scoring = self._search = self._round = _Cost()

    def __call__(self, gepa_state: GEPAState) -> bool:
        """Return whether GEPA should stop now."""
        last, spent = self._last, self._budget.spent
        cost = _Cost(
            calls=spent.calls - last.calls,
            tokens=spent.tokens - last.tokens,
            usd=spent.usd - last.usd,
            time_s=spent.time_s - last.time_s,
        )
        programs = len(gepa_state.program_candidates)
        if self._programs == 0:
            self._scoring = cost
            examples = len(gepa_state.prog_candidate_val_subscores[0])
            self._search = cost.times(min(1.0, _EXAMPLES_OF_A_SEARCH / examples))
        elif programs == self._programs:
            self._search = self._search.or_more(cost)
        else:
            self._round = self._round.or_more(cost)
        self._last, self._programs = spent, programs
        expected = self._round.or_more(self._scoring + self._search)
        later = replace(spent, time_s=spent.time_s + expected.time_s)
        most = self._budget.reached(later, calls=expected.calls, tokens=expected.tokens, usd=expected.usd)
        return most is not None
