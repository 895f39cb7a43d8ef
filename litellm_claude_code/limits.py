"""How much may be asked for now: the subscription's limits, and how many calls an overloaded service gets at once.

Decisions only: no I/O, and the time is passed in. `pool.py` reports what the CLI said, and holds calls back. The shape
of the CLI's reports was seen with CLI 2.1.327 against the stand-in.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any, Final, TypedDict

if TYPE_CHECKING:
    from .auth import Login  # brings litellm with it, which nothing here needs

UNKNOWN_RESET_S: Final = 60.0
"""How long a limit refuses calls when the CLI names no reset, or one that cannot be: then a call finds out."""
_LONGEST_WINDOW_S: Final = 32 * 24 * 3600.0

_NAMES: Final = {
    "five_hour": "5-hour limit",
    "seven_day": "weekly limit",
    "seven_day_opus": "weekly Opus limit",
    "seven_day_sonnet": "weekly Sonnet limit",
    "seven_day_overage_included": "weekly limit for this model",
    "overage": "limit on extra usage",
}
_OF_ONE_MODEL: Final = frozenset({"seven_day_opus", "seven_day_sonnet", "seven_day_overage_included"})
_SERVED: Final = ("allowed", "allowed_warning")
_NO_REASON: Final = (None, "fetch_error", "unknown")


class Window(TypedDict):
    """How far one window is used up."""

    utilization: float | None
    """Fraction of the window; may exceed 1."""
    resets_at: float | None
    """Unix seconds."""
    status: str | None
    """`allowed`, `allowed_warning` or `rejected`. A rejected window alone does not mean that calls are refused."""


class Overage(TypedDict):
    """Extra usage: what is paid on top of the subscription."""

    is_in_use: bool
    status: str | None
    resets_at: float | None
    """Unix seconds."""
    disabled_reason: str | None
    """The CLI's word for why there is none: `org_level_disabled`, `out_of_credits`…"""


class Refused(TypedDict):
    """A limit in force: calls of `model` (None: of every model) are refused until `until`, in unix seconds."""

    window: str | None
    model: str | None
    resets_at: float | None
    until: float
    is_overage: bool


class LimitStatus(TypedDict):
    """What the CLI last said of a login's limits, and what follows from it now. All times are unix seconds."""

    status: str | None
    """`allowed`, `allowed_warning` or `rejected`; None as long as nothing was said."""
    window: str | None
    """The window `status` speaks of: `five_hour`, `seven_day`, `seven_day_opus`, `seven_day_sonnet`, `overage`…"""
    utilization: float | None
    resets_at: float | None
    windows: dict[str, Window]
    overage: Overage
    reached: list[Refused]
    noted_at: float | None


@dataclass(frozen=True, kw_only=True)
class Report:
    """One `rate_limit_info` of the CLI, read."""

    status: str
    window: str | None
    resets_at: float | None
    utilization: float | None
    windows: Mapping[str, Window]
    overage: Overage
    is_paused: bool
    needs_credits: bool

    @classmethod
    def read(cls, info: Mapping[str, Any]) -> Report:
        """Read a `rate_limit_info` as it is in the CLI's frames (`RateLimitInfo.raw` in the SDK).

        Nothing is required of it but that it is an object: what is missing, or of another type, counts as not said.
        """
        windows = info.get("unifiedWindows")
        overage_status = _text(info.get("overageStatus"))
        status = _text(info.get("status")) or "allowed"
        begun = info.get("isUsingOverage") is True or info.get("overageInUse") is True
        return cls(
            status=status,
            window=_text(info.get("rateLimitType")),
            resets_at=_number(info.get("resetsAt")),
            utilization=_number(info.get("utilization")),
            windows={
                str(name): Window(
                    utilization=_number(window.get("utilization")),
                    resets_at=_number(window.get("resetsAt")),
                    status=_text(window.get("status")),
                )
                for name, window in (windows.items() if isinstance(windows, Mapping) else ())
                if isinstance(window, Mapping)
            },
            overage=Overage(
                is_in_use=begun or (status == "rejected" and overage_status in _SERVED),
                status=overage_status,
                resets_at=_number(info.get("overageResetsAt")),
                disabled_reason=_text(info.get("overageDisabledReason")),
            ),
            is_paused=info.get("dailyCapPaused") is True,
            needs_credits=info.get("errorCode") == "credits_required",
        )

    @property
    def is_of_subscription(self) -> bool:
        """Say whether this speaks of the subscription at all.

        The CLI writes `rejected` for every 429. One that names no window, no extra usage and no reason is a service
        that is busy, whatever reset it carries; the CLI's own text then says "not your usage limit".
        """
        return self.status != "rejected" or bool(
            self.window
            or self.overage["status"]
            or self.overage["disabled_reason"] not in _NO_REASON
            or self.is_paused
            or self.needs_credits
        )

    @property
    def is_reached(self) -> bool:
        """Say whether what the subscription includes is used up, even if extra usage goes on serving calls."""
        return self.is_of_subscription and (self.status == "rejected" or self.overage["is_in_use"])

    @property
    def is_of_one_model(self) -> bool:
        """Say whether another model could still be asked."""
        if self.window in _OF_ONE_MODEL or self.needs_credits:
            return True
        return self.overage["is_in_use"] and self.status != "rejected"


@dataclass(frozen=True, kw_only=True)
class Reached:
    """A limit that refuses calls now."""

    window: str | None
    resets_at: float | None
    """Unix seconds, as the CLI named it; None where it named none that can be."""
    until: float
    """Unix seconds from which calls are tried again."""
    is_overage: bool
    """Calls would be served, and billed as extra usage."""
    model: str | None
    """The one model it holds for; None for all."""

    def wait_s(self, now: float) -> float:
        """Return the seconds until calls are tried again."""
        return max(0.0, self.until - now)

    def sentence(self, now: float, *, tz: tzinfo | None = None) -> str:
        """Say to the user what is reached, until when, and how to go on; times in the local zone or `tz`."""
        name = _NAMES.get(self.window or "", "usage limit")
        begun = ", and extra usage, billed on top of it, has begun" if self.is_overage else ""
        if self.resets_at is not None:
            reset = f"it resets {_moment(self.resets_at, now=now, tz=tz)}"
        else:
            reset = f"when it resets is not known (the next try is in {_duration(self.wait_s(now))})"
        ways = [
            "wait with LITELLM_CLAUDE_CODE_ON_LIMIT=wait",
            *(["pay for extra usage with LITELLM_CLAUDE_CODE_ALLOW_OVERAGE=true"] if self.is_overage else []),
            *(["take another model"] if self.model else []),
            "pay with a key: `api_key=` on the call",
        ]
        return (
            f"The {name} of the Claude subscription is reached{begun}; {reset}. "
            f"Calls fail at once until then. To go on: {'; or '.join(ways)}."
        )


@dataclass(kw_only=True)
class _Account:
    """What is known of one login."""

    last: Report
    noted_at: float
    windows: dict[str, Window] = field(default_factory=dict)
    reached: dict[tuple[str | None, str | None], Reached] = field(default_factory=dict)


class Limits:
    """What the CLI said of each login's limits. Times are unix seconds."""

    def __init__(self) -> None:
        self._accounts: dict[Login, _Account] = {}

    def note(self, login: Login, info: Mapping[str, Any], now: float, *, model: str | None = None) -> Reached | None:
        """Take note of a `rate_limit_info` that came with a call of `model`; return the limit it reaches, if any.

        None for a 429 too, unless it is the subscription's: the service is busy then, which is `Flow`'s business.
        """
        report = Report.read(info)
        if not report.is_of_subscription:
            return None
        account = self._accounts.pop(login, None) or _Account(last=report, noted_at=now)
        self._accounts[login] = account  # the last one is the one heard of last
        account.last, account.noted_at = report, now
        account.windows.update(report.windows)
        if not report.is_reached:
            # Refuses nothing, but lifts nothing either: it may be the end of an answer that began before the limit.
            return None
        resets_at = report.resets_at
        if resets_at is not None and not now < resets_at <= now + _LONGEST_WINDOW_S:
            resets_at = None
        reached = Reached(
            window=report.window,
            resets_at=resets_at,
            until=now + UNKNOWN_RESET_S if resets_at is None else resets_at,
            is_overage=report.overage["is_in_use"],
            model=model if report.is_of_one_model else None,
        )
        account.reached[reached.window, reached.model] = reached
        return reached

    def refusal(
        self, login: Login, now: float, *, allow_overage: bool = False, model: str | None = None
    ) -> Reached | None:
        """Return the limit that refuses a call of `model` now, the one that lasts longest; None to let the call go.

        Extra usage refuses unless `allow_overage`. A limit is forgotten when its time has come.
        """
        holding = [
            reached
            for reached in self._in_force(login, now)
            if reached.model in (None, model) and not (allow_overage and reached.is_overage)
        ]
        return max(holding, key=lambda reached: reached.until, default=None)

    def forget(self, login: Login | None = None) -> None:
        """Forget what was said of a login, or of all: the plan was changed, say."""
        if login is None:
            self._accounts.clear()
        else:
            self._accounts.pop(login, None)

    def status(self, login: Login | None = None, *, now: float) -> LimitStatus:
        """Return what the CLI last said of `login`, by default of the login heard of last.

        It speaks only in answers to calls, so this is as old as `noted_at`. Windows that have ended are left out.
        """
        if login is None:
            login = next(reversed(self._accounts), None)
        account = self._accounts.get(login) if login is not None else None
        if login is None or account is None:
            nothing = Overage(is_in_use=False, status=None, resets_at=None, disabled_reason=None)
            return LimitStatus(status=None, window=None, utilization=None, resets_at=None, windows={}, overage=nothing,
                               reached=[], noted_at=None)  # fmt: skip
        last = account.last
        return LimitStatus(
            status=last.status,
            window=last.window,
            utilization=last.utilization,
            resets_at=last.resets_at,
            windows={name: window.copy() for name, window in account.windows.items() if _is_open(window, now)},
            overage=last.overage.copy(),
            reached=[
                Refused(window=r.window, model=r.model, resets_at=r.resets_at, until=r.until, is_overage=r.is_overage)
                for r in self._in_force(login, now)
            ],
            noted_at=account.noted_at,
        )

    def _in_force(self, login: Login, now: float) -> list[Reached]:
        account = self._accounts.get(login)
        if account is None:
            return []
        account.reached = {key: reached for key, reached in account.reached.items() if reached.until > now}
        return list(account.reached.values())


def sentences(status: LimitStatus, now: float, *, tz: tzinfo | None = None) -> list[str]:
    """Say to the user, a sentence for each window, what the CLI last said of a login's limits; empty if nothing."""
    windows = dict(status["windows"])
    if status["window"] is not None:
        windows.setdefault(
            status["window"],
            Window(utilization=status["utilization"], resets_at=status["resets_at"], status=status["status"]),
        )
    said = []
    for name, window in windows.items():
        used = "" if window["utilization"] is None else f"{window['utilization']:.0%} used"
        is_reached = any(reached["window"] == name for reached in status["reached"])
        resets = "" if window["resets_at"] is None else f"resets {_moment(window['resets_at'], now=now, tz=tz)}"
        parts = [*(["reached"] if is_reached else []), used, resets]
        said.append(f"{_NAMES.get(name, name)}: {', '.join(filter(None, parts)) or 'nothing more was said'}")
    if status["overage"]["is_in_use"]:
        said.append("extra usage, billed on top of the subscription, has begun")
    return said


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


def _is_open(window: Window, now: float) -> bool:
    return window["resets_at"] is None or window["resets_at"] > now


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def _moment(at: float, *, now: float, tz: tzinfo | None) -> str:
    when, today = datetime.fromtimestamp(at, tz), datetime.fromtimestamp(now, tz)
    day = "" if when.date() == today.date() else f"on {when:%Y-%m-%d} "
    return f"{day}at {when:%H:%M} (in {_duration(max(0.0, at - now))})"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{math.ceil(seconds)} s"
    minutes = math.ceil(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"
