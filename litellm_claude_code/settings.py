"""Settings of this package, from arguments or from `LITELLM_CLAUDE_CODE_*` variables.

Options of a single call (model, `timeout`, `api_base`, `api_key`…) are litellm's arguments and are not repeated here.
"""

from __future__ import annotations

import math
import os
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Final, Literal

import psutil
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from .container import container_limits

PREFIX: Final = "LITELLM_CLAUDE_CODE_"
PROFILES_VARIABLE: Final = f"{PREFIX}PROFILES"
"""Names the files with agent profiles (`agents/registry.py`). Not a field of `Settings`."""
STAND_IN_VARIABLE: Final = f"{PREFIX}STAND_IN"
"""The base URL and the key of a stand-in that answers all calls, whatever they name. `run --stand-in` sets it."""
# A worker uses 110–170 MB (measured with claude-agent-sdk 0.2.184). Twice that is left free for the caller's own work.
_WORKER_MIB = 170
_TRIES: Final = 100


@cache
def cores() -> int:
    """Return how many cores this Python process may use."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = container_limits().cores
    return mine if quota is None else max(1, min(mine, math.ceil(quota)))


def default_max_workers() -> int:
    """Return a suitable number of processes: eight per core, in at most a third of the memory, from 2 to 64.

    In a container, the container's limits on cores and memory apply.
    """
    machine_bytes = psutil.virtual_memory().total
    memory_mib = min(machine_bytes, container_limits().memory_bytes or machine_bytes) // 2**20
    return max(2, min(8 * cores(), memory_mib // (3 * _WORKER_MIB), 64))


class SettingsError(ValueError):
    """A setting in the environment is invalid. The message names the variable and the reason."""


class Settings(BaseSettings):
    """How Claude Code processes are started, kept and paid for. Instances are frozen."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    auth: Literal["subscription", "api_key", "cloud"] = Field(
        default="subscription",
        description="Who pays if the call has no `api_key`: the Claude login, ANTHROPIC_API_KEY, or a cloud login",
    )
    send_login_to: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Base URLs that may receive the Claude login, besides the CLI's default"
    )
    cli_path: Path | None = Field(default=None, description="A Claude Code CLI other than the one in the SDK's wheel")
    on_limit: Literal["raise", "wait"] = Field(
        default="raise", description="What a call does when a subscription limit is reached: fail at once, or wait"
    )
    halt: bool = Field(
        default=False, description="End the program when the login is refused, a limit reached or the budget spent"
    )
    max_usd: float | None = Field(default=None, gt=0, description="What a run may spend, in dollars at API prices")
    max_calls: int | None = Field(default=None, gt=0, description="How many requests a run may make")
    max_tokens: int | None = Field(default=None, gt=0, description="How many tokens a run may use, input and output")
    max_time_s: float | None = Field(default=None, gt=0, description="How long a run may take; no call starts later")
    report: Path | None = Field(default=None, description="The file that gets a run's report, as JSON")
    progress: bool = Field(default=False, description="Show calls, dollars and tokens during a run, on stderr")
    max_limit_wait_s: float = Field(default=6 * 3600, gt=0, description="Maximum wait with on_limit='wait'")
    allow_overage: bool = Field(default=False, description="Continue after extra usage, which is billed, has begun")
    usage_every_s: float = Field(
        default=60, ge=0, description="How often the CLI is asked for the subscription's usage; 0 means never"
    )
    drop_params: bool = Field(
        default=False, description="Leave out parameters that the model does not take, with a warning, in every call"
    )
    self_check: bool = Field(default=True, description="Test a new CLI on loopback before its first request")
    max_workers: int = Field(default_factory=default_max_workers, ge=1, description="Maximum number of processes")
    spare_workers: int = Field(default=1, ge=0, description="Number of processes to start in advance")
    max_calls_per_worker: int = Field(default=400, ge=1, description="Calls after which a process is replaced")
    max_worker_growth_mib: int = Field(default=300, ge=1, description="Memory growth that replaces a process")
    idle_timeout_s: float = Field(default=300.0, gt=0, description="Time after which an unused process is closed")
    boot_timeout_s: float = Field(default=60.0, gt=0, description="Maximum time for a process to start")
    step_timeout_s: float = Field(default=20.0, gt=0, description="Maximum time for one step of a process")

    @field_validator("send_login_to", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def from_environment() -> Settings:
    """Return the current settings from the environment. Cached: parsing takes 0.25 ms if a variable has changed.

    Raises `SettingsError` for the first invalid setting, and if the CLI that a setting names is not a program.
    """
    # `get`, because another thread may remove a variable after the names were listed.
    ours = [(name, os.environ.get(name)) for name in list(os.environ) if name.startswith(PREFIX)]
    try:
        return _from(tuple(ours))
    except ValidationError as error:
        wrong = error.errors()[0]
        raise SettingsError(f"{PREFIX}{str(wrong['loc'][0]).upper()} is not valid: {wrong['msg']}.") from None


@lru_cache(maxsize=8)
def _from(_variables: tuple[tuple[str, str | None], ...]) -> Settings:
    settings = _parsed()
    if settings.cli_path is not None:
        _check_program(settings.cli_path)
    return settings


def _parsed() -> Settings:
    for _ in range(_TRIES):
        with suppress(KeyError):  # another thread removed a variable while pydantic read `os.environ`
            return Settings()
    return Settings()


def _check_program(path: Path) -> None:
    wrong = "no such file" if not path.exists() else "not a program"
    if not path.is_file() or not os.access(path, os.X_OK):
        raise SettingsError(
            f"{PREFIX}CLI_PATH={path}: {wrong}. Correct the path, or unset the variable to use the SDK's own CLI."
        )
