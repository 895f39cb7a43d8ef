"""Whether the Claude Code CLI that is there does what this package relies on, proved on loopback.

Two workers serve a dozen calls that the stand-in answers; what it saw is compared with what was asked. No login takes
part, and nothing leaves the machine.

`check.py` says when a check is due, `run.py` makes one, `report.py` words what came of it; `bench.py` has calls served,
`wire_checks.py` says which and what must come of them, `differences.py` compares, `policies.py` reads managed settings.
"""

from .check import ensure_checked
from .report import Report
from .run import self_check

__all__ = ["Report", "ensure_checked", "self_check"]
