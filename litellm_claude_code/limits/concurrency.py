"""How many calls an overloaded service gets at once. Decisions only: no I/O, and the time is passed in."""

from __future__ import annotations

import math
import random
from typing import Final


class Flow:
    """How many calls of a login may be in flight: fewer when the service is overloaded, more again as it answers.

    Additive increase, multiplicative decrease. All calls that were in flight at a decrease belong to the round before
    it: what becomes of them changes nothing any more, so that one burst of failures counts once. After a decrease
    starts pause, longer each time until a call succeeds, and then come one by one. `now` is any clock's, in seconds.
    """

    FIRST_PAUSE_S: Final = 0.5
    LONGEST_PAUSE_S: Final = 30.0
    GAP_S: Final = 0.25
    """The longest time between two starts until the first success after a decrease."""

    def __init__(self, maximum: int, *, dice: random.Random | None = None) -> None:
        if maximum < 1:
            raise ValueError(f"at least one call must be allowed, not {maximum}")
        self.maximum = maximum
        self.allowed = maximum
        """Calls that may be in flight, from 1 to `maximum`."""
        self.in_flight = 0
        self._peak = 0
        self._dice = dice or random.Random()
        self._round = 0
        self._successes = 0
        self._strikes = 0
        self._not_before = -math.inf

    def __repr__(self) -> str:
        return f"<Flow: {self.in_flight} in flight of {self.allowed} allowed, {self.maximum} at most>"

    def room(self, now: float) -> int:
        """Return how many calls may start now."""
        if self.pause_s(now) > 0:
            return 0
        room = max(0, self.allowed - self.in_flight)
        return min(room, 1) if self._strikes else room

    def pause_s(self, now: float) -> float:
        """Return the seconds until the next call may start, if there is room for it then."""
        return max(0.0, self._not_before - now)

    def start(self, now: float) -> int:
        """Count a call that starts, and return its round: to be given back, once, to one of the methods below."""
        self.in_flight += 1
        self._peak = max(self._peak, self.in_flight)
        if self._strikes:
            self._not_before = max(self._not_before, now + self._dice.uniform(0, self.GAP_S))
        return self._round

    def succeeded(self, began: int) -> None:
        """Count a call that was answered. As many successes as are allowed in flight allow one more."""
        self.in_flight -= 1
        if began < self._round:
            return
        self._strikes = 0
        self._successes += 1
        if self._successes >= self.allowed:
            self.allowed, self._successes = min(self.maximum, self.allowed + 1), 0

    def left(self, began: int) -> None:
        """Count a call that ended in a way that says nothing of the service's load: cancelled, refused, broken."""
        self.in_flight -= 1

    def overloaded(self, began: int, now: float, *, retry_after_s: float | None = None) -> None:
        """Count a call that met an overloaded service (529, or a 429 that is no limit of the subscription).

        From now on half as many are allowed as were in flight at most in this round: what was allowed before, but never
        tried, says nothing. The service's own `retry_after_s` is waited out.
        """
        self.in_flight -= 1
        self._not_before = max(self._not_before, now + (retry_after_s or 0.0))
        if began < self._round:
            return
        self.allowed = max(1, min(self.allowed, self._peak) // 2)
        self._round += 1
        self._successes = self._peak = 0
        longest = min(self.LONGEST_PAUSE_S, self.FIRST_PAUSE_S * 2**self._strikes)
        self._strikes = min(self._strikes + 1, 16)
        jitter = self._dice.uniform(longest / 2, longest)
        self._not_before = max(self._not_before, now + (retry_after_s or 0.0) + jitter)
