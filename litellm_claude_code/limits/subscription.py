"""Decide whether a subscription's limits let a call start now, from what the CLI last reported.

No I/O; the time is passed in. `rate_limit_info.py` parses the CLI's reports. The pool passes them here and holds calls
back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any, Final, TypedDict

from ..login import Login
from .rate_limit_info import Overage, RateLimitInfo, Window, overage

UNKNOWN_RESET_S: Final = 60.0
"""How long a limit refuses calls if the CLI reports no reset, or an implausible one. Then calls are tried again."""
_LONGEST_WINDOW_S: Final = 32 * 24 * 3600.0

_NAMES: Final = {
    "five_hour": "5-hour limit",
    "seven_day": "weekly limit",
    "seven_day_opus": "weekly Opus limit",
    "seven_day_sonnet": "weekly Sonnet limit",
    "seven_day_overage_included": "weekly limit for this model",
    "overage": "limit on extra usage",
}


class Refused(TypedDict):
    """A limit in force. It refuses calls of `model` (None: of every model) until `until`, in unix seconds."""

    window: str | None
    model: str | None
    resets_at: float | None
    until: float
    is_overage: bool


class LimitStatus(TypedDict):
    """The limits of a login as the CLI last reported them, and those that refuse calls now. Times are unix seconds."""

    status: str | None
    """`allowed`, `allowed_warning` or `rejected`; None before the first report."""
    window: str | None
    """The window that `status` is about: `five_hour`, `seven_day`, `seven_day_opus`, `seven_day_sonnet`, `overage`…"""
    utilization: float | None
    resets_at: float | None
    windows: dict[str, Window]
    overage: Overage
    reached: list[Refused]
    noted_at: float | None


@dataclass(frozen=True, kw_only=True)
class ReachedLimit:
    """A limit that refuses calls now."""

    window: str | None
    resets_at: float | None
    """The CLI's reset time in unix seconds; None if it reported no plausible one."""
    until: float
    """When calls are tried again, in unix seconds."""
    is_overage: bool
    """Whether the API would still serve calls, and bill them as extra usage."""
    model: str | None
    """The only model that the limit holds for, or None for all models."""

    def wait_s(self, now: float) -> float:
        """Return the seconds until calls are tried again."""
        return max(0.0, self.until - now)

    def sentence(self, now: float, *, tz: tzinfo | None = None) -> str:
        """Return the error message: which limit is reached, until when, and how to continue.

        Times are in `tz`, by default the local zone.
        """
        name = _NAMES.get(self.window or "", "usage limit")
        begun = ", and extra usage, billed on top of it, has begun" if self.is_overage else ""
        if self.resets_at is not None:
            reset = f"it resets {_moment(self.resets_at, now=now, tz=tz)}"
        else:
            reset = f"its reset time is unknown (the next try is in {_duration(self.wait_s(now))})"
        ways = [
            "set LITELLM_CLAUDE_CODE_ON_LIMIT=wait to wait for the reset",
            *(["set LITELLM_CLAUDE_CODE_ALLOW_OVERAGE=true to pay for extra usage"] if self.is_overage else []),
            *(["use another model"] if self.model else []),
            "pay with a key by giving the call `api_key=`",
        ]
        return (
            f"The {name} of the Claude subscription is reached{begun}; {reset}. "
            f"Calls fail at once until then. To continue, {', or '.join(ways)}."
        )


@dataclass(kw_only=True)
class _Account:
    """The reports about one login."""

    last: RateLimitInfo
    noted_at: float
    windows: dict[str, Window] = field(default_factory=dict)
    reached: dict[tuple[str | None, str | None], ReachedLimit] = field(default_factory=dict)


class SubscriptionLimits:
    """Each login's limits, as the CLI reported them. Times are unix seconds."""

    def __init__(self) -> None:
        self._accounts: dict[Login, _Account] = {}

    def note(
        self, login: Login, info: Mapping[str, Any], now: float, *, model: str | None = None
    ) -> ReachedLimit | None:
        """Store the `rate_limit_info` of a call of `model`, and return the limit that it reports as reached, or None.

        Returns None, too, for an ordinary 429: the API is busy then, and `ConcurrencyLimiter` handles it.
        """
        report = RateLimitInfo.read(info)
        return self._note(login, report, now, model=model) if report.is_of_subscription else None

    def note_usage(self, login: Login, reply: Mapping[str, Any], now: float) -> ReachedLimit | None:
        """Store a reply to `get_usage`. Return the limit reached if the next call would be billed as extra usage."""
        report = RateLimitInfo.of_usage(reply)
        return self._note(login, report, now, model=None) if report is not None else None

    def _note(self, login: Login, report: RateLimitInfo, now: float, *, model: str | None) -> ReachedLimit | None:
        account = self._accounts.pop(login, None) or _Account(last=report, noted_at=now)
        self._accounts[login] = account  # dicts keep insertion order: the most recently updated login comes last
        account.last, account.noted_at = report, now
        account.windows.update(report.windows)
        if not report.is_reached:
            # Do not lift a limit either: the report may come from a call that started before the limit was reached.
            return None
        resets_at = report.resets_at
        if resets_at is not None and not now < resets_at <= now + _LONGEST_WINDOW_S:
            resets_at = None
        reached = ReachedLimit(
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
    ) -> ReachedLimit | None:
        """Return the limit that refuses a call of `model` now, or None. Of several, return the one that lasts longest.

        A limit after which calls are billed as extra usage refuses them, too, unless `allow_overage` is set. A limit is
        dropped once its `until` has passed.
        """
        holding = [
            reached
            for reached in self._in_force(login, now)
            if reached.model in (None, model) and not (allow_overage and reached.is_overage)
        ]
        return max(holding, key=lambda reached: reached.until, default=None)

    def status(self, login: Login | None = None, *, now: float) -> LimitStatus:
        """Return the CLI's last report about `login`, by default about the most recently updated one.

        The report is from `noted_at`. Windows that have ended are left out.
        """
        if login is None:
            login = next(reversed(self._accounts), None)
        account = self._accounts.get(login) if login is not None else None
        if login is None or account is None:
            return LimitStatus(status=None, window=None, utilization=None, resets_at=None, windows={},
                               overage=overage(), reached=[], noted_at=None)  # fmt: skip
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

    def _in_force(self, login: Login, now: float) -> list[ReachedLimit]:
        account = self._accounts.get(login)
        if account is None:
            return []
        account.reached = {key: reached for key, reached in account.reached.items() if reached.until > now}
        return list(account.reached.values())


def sentences(status: LimitStatus, now: float, *, tz: tzinfo | None = None) -> list[str]:
    """Format a status for the user: one line for each window, and one if extra usage is in use or switched on."""
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
        said.append(f"{_NAMES.get(name, name)}: {', '.join(filter(None, parts)) or 'no details'}")
    if status["overage"]["is_in_use"]:
        said.append("extra usage, billed on top of the subscription, has begun")
    elif status["overage"]["is_enabled"]:
        said.append("extra usage, billed on top of the subscription, is enabled for the account")
    return said


def _is_open(window: Window, now: float) -> bool:
    return window["resets_at"] is None or window["resets_at"] > now


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
