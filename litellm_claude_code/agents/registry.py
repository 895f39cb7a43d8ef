"""The agent profiles of this Python process, by name, defined in code or in a TOML file.

A file has one table for each profile, with the fields of `Profile`. Paths are relative to the file:

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

_LISTS_OF_PATHS: Final = ("add_dirs", "plugins")

_profiles: dict[str, Profile] = {}
_loaded: set[str] = set()


def add(profile: Profile) -> None:
    """Register a profile. It replaces a profile of the same name."""
    _profiles[profile.name] = profile
    models.register_profiles(_profiles)


def clear() -> None:
    """Remove all profiles. The files named in the environment are read again when a profile is next looked up."""
    _profiles.clear()
    _loaded.clear()


def find(name: str, *, model: str) -> Profile:
    """Return the profile with this name. Raises `NotFoundError` with a list of the known profiles."""
    load_from_environment()
    if name in _profiles:
        return _profiles[name]
    known = ", ".join(f"'{each}'" for each in sorted(_profiles)) or "none"
    raise NotFoundError(
        f"There is no agent profile '{name}'; the defined profiles are: {known}. Define it with "
        f"litellm_claude_code.profile({name!r}, …), or in a file that {PROFILES_VARIABLE} names.",
        model=model,
        llm_provider=PROVIDER,
    )


def known_profiles() -> dict[str, Profile]:
    """Return all profiles by name, including those in the files that the environment names."""
    load_from_environment()
    return dict(_profiles)


def load_from_environment() -> None:
    """Read each file in `LITELLM_CLAUDE_CODE_PROFILES` once. The paths are separated as in PATH.

    Raises `ProfileError`, as `read_profiles` does.
    """
    for path in filter(None, os.environ.get(PROFILES_VARIABLE, "").split(os.pathsep)):
        if path not in _loaded:
            for profile in read_profiles(path):
                # Profiles defined earlier, such as those defined in code, take precedence.
                _profiles.setdefault(profile.name, profile)
            _loaded.add(path)
            models.register_profiles(_profiles)


def read_profiles(path: str | os.PathLike[str]) -> list[Profile]:
    """Return the profiles in a TOML file. Raises `ProfileError` with a sentence for each mistake in the file."""
    file = Path(path)
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ProfileError(f"Cannot read the profiles in {file}: {error.strerror}.") from None
    except ValueError as error:
        raise ProfileError(f"The profiles in {file} are not valid TOML: {error}.") from None
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
        return ProfileError(f"'{name}' must be a table. Start it with [{name}].")
    try:
        return Profile.checked(**_resolved({**table, "name": name}, folder))
    except ProfileError as error:
        return error


def _resolved(table: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the table with its paths made relative to the file's folder."""
    fields = dict(table)
    if isinstance(fields.get("cwd"), str):
        fields["cwd"] = folder / fields["cwd"]
    for key in _LISTS_OF_PATHS:
        if isinstance(fields.get(key), list):
            fields[key] = [folder / one if isinstance(one, str) else one for one in fields[key]]
    return fields


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Make modules next to the file importable, so that "module:name" can refer to them."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
