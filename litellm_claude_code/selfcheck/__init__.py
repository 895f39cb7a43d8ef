"""The self-check: a test on loopback that the Claude Code CLI in use does what this package relies on.

Workers serve about fifteen calls, which a stand-in for the API answers. The requests that the stand-in received are
compared with the calls. No real login is used, and nothing leaves the machine.

- `check.py` decides whether a self-check is due, `run.py` runs it, and `report.py` formats the result.
- `wire_checks.py` defines the checks, `bench.py` runs their calls, and `differences.py` compares request and call.
- `policies.py` reads managed settings, which may explain a problem.

This package imports `run.py` only if a self-check is due: that imports the SDK, which takes half a second.
"""

from .check import ensure_checked, is_check_due
from .report import Report

__all__ = ["Report", "ensure_checked", "is_check_due"]
