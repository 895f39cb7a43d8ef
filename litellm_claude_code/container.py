"""Read the CPU and memory limits of this process's Linux control groups.

`os.cpu_count` and psutil report the machine's resources. A container's limits are in kernel files (cgroup v1 and v2).
The limits of all parent groups apply, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_UNLIMITED_BYTES: Final = 2**60
"""Values from here on mean no limit: cgroup v1 writes nearly 2**63."""


@dataclass(frozen=True, kw_only=True)
class ContainerLimits:
    """The limits of the control groups. `None` means no limit."""

    cores: float | None = None
    memory_bytes: int | None = None


def container_limits(root: Path = Path("/")) -> ContainerLimits:
    """Return the limits of this process's control groups. Systems without control groups have no limits."""
    cores: list[float] = []
    memory: list[int] = []
    for folder in _groups(root):
        cores += [
            *_share(_words(folder / "cpu.max")),
            *_share([*_words(folder / "cpu.cfs_quota_us"), *_words(folder / "cpu.cfs_period_us")]),
        ]
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
            memory += [int(word) for word in _words(folder / name) if word.isdecimal() and int(word) < _UNLIMITED_BYTES]
    return ContainerLimits(cores=min(cores, default=None), memory_bytes=min(memory, default=None))


def _groups(root: Path) -> Iterator[Path]:
    """Yield the visible folders of this process's groups and of their parent groups."""
    groups = dict(_own_groups(root))
    for line in _lines(root / "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        if after.split()[:1] not in (["cgroup"], ["cgroup2"]):
            continue
        top, mounted_at = before.split()[3:5]
        controllers = {""} if after.startswith("cgroup2 ") else set(after.split()[-1].split(","))
        mount = root / mounted_at.lstrip("/")
        for controller in sorted(controllers & groups.keys()):
            group = groups[controller]
            # In a container, `top` is the container's own group on the host, which is not visible below the mount.
            below = group[len(top) :] if top != "/" and f"{group}/".startswith(f"{top}/") else group
            folder = mount / below.strip("/")
            yield from (level for level in (folder, *folder.parents) if level == mount or mount in level.parents)


def _own_groups(root: Path) -> Iterator[tuple[str, str]]:
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, group = line.split(":", 2)
        for controller in controllers.split(","):
            yield controller, group


def _share(words: list[str]) -> list[float]:
    """Return a list with one number, the cores that the quota allows per period. Without a quota the list is empty."""
    if len(words) != 2 or not all(word.isdecimal() for word in words) or "0" in words:
        return []
    return [int(words[0]) / int(words[1])]


def _words(file: Path) -> list[str]:
    return " ".join(_lines(file)).split()


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except (OSError, ValueError):
        return []
