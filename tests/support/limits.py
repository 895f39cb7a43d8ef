"""A subscription's limits as the API and the usage endpoint report them."""

from __future__ import annotations

import time
from typing import Any

from litellm_claude_code.testing import Failure

NAMES = "anthropic-ratelimit-unified-"
_EXTRA = {"is_enabled": True, "monthly_limit": 5_000, "used_credits": 0.0, "utilization": 0.0, "currency": "USD"}


def limited(resets_in_s: float, claim: str = "five_hour") -> Failure:
    """Return the 429 for a reached limit."""
    reset = str(int(time.time() + resets_in_s))
    headers = {f"{NAMES}status": "rejected", f"{NAMES}reset": reset, f"{NAMES}representative-claim": claim}
    return Failure(429, headers=headers)


def usage(percent: float, *, extra: bool = True) -> dict[str, Any]:
    """Return an answer to `GET /api/oauth/usage` in which `percent` of the 5-hour window is used."""
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3_600))
    window = {"utilization": percent, "resets_at": soon}
    return {
        "five_hour": window,
        "seven_day": {**window, "utilization": 30},
        "extra_usage": {**_EXTRA, "is_enabled": extra},
    }
