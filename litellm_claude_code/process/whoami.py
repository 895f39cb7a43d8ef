"""Which account would pay for a call, as the Claude Code CLI itself reports it.

`claude auth status` runs in the same environment as a worker, so the result reflects this machine's policies and the
login that the CLI really uses. Only a call can tell whether the API still accepts the login.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypedDict

import anyio

from .. import cli_protocol as cli
from ..auth import DEFAULT_BASE_URL
from ..cloud_availability import available_models
from ..clouds import CLOUDS, account_of
from ..errors import CallFailed, Failure
from ..in_force import SettingsGuard
from ..limits.rate_limit_info import Overage
from ..login import Login, Payer, without_password
from ..settings import Settings
from . import launch
from ._sdk import from_sdk
from .folders import empty_folder


class Identity(TypedDict):
    """The account that would pay for a call. Contains no secret."""

    payer: Payer
    """`subscription`, `api_key`, `gateway` or `cloud`. A Claude Code login billed as API usage counts as `api_key`."""
    is_logged_in: bool
    """Whether there is a credential. If not, calls raise `AuthenticationError`."""
    source: str | None
    """Where the credential comes from: the name of a variable or of an argument, a file, `macOS keychain`…"""
    base_url: str | None
    """Where requests are sent. None for a cloud's own address."""
    cloud: str | None
    """`bedrock`, `vertex` or `foundry`."""
    cloud_account: dict[str, str]
    """What the environment tells about the cloud's account: region, profile, project, resource… Empty without a cloud.
    """
    cloud_models: dict[str, str]
    """What each alias means on the cloud."""
    cloud_available: dict[str, bool | None]
    """For each alias, whether the account may use its model. None: the cloud does not say (see `cloud_availability`).
    """
    email: str | None
    """The account's address, or None if Claude Code does not know it, as for a token from `claude setup-token`."""
    organization: str | None
    plan: str | None
    """`pro`, `max_5x`, `max_20x`, `team`…, as Claude Code names it."""
    allows_overage: bool
    """The `allow_overage` setting: whether calls go on when extra usage, billed on top of the subscription, begins."""
    overage: Overage
    """The extra usage that the CLI last reported."""


_ARGUMENTS: Final = (f"{cli.SETTING_SOURCES}=", *cli.AUTH_STATUS.split())
_KEYS: Final = ("api_key", "api_key_helper")


async def identify(login: Login, *, settings: Settings, overage: Overage) -> Identity:
    """Return which account would pay for calls with this login. Takes a sixth of a second and makes no request.

    On Amazon Bedrock, boto3 asks Amazon which models the account may use: free requests, but not to a model.

    Raises `CallFailed` if the CLI does not report it, or if a settings file would change who pays or where calls go.
    """
    SettingsGuard(environment=login.environment()).check_files()
    status = await _ask(login, settings)
    method, cloud = status.get("authMethod"), status.get("apiProvider")
    is_cloud = method == "third_party"
    payer: Payer = "cloud" if is_cloud else login.payer
    place = dict(login.place or ())
    chosen = CLOUDS[login.cloud] if login.cloud else None
    base_url = place.get(chosen.base_url) if chosen else login.base_url or DEFAULT_BASE_URL
    if login.payer == "subscription" and method in _KEYS:
        payer = "api_key"
    return Identity(
        payer=payer,
        is_logged_in=status.get("loggedIn") is True,
        source=login.source or _source(status),
        base_url=without_password(base_url) if base_url else None,
        cloud=cloud if is_cloud else None,
        cloud_account=account_of(chosen, place) if chosen else {},
        cloud_models=dict(login.models),
        cloud_available=await available_models(login),
        email=status.get("email"),
        organization=status.get("orgName"),
        plan=status.get("planTier") or status.get("subscriptionType"),
        allows_overage=settings.allow_overage,
        overage=overage,
    )


async def _ask(login: Login, settings: Settings) -> Mapping[str, Any]:
    """Return the JSON object that `claude auth status` prints. Its exit status is 1 if there is no login."""
    failed = CallFailed(Failure(kind="lost", text="the CLI does not report the login (`claude auth status`)"))
    try:
        with anyio.fail_after(settings.boot_timeout_s):
            ran = await anyio.run_process(
                [
                    *launch.bound_to_parent(),
                    launch.cli_of(settings),
                    *_ARGUMENTS,
                ],
                env=launch.environment(login, own=login.environment()),
                cwd=empty_folder(),
                check=False,
                start_new_session=True,
            )
        status = json.loads(ran.stdout)
    except ValueError:
        raise failed from None
    except Exception as error:
        raise from_sdk(error, is_sent=False) from None
    if not isinstance(status, dict):
        raise failed
    return status


def _source(status: Mapping[str, Any]) -> str | None:
    """Return where the CLI found the credential, for a login that leaves this to the CLI."""
    if status.get("authMethod") != "claude.ai":
        source = status.get("apiKeySource")
        return str(source) if source else None
    folders = [os.environ.get(name) for name in (cli.SECURESTORAGE_CONFIG_DIR, cli.CONFIG_DIR)]
    folder = next((Path(folder) for folder in folders if folder), Path.home() / ".claude")
    file = folder / ".credentials.json"
    return "macOS keychain" if sys.platform == "darwin" and not file.is_file() else str(file)
