"""What the CLI says of a subscription's limits, read: with a call (`rate_limit_info`), or when asked (`get_usage`).

Nothing is decided here. The shapes are those of CLI 2.1.327: the first was seen against the stand-in, the second is the
CLI's own schema of a reply that Anthropic's servers have a part in.
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
    is_enabled: bool | None
    """Whether the account has it switched on; None where the CLI did not tell."""
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
                is_enabled=_flag(info.get("overageEnabled")),
                status=overage_status,
                resets_at=_number(info.get("overageResetsAt")),
                disabled_reason=_text(info.get("overageDisabledReason")),
            ),
            is_paused=info.get("dailyCapPaused") is True,
            needs_credits=info.get("errorCode") == "credits_required",
        )

    @classmethod
    def of_usage(cls, told: Mapping[str, Any]) -> Report | None:
        """Read the reply to a `get_usage` request; None where it tells nothing, as of a token's account.

        A window that is full does not refuse calls here: that is the service's to say. But where extra usage is
        switched on as well, it serves them, and bills them.
        """
        limits = told.get("rate_limits")
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
            overage=Overage(
                is_in_use=is_full and is_enabled is True,
                is_enabled=is_enabled,
                status=None,
                resets_at=None,
                disabled_reason=None,
            ),
            is_paused=False,
            needs_credits=False,
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
