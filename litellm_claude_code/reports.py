"""What the CLI says of a subscription's limits, read: `rate_limit_info` in the frames of a call.

Nothing is decided here. The shapes were seen with CLI 2.1.327 against the stand-in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypedDict

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


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)
