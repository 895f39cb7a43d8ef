"""The profiles of this Python process, by name; from code, or from a TOML file.

A file holds a table for each profile, with the fields of `Profile`; paths in it are relative to the file:

    [reviewer]
    tools = ["Read", "Grep"]
    cwd = "../repository"
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from litellm.exceptions import NotFoundError

from .. import models
from ..models import PROVIDER
from ..settings import PROFILES_VARIABLE
from .profile import Profile, ProfileError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PATHS: Final = ("cwd",)
_LISTS_OF_PATHS: Final = ("add_dirs", "plugins")

_profiles: dict[str, Profile] = {}
_loaded: set[str] = set()


def add(profile: Profile) -> None:
    """Make a profile known, in place of one of the same name."""
    _profiles[profile.name] = profile
    models.register_profiles(_profiles)


def clear() -> None:
    """Forget every profile; the environment's files are read again by the next use."""
    _profiles.clear()
    _loaded.clear()


def find(name: str, *, model: str) -> Profile:
    """Return the profile of that name. Raises `NotFoundError`, which lists those there are."""
    load_from_environment()
    if name in _profiles:
        return _profiles[name]
    known = ", ".join(f"'{each}'" for each in sorted(_profiles)) or "none"
    raise NotFoundError(
        f"There is no agent profile '{name}'. Defined here: {known}. Define it where it runs, with "
        f"litellm_claude_code.profile({name!r}, …) or in a file that {PROFILES_VARIABLE} names.",
        model=model,
        llm_provider=PROVIDER,
    )


def known_profiles() -> dict[str, Profile]:
    """Return the profiles there are, by name; those of the environment's file are read by the first use."""
    load_from_environment()
    return dict(_profiles)


def load_from_environment() -> None:
    """Read the files that `LITELLM_CLAUDE_CODE_PROFILES` names (separated as in PATH), each once.

    Raises `ProfileError`, as `read_profiles` does.
    """
    for path in filter(None, os.environ.get(PROFILES_VARIABLE, "").split(os.pathsep)):
        if path not in _loaded:
            for profile in read_profiles(path):
                # What code has defined by that name goes before.
                _profiles.setdefault(profile.name, profile)
            _loaded.add(path)
            models.register_profiles(_profiles)


def read_profiles(path: str | os.PathLike[str]) -> list[Profile]:
    """Return the profiles of a TOML file. Raises `ProfileError`, with a sentence for each mistake in it."""
    file = Path(path)
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ProfileError(f"The profiles in {file} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise ProfileError(f"The profiles in {file} are not TOML: {error}.") from None
    found, mistakes = [], []
    with _importable(file.parent.resolve()):
        for name, table in tables.items():
            made = _made(name, table, folder=file.parent.resolve())
            if isinstance(made, Profile):
                found.append(made)
            else:
                mistakes.append(str(made))
    if mistakes:
        raise ProfileError(f"In {file}: " + " ".join(mistakes))
    return found


def _made(name: str, table: object, *, folder: Path) -> Profile | ProfileError:
    if not isinstance(table, dict):
        return ProfileError(f"'{name}' is no table: a profile begins with [{name}].")
    try:
        return Profile.checked(**_resolved({**table, "name": name}, folder))
    except ProfileError as error:
        return error


def _resolved(table: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the table with its paths taken from the file's own folder."""
    fields = dict(table)
    for key in _PATHS:
        if isinstance(fields.get(key), str):
            fields[key] = folder / fields[key]
    for key in _LISTS_OF_PATHS:
        if isinstance(fields.get(key), list):
            fields[key] = [folder / one if isinstance(one, str) else one for one in fields[key]]
    return fields


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let "module:name" in a file mean a module beside it."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
