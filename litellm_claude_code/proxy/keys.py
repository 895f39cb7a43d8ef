"""The users of `--keys FILE`: each has a key, limits of their own, and a usage that outlives the server.

The file has only the hashes of the keys. The usage of today (UTC) is in a second file beside it, which one server at a
time writes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import filelock
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..trusted import replace_file
from .config import ConfigError
from .records import Record
from .refused import Refused

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_DAY_S: Final = 86400
_NAME: Final = re.compile(r"[\w.@-]{1,64}", re.ASCII)
_READABLE_BY_OTHERS: Final = 0o077


class User(BaseModel):
    """One table of the file. A limit that is not set does not apply."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """The SHA-256 hash of the key, in hexadecimal digits."""
    max_requests: Annotated[int, Field(ge=1)] | None = None
    """The maximum number of model requests in progress or waiting."""
    max_requests_per_day: Annotated[int, Field(ge=0)] | None = None
    max_usd_per_day: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """No request begins once this much is spent. Those that have begun are finished."""


def read(path: Path) -> dict[str, User]:
    """Return the users in a file by name. Raises `ConfigError` with one sentence about what to change."""
    try:
        with path.open("rb") as file:
            if os.name == "posix" and os.fstat(file.fileno()).st_mode & _READABLE_BY_OTHERS:
                raise ConfigError(f"Other users of this machine can read or change {path}. Run: chmod 600 {path}")
            tables = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"Cannot read {path}: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from None
    if not tables:
        raise ConfigError(f"{path} has no users. Add a table such as [alice] with `key_sha256`.")
    users = {name: _user(path, name, table) for name, table in tables.items()}
    if len({user.key_sha256 for user in users.values()}) < len(users):
        raise ConfigError(f"Two users in {path} have the same key. Give each user a key.")
    return users


def _user(path: Path, name: str, table: object) -> User:
    if not _NAME.fullmatch(name) or not isinstance(table, dict):
        raise ConfigError(f"{path}: {name!r} must be a table, [name], with a name of letters, digits and . _ @ -.")
    try:
        return User.model_validate(table, strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            fields = ", ".join(User.model_fields)
            raise ConfigError(f"{path}, [{name}]: there is no field `{where}`. Use {fields}.") from None
        raise ConfigError(f"{path}, [{name}], `{where}`: {first['msg']}.") from None


class Users:
    """Finds the user of a key, and counts and limits what each does. `clock` returns unix seconds."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._users = read(path)
        self._clock = clock
        self._in_progress = dict.fromkeys(self._users, 0)
        self._file = path.with_suffix(".usage.json")
        self._lock = filelock.FileLock(self._file.with_suffix(".lock"))
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            raise ConfigError(f"Another server uses {path}. Give each server a file of its own.") from None
        except OSError as error:
            raise ConfigError(f"Cannot write beside {path}: {error.strerror}. The usage is kept there.") from None
        self._day, self._usage = self._recall()
        self._save()

    def close(self) -> None:
        """Let another server use the file."""
        self._lock.release()

    def has_dollar_limits(self) -> bool:
        """Return whether any user has a limit of dollars."""
        return any(user.max_usd_per_day is not None for user in self._users.values())

    def find(self, keys: Iterable[bytes]) -> str | None:
        """Return the name of the user who has one of these keys. The time it takes does not depend on the keys."""
        found = None
        for key in keys:
            digest = hashlib.sha256(key).hexdigest()
            for name, user in self._users.items():
                if secrets.compare_digest(digest, user.key_sha256):
                    found = name
        return found

    def check(self, name: str, weight: int) -> None:
        """Raise `Refused` if `weight` more model requests would exceed a limit of a user."""
        user, usage = self._users[name], self._today()[name]
        now = self._clock()
        until_midnight_s = int(_DAY_S - now % _DAY_S) + 1
        if user.max_usd_per_day is not None and usage["usd"] >= user.max_usd_per_day:
            text = f"Your limit of {user.max_usd_per_day:g} dollars a day is reached. It resets at midnight UTC."
            raise Refused(429, text, retry_after_s=until_midnight_s)
        if user.max_requests_per_day is not None and usage["requests"] + weight > user.max_requests_per_day:
            text = f"Your limit of {user.max_requests_per_day} requests a day is reached. It resets at midnight UTC."
            raise Refused(429, text, retry_after_s=until_midnight_s)
        if user.max_requests is not None and self._in_progress[name] + weight > user.max_requests:
            text = f"You have {self._in_progress[name]} requests in progress, and {user.max_requests} are allowed."
            raise Refused(429, text, retry_after_s=1)

    def begin(self, name: str, weight: int) -> None:
        """Count `weight` model requests of a user as in progress."""
        self._in_progress[name] += weight
        self._today()[name]["requests"] += weight
        self._save()

    def release(self, name: str, weight: int) -> None:
        """Count `weight` model requests of a user as no longer in progress."""
        self._in_progress[name] -= weight

    def note(self, record: Record) -> None:
        """Add the tokens and the cost of a request that has ended to its user's usage."""
        if record.user is None or not (record.tokens_in or record.tokens_out):
            return
        usage = self._today()[record.user]
        usage["tokens_in"] += record.tokens_in
        usage["tokens_out"] += record.tokens_out
        usage["usd"] += record.cost_usd
        self._save()

    def usage(self) -> Mapping[str, Mapping[str, float]]:
        """Return today's usage of each user."""
        return self._today()

    def _today(self) -> dict[str, dict[str, float]]:
        day = int(self._clock() // _DAY_S)
        if day != self._day:
            self._day, self._usage = day, {name: _nothing() for name in self._users}
        return self._usage

    def _recall(self) -> tuple[int, dict[str, dict[str, float]]]:
        """Return the day and the usage in the file, or none if it is of another day or not there."""
        day = int(self._clock() // _DAY_S)
        usage = {name: _nothing() for name in self._users}
        try:
            kept: Any = json.loads(self._file.read_text())
            if kept["day"] == day:
                for name in usage.keys() & kept["usage"].keys():
                    usage[name] |= {what: kept["usage"][name][what] + 0 for what in usage[name]}
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise ConfigError(f"{self._file} is not a file of usage. Remove it to count from zero.") from None
        return day, usage

    def _save(self) -> None:
        replace_file(self._file, json.dumps({"day": self._day, "usage": self._usage}))


def _nothing() -> dict[str, float]:
    return {"requests": 0, "tokens_in": 0, "tokens_out": 0, "usd": 0.0}
