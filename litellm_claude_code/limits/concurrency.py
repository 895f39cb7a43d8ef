"""The concurrency limiter for an overloaded API. No I/O; the time is passed in."""

from __future__ import annotations

import math
import random
from typing import Final


class ConcurrencyLimiter:
    """Limit how many calls of a login are in flight: fewer if the API is overloaded, more again as calls succeed.

    Additive increase, multiplicative decrease. Each decrease begins a new round. Calls that started in an earlier round
    do not change the limit when they end, so one burst of failures counts once. After a decrease no call starts for a
    while. This pause is longer after each further decrease, until a call succeeds. Then calls start one by one until
    the first success. `now` is in seconds, from any clock.
    """

    FIRST_PAUSE_S: Final = 0.5
    LONGEST_PAUSE_S: Final = 30.0
    GAP_S: Final = 0.25
    """Between a decrease and the next success, calls start at random intervals of up to this."""

    def __init__(self, maximum: int, *, dice: random.Random | None = None) -> None:
        if maximum < 1:
            raise ValueError(f"the maximum must be at least 1, not {maximum}")
        self.maximum = maximum
        self.allowed = maximum
        """How many calls may be in flight, from 1 to `maximum`."""
        self.in_flight = 0
        self._peak = 0
        self._dice = dice or random.Random()
        self._round = 0
        self._successes = 0
        self._strikes = 0
        self._not_before = -math.inf

    def __repr__(self) -> str:
        return f"<ConcurrencyLimiter: {self.in_flight} in flight of {self.allowed} allowed, {self.maximum} at most>"

    def room(self, now: float) -> int:
        """Return how many calls may start now."""
        if self.pause_s(now) > 0:
            return 0
        room = max(0, self.allowed - self.in_flight)
        return min(room, 1) if self._strikes else room

    def pause_s(self, now: float) -> float:
        """Return the seconds until the pause ends. The next call may start then if there is room."""
        return max(0.0, self._not_before - now)

    def start(self, now: float) -> int:
        """Count a call that starts, and return its round. Pass it to one of the methods below when the call ends."""
        self.in_flight += 1
        self._peak = max(self._peak, self.in_flight)
        if self._strikes:
            self._not_before = max(self._not_before, now + self._dice.uniform(0, self.GAP_S))
        return self._round

    def succeeded(self, began: int) -> None:
        """Count a call that was answered. After `allowed` successes one more call may be in flight."""
        self.in_flight -= 1
        if began < self._round:
            return
        self._strikes = 0
        self._successes += 1
        if self._successes >= self.allowed:
            self.allowed, self._successes = min(self.maximum, self.allowed + 1), 0

    def left(self, began: int) -> None:
        """Count a call whose end tells nothing about the API's load, such as one that was cancelled or refused."""
        self.in_flight -= 1

    def overloaded(self, began: int, now: float) -> None:
        """Count a call that failed because the API is overloaded (529, or a 429 that is not a subscription limit).

        Sets `allowed` to half the number of calls that were in flight in this round, at its peak: a higher `allowed`
        that was never reached proves nothing.
        """
        self.in_flight -= 1
        if began < self._round:
            return
        self.allowed = max(1, min(self.allowed, self._peak) // 2)
        self._round += 1
        self._successes = self._peak = 0
        longest = min(self.LONGEST_PAUSE_S, self.FIRST_PAUSE_S * 2**self._strikes)
        self._strikes = min(self._strikes + 1, 16)
        jitter = self._dice.uniform(longest / 2, longest)
        self._not_before = max(self._not_before, now + jitter)
