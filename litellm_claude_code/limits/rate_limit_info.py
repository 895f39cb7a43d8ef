"""Parse what the CLI reports about a subscription's limits.

There are two sources: the `rate_limit_info` that comes with a call, and the reply to a `get_usage` request. This module
only parses; `subscription.py` decides. The shapes are those of CLI 2.1.327. The first was observed against the
stand-in. The second is the CLI's own schema of a reply that partly comes from Anthropic's servers.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypedDict

_OF_ONE_MODEL: Final = frozenset({"seven_day_opus", "seven_day_sonnet", "seven_day_overage_included"})
_WINDOWS: Final = ("five_hour", "seven_day", "seven_day_opus", "seven_day_sonnet")
_SERVED: Final = ("allowed", "allowed_warning")
_NO_REASON: Final = (None, "fetch_error", "unknown")


class Window(TypedDict):
    """How much of one window of a limit is used."""

    utilization: float | None
    """Fraction of the window. May exceed 1."""
    resets_at: float | None
    """Unix seconds."""
    status: str | None
    """`allowed`, `allowed_warning` or `rejected`. A rejected window alone does not mean that calls are refused."""


class Overage(TypedDict):
    """Extra usage, which is billed on top of the subscription."""

    is_in_use: bool
    is_enabled: bool | None
    """Whether extra usage is switched on in the account; None if the CLI did not report it."""
    status: str | None
    resets_at: float | None
    """Unix seconds."""
    disabled_reason: str | None
    """The CLI's reason why there is no extra usage: `org_level_disabled`, `out_of_credits`…"""


def overage(*, is_in_use: bool = False, is_enabled: bool | None = None) -> Overage:
    """Return extra usage of which the CLI has reported no more than this."""
    return Overage(is_in_use=is_in_use, is_enabled=is_enabled, status=None, resets_at=None, disabled_reason=None)


def info_of_error(frame: Mapping[str, Any], known: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the `rate_limit_info` that was `known`, updated by that of an error's frame. None if both are missing.

    CLI 2.1.327 does not repeat a `rate_limit_event` for a limit that it has already reported.
    """
    info = (frame.get("api_error_params") or {}).get("rate_limit_info") or {}
    return {**(known or {}), **info} or None


@dataclass(frozen=True, kw_only=True)
class RateLimitInfo:
    """A parsed report about the limits: a `rate_limit_info` or a reply to `get_usage`."""

    status: str
    window: str | None
    resets_at: float | None
    utilization: float | None
    windows: Mapping[str, Window]
    overage: Overage
    is_paused: bool = False
    needs_credits: bool = False

    @classmethod
    def read(cls, info: Mapping[str, Any]) -> RateLimitInfo:
        """Parse a `rate_limit_info` from the CLI's frames (`RateLimitInfo.raw` in the SDK).

        Any object is accepted: a field that is missing or has the wrong type is treated as not reported.
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
                is_enabled=_flag(info.get("overageEnabled")),
                status=overage_status,
                resets_at=_number(info.get("overageResetsAt")),
                disabled_reason=_text(info.get("overageDisabledReason")),
            ),
            is_paused=info.get("dailyCapPaused") is True,
            needs_credits=info.get("errorCode") == "credits_required",
        )

    @classmethod
    def of_usage(cls, reply: Mapping[str, Any]) -> RateLimitInfo | None:
        """Parse the reply to a `get_usage` request. Return None if the reply has no limits (setup-token accounts).

        A full window alone does not count as a reached limit: only the API refuses calls. But if extra usage is
        switched on as well, calls go on and are billed, so the limit counts as reached.
        """
        limits = reply.get("rate_limits")
        if not isinstance(limits, Mapping):
            return None
        windows = {name: _usage_of(limits[name]) for name in _WINDOWS if isinstance(limits.get(name), Mapping)}
        extra = limits.get("extra_usage")
        is_enabled = _flag(extra.get("is_enabled")) if isinstance(extra, Mapping) else None
        for_all = {name: window for name, window in windows.items() if name not in _OF_ONE_MODEL}
        fullest = max(for_all, key=lambda name: (for_all[name]["utilization"] or 0, name), default=None)
        first = for_all[fullest] if fullest else None
        is_full = first is not None and (first["utilization"] or 0) >= 1
        return cls(
            status="allowed" if not is_full else "rejected" if is_enabled else "allowed_warning",
            window=fullest,
            resets_at=first["resets_at"] if first else None,
            utilization=first["utilization"] if first else None,
            windows=windows,
            overage=overage(is_in_use=is_full and is_enabled is True, is_enabled=is_enabled),
        )

    @property
    def is_of_subscription(self) -> bool:
        """Return whether this is about the subscription rather than an ordinary 429.

        The CLI reports `rejected` for every 429. If it names no window, no extra usage and no reason, the API is just
        busy, even if there is a reset time. The CLI's own text then says "not your usage limit".
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
        """Return whether the usage included in the subscription is used up, even if extra usage still serves calls."""
        return self.is_of_subscription and (self.status == "rejected" or self.overage["is_in_use"])

    @property
    def is_of_one_model(self) -> bool:
        """Return whether the limit holds for one model only, so that calls of another model may still go through."""
        if self.window in _OF_ONE_MODEL or self.needs_credits:
            return True
        return self.overage["is_in_use"] and self.status != "rejected"


def _usage_of(window: Mapping[str, Any]) -> Window:
    percent, resets_at = _number(window.get("utilization")), None
    with contextlib.suppress(ValueError):
        resets_at = datetime.fromisoformat((_text(window.get("resets_at")) or "").replace("Z", "+00:00")).timestamp()
    return Window(utilization=None if percent is None else percent / 100, resets_at=resets_at, status=None)


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)
