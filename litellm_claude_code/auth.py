"""Choose the login that pays for a call.

The CLI silently prefers an API key in the environment to the login. This package uses a key only if the caller asked
for it. The login is sent only to the CLI's default endpoint and to those in `Settings.send_login_to`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from litellm.exceptions import AuthenticationError

from . import cli_protocol as cli
from .clouds import CLOUDS, CloudMistake, chosen_cloud
from .errors import bad_request
from .in_force import policy_stamp
from .login import PLACE, Login, without_password
from .models import PROVIDER
from .settings import STAND_IN_VARIABLE, Settings

DEFAULT_BASE_URL: Final = "https://api.anthropic.com"
_ARGUMENT: Final = "`api_key` of the call"


def placed(login: Login, env: Mapping[str, str]) -> Login:
    """Add the variables and managed settings that affect account and route: if they change, the login differs."""
    names = sorted(filter(CLOUDS[login.cloud].has, env)) if login.cloud else ()
    place = tuple((name, env[name]) for name in (*PLACE, *names) if name in env)
    return replace(login, place=place, policies=policy_stamp())


def choose_login(
    *,
    api_key: str | None,
    api_base: str | None,
    settings: Settings,
    model: str,
    environ: Mapping[str, str] | None = None,
) -> Login:
    """Return the login that pays for a call. Reads the environment; makes no request.

    Raises `litellm.AuthenticationError`, before anything is started or sent, if the call names a gateway without a key
    for it, or if the environment does not choose one cloud properly, and `litellm.BadRequestError` if the gateway's URL
    has no scheme. Does not know which login Claude Code itself has:
    `wrong_login` checks that later.
    """
    env = os.environ if environ is None else environ
    return placed(_choose(api_key=api_key, api_base=api_base, settings=settings, model=model, env=env), env)


def _choose(
    *, api_key: str | None, api_base: str | None, settings: Settings, model: str, env: Mapping[str, str]
) -> Login:
    if stand_in := env.get(STAND_IN_VARIABLE):
        url, _, token = stand_in.partition(" ")
        return Login(payer="gateway", base_url=url, secrets=((cli.AUTH_TOKEN, token),), source=cli.AUTH_TOKEN)
    base_url = (api_base or env.get(cli.BASE_URL) or "").rstrip("/")
    is_default = base_url in ("", DEFAULT_BASE_URL)
    if not api_base or is_default:
        try:
            cloud = chosen_cloud(env, api_key=api_key, auth=settings.auth, has_gateway=not is_default)
        except CloudMistake as mistake:
            raise AuthenticationError(f"{mistake}.", model=model, llm_provider=PROVIDER) from None
        if cloud is not None:
            return Login(payer="cloud", cloud=cloud.name, source=cloud.switch)
    if not is_default:
        return _gateway(base_url, api_key=api_key, is_from_env=not api_base, settings=settings, model=model, env=env)
    if api_key:
        return Login(payer="api_key", secrets=(_key(api_key),), source=_ARGUMENT)
    if settings.auth == "api_key":
        key = env.get(cli.API_KEY)
        return Login(payer="api_key", secrets=(_key(key),), source=cli.API_KEY) if key else Login(payer="api_key")
    return _subscription(env)


def wrong_login(login: Login, account: Mapping[str, Any]) -> str | None:
    """Return why a process must not be used because it would not pay as chosen, or None if it would.

    `account` comes from the CLI's `initialize` reply (2.1.327). `/login` in Claude Code can also create an Anthropic
    Console key, which bills the API instead of a subscription.
    """
    is_key = bool(account.get("apiKeySource")) and account.get("tokenSource") == "none"
    if login.payer == "subscription" and is_key:
        return (
            f"Claude Code has no subscription login here, only a key ({account['apiKeySource']}) that bills the API. "
            "To let the key pay, set LITELLM_CLAUDE_CODE_AUTH=api_key"
        )
    if login.payer == "api_key" and login.source is None and not is_key:
        return (
            "LITELLM_CLAUDE_CODE_AUTH=api_key is set, but ANTHROPIC_API_KEY is empty. Set the key, or unset the setting"
        )
    return None


def _gateway(
    base_url: str, *, api_key: str | None, is_from_env: bool, settings: Settings, model: str, env: Mapping[str, str]
) -> Login:
    where = cli.BASE_URL if is_from_env else "`api_base`"
    if not re.match(r"https?://[^/?#]", base_url, re.IGNORECASE):
        raise bad_request(f"{where} must start with http:// or https://{_shown(base_url)}.", model=model)
    if api_key:
        return Login(payer="gateway", base_url=base_url, secrets=((cli.API_KEY, api_key),), source=_ARGUMENT)
    own = [cli.AUTH_TOKEN, *([cli.API_KEY] if settings.auth == "api_key" else [])] if is_from_env else []
    for name in own:
        if value := env.get(name):
            return Login(payer="gateway", base_url=base_url, secrets=((name, value),), source=name)
    if base_url in (url.rstrip("/") for url in settings.send_login_to):
        return replace(_subscription(env), base_url=base_url)
    shown = without_password(base_url)
    raise _refused(
        f"{where} names {shown}, and the Claude login is not sent there. Pass that service's own key as `api_key=`"
        f"{' or in ANTHROPIC_AUTH_TOKEN' if is_from_env else ''}, or, to send the login there, add the URL to "
        "LITELLM_CLAUDE_CODE_SEND_LOGIN_TO",
        model,
    )


def _shown(value: str) -> str:
    """Return the end of a sentence about a URL without a scheme. Empty for a value that may be a key."""
    is_address = ":" in value or "/" in value
    return f", not {without_password(f'http://{value}').removeprefix('http://')!r}" if is_address else ""


def _subscription(env: Mapping[str, str]) -> Login:
    name = cli.OAUTH_TOKEN
    token = env.get(name)
    return Login(payer="subscription", secrets=((name, token),), source=name) if token else Login(payer="subscription")


def _key(key: str) -> tuple[str, str]:
    # `claude setup-token` makes a subscription token that looks like a key. The CLI reads it from another variable.
    return (cli.OAUTH_TOKEN if key.startswith("sk-ant-oat") else cli.API_KEY, key)


def _refused(sentence: str, model: str) -> AuthenticationError:
    return AuthenticationError(sentence, model=model, llm_provider=PROVIDER)
