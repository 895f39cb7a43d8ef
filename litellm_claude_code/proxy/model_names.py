"""The model names of a server: those of its configuration, and with `--models any` old ids of the same families.

Some programs have ids such as `claude-3-5-sonnet-20241022` built in. This module does no I/O but the log.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import Final

from ..models import PROVIDER

_log: Final = logging.getLogger(__name__)
_FAMILY: Final = re.compile(r"claude\b.*\b(opus|sonnet|haiku|fable)\b", re.IGNORECASE)
_MOST_WARNINGS: Final = 100


class ModelNames:
    """The names that clients may use. With `takes_any`, other Claude ids stand for the current model of the family."""

    def __init__(self, names: Iterable[str] = (), *, takes_any: bool = False) -> None:
        self._names = frozenset(names)
        self._takes_any = takes_any
        self._warned: set[str] = set()

    def resolve(self, name: str) -> str:
        """Return the name to use for a client's name, with a warning in the log when it is another one."""
        family = _FAMILY.search(name) if self._takes_any and self.listed(name) is None else None
        if family is None or family[1].lower() not in self._names:
            return name
        current = family[1].lower()
        if name not in self._warned and len(self._warned) < _MOST_WARNINGS:
            self._warned.add(name)
            _log.warning("This server has no model %s. Requests for it get %s, because of --models any.", name, current)
        return current

    def listed(self, name: str) -> str | None:
        """Return the name as the log and the metrics may show it, or None: a client can put any text there."""
        short = name.removeprefix(f"{PROVIDER}/")
        return next((known for known in (name, short) if known in self._names), None)
