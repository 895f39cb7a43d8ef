"""The betas that a client asks for in `anthropic-beta`, and that have no effect: Claude Code sends its own.

What a beta adds to a body is refused by name, as any other unknown field. A beta that adds no field would be dropped
without a word, so the response and the log name it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import Final

from ..translation.request import SENT_BETAS

_log: Final = logging.getLogger(__name__)
_BETA: Final = re.compile(rb"[a-z0-9][a-z0-9.-]{0,79}")
_MOST: Final = 100


class Betas:
    """Names the betas without effect, and logs each once."""

    def __init__(self) -> None:
        self._logged: set[str] = set()

    def ignored(self, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """Return the request's betas that Claude Code does not send, separated by commas."""
        given = [part.strip() for name, value in headers if name == b"anthropic-beta" for part in value.split(b",")]
        names = {part.decode() for part in given[:_MOST] if _BETA.fullmatch(part)} - SENT_BETAS
        for name in sorted(names - self._logged)[: _MOST - len(self._logged)]:
            self._logged.add(name)
            _log.info("The beta %s has no effect on claude_code/ models: Claude Code sends its own betas.", name)
        return ", ".join(sorted(names))
