"""The versions of dependencies that this package was tested with. `doctor` and the docs use this list.

`make upstream` runs the tests with newer versions. Add the versions that pass. An unlisted version may work, too: the
self-check tests the Claude Code CLI on the user's machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

CLI_BY_SDK: Final[Mapping[str, str]] = {"0.2.170": "2.1.306", "0.2.184": "2.1.327", "0.2.187": "2.1.330"}
"""Versions of claude-agent-sdk, oldest first, with the CLI version in the wheel.

0.2.160 and older fail the self-check. 0.2.170 was tested only with the self-check."""
TESTED: Final[Mapping[str, tuple[str, ...]]] = {
    "litellm": ("1.106.2", "1.109.1"),
    "dspy": ("3.3.1", "3.4.1"),
    "claude-agent-sdk": tuple(CLI_BY_SDK),
}
"""Tested versions of each package, oldest first."""
COMPROMISED: Final[Mapping[str, tuple[str, ...]]] = {"litellm": ("1.107.0",)}
"""Releases that contained malicious code. PyPI has removed them, but a mirror or a cache may still have them."""


def remark(name: str, version: str) -> str:
    """Return a sentence about an untested version. Empty for a tested version or an unknown package."""
    tested = TESTED.get(name)
    if not tested or version in tested:
        return ""
    if _numbers(version) > _numbers(tested[-1]):
        return f"{name} {version} is newer than the last tested version, {tested[-1]}."
    if _numbers(version) < _numbers(tested[0]):
        return f"{name} {version} is older than the oldest tested version, {tested[0]}."
    return f"{name} {version} is between the tested versions {', '.join(tested)}."


def warning(name: str, version: str) -> str:
    """Return what to do about a compromised release. Empty for all others."""
    if version not in COMPROMISED.get(name, ()):
        return ""
    return (
        f"{name} {version} was a compromised release. Install another version, and replace every key and login "
        "that this machine's programs could read."
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
