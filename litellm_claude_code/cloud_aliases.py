"""What the CLI's aliases mean on each cloud, as far as the CLI was asked today (`process/aliases.py`).

Imports no SDK: litellm asks for a model's parameters while this package is imported.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from .cache import recall, remember
from .clouds import CLOUDS
from .login import Login
from .models import ALIASES

_REMEMBERED: Final = "cloud_models"
_DAY: Final = len("2026-01-01")
_known: dict[str, dict[str, str]] = {}


def with_known(login: Login) -> Login | None:
    """Return a cloud's login with what the aliases mean on it, or None if the CLI has to be asked."""
    key = identity(login)
    table = _known.get(key) or _recalled(key)
    if table is None:
        return None
    _known[key] = table
    return _with(login, table)


def note(login: Login, table: Mapping[str, str]) -> Login:
    """Save what the aliases mean for a day, also for later Python processes, and return the login with it."""
    key = identity(login)
    _known[key] = dict(table)
    noted = recall(_REMEMBERED, dict)
    today = {other: value for other, value in noted.items() if other[:_DAY] == key[:_DAY]}
    remember(_REMEMBERED, {**today, key: dict(table)})
    return _with(login, table)


def identity(login: Login) -> str:
    """Return the day, and a hash of all that decides what an alias means. No secret is in it."""
    assert login.cloud is not None
    cloud = CLOUDS[login.cloud]
    deciding = sorted((name, value) for name, value in login.place or () if cloud.resolves_by(name))
    digest = hashlib.sha256(json.dumps([cloud.name, deciding]).encode()).hexdigest()
    return f"{datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat()} {digest}"


def _with(login: Login, table: Mapping[str, str]) -> Login:
    return replace(login, models=tuple(sorted(table.items())))


def _recalled(key: str) -> dict[str, str] | None:
    table = recall(_REMEMBERED, dict).get(key)
    if not isinstance(table, dict) or not all(isinstance(table.get(alias), str) for alias in ALIASES):
        return None
    return {alias: table[alias] for alias in ALIASES}
