"""Keep requests from the programs that AWS's `credential_process` names.

During a call the request is a variable in the Claude Code process's environment, and the AWS SDK in it starts such a
program whenever it needs a credential (seen during a call with CLI 2.1.327). So a process reads copies of the AWS files
in which each of these commands first unsets the variable. A file without such a command is not copied.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ..trusted import replace_file
from .folders import private_folder

_FILES: Final = {"AWS_CONFIG_FILE": "config", "AWS_SHARED_CREDENTIALS_FILE": "credentials"}
"""The variables that name the AWS files, and the files' names in `~/.aws`."""
_COMMAND: Final = re.compile(r"^(\s*credential_process\s*=\s*)(?=\S)", re.IGNORECASE | re.MULTILINE)
_UNSET: Final = r"\1unset CLAUDE_CODE_EXTRA_BODY; "


def without_request(environment: Mapping[str, str]) -> dict[str, str]:
    """Return a process's environment in which AWS's credential programs do not see the request.

    A changed file is noticed when the next process starts.
    """
    return {**environment, **{name: str(copy) for name in _FILES if (copy := _copy(name, environment)) is not None}}


def _copy(name: str, environment: Mapping[str, str]) -> Path | None:
    """Return a private copy of an AWS file, or None if it has no credential program."""
    home = environment.get("HOME")
    file = Path(environment.get(name) or Path(home or Path.home(), ".aws", _FILES[name])).expanduser()
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError):
        return None
    changed = _COMMAND.sub(_UNSET, text)
    if changed == text:
        return None
    copy = private_folder() / f"aws-{hashlib.sha256(changed.encode()).hexdigest()[:16]}"
    if not copy.exists():
        replace_file(copy, changed)
    return copy
