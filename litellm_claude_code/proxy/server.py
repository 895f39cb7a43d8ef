"""One server: litellm's proxy, configured and behind the gate, from opening the socket to the graceful shutdown."""

from __future__ import annotations

import contextlib
import gc
import io
import ipaddress
import json
import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final, Literal, NoReturn

import uvicorn
from starlette.types import ASGIApp

from .. import _litellm, models, provider
from ..auth import choose_login
from ..settings import Settings, SettingsError, from_environment
from . import config as proxy_config
from .config import Config, ConfigError
from .gate import Gate, GateLimits
from .keys import Users
from .logs import Form, configure_logging
from .model_names import ModelNames

TERMS: Final = """\
Your own Claude login is about to pay for calls from other machines.
A Claude subscription is for its owner. Anthropic's terms and usage limits say which automated use is allowed, and
whether a subscription may be used for other people. They change, and this program does not know them. Read them first:
https://www.anthropic.com/legal/consumer-terms. To serve other people, use an API key, a gateway or a cloud login."""

_KEY_VARIABLE: Final = "LITELLM_MASTER_KEY"
_SHORTEST_KEY: Final = 16
# Environment variables that litellm's proxy would use, but that may be meant for another program.
_NOT_FOR_THE_PROXY: Final = ("DATABASE_URL", "DIRECT_URL", "WORKER_CONFIG", "LITELLM_CONFIG_BUCKET_NAME")
_KEEP_ALIVE_S: Final = 60
_AGENTS_MODELS: Final = ("sonnet", "opus", "haiku")
_log: Final = logging.getLogger(__name__)
Models = Literal["listed", "any"]


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """The options of the command line."""

    host: str = "127.0.0.1"
    config: Path | None = None
    profiles: Path | None = None
    """A file of agent profiles. The generated configuration serves them; a given `config` must list them itself."""
    models: Models = "listed"
    """Whether other ids of Claude models than the listed ones get the current model of their family (`any`)."""
    master_key_file: Path | None = None
    shares_login: bool = False
    max_requests: int | None = None
    max_body_mb: float = 32
    body_timeout_s: float = 60
    grace_s: int = 300
    max_wait_s: float | None = None
    log_format: Form = "text"
    keys: Path | None = None
    """A file of users; see `keys.py`."""
    open_metrics: bool = False


@dataclass(frozen=True, kw_only=True)
class Key:
    """The key that clients send."""

    value: str
    is_made: bool
    """Whether it was generated for this run, and must be shown to the user."""


def serve(options: ServeOptions, listening: socket.socket) -> None:
    """Serve on a bound socket until SIGTERM or SIGINT, then finish the requests in progress.

    Raises `ConfigError` if it cannot start.
    """
    settings = _settings()
    names = [*models.names(), *_agents(options)]
    config = proxy_config.generate(names) if options.config is None else proxy_config.read(options.config)
    named_key = proxy_config.master_key(config, os.environ)
    key = choose_key(options, named_key, os.environ)
    payers = {
        choose_login(api_key=one["api_key"], api_base=one["api_base"], settings=settings, model=str(one["model"])).payer
        for one in proxy_config.deployments(config, os.environ)
    }
    check_exposure(options, payers)
    limits = GateLimits(
        max_requests=options.max_requests or 4 * settings.max_workers,
        max_body_bytes=int(options.max_body_mb * 2**20),
        body_timeout_s=options.body_timeout_s,
        processes=settings.max_workers,
        max_wait_s=options.max_wait_s,
    )
    hosts = proxy_config.upstream_hosts(config, os.environ)
    inner_key = named_key or f"sk-{secrets.token_urlsafe(32)}"
    signal.signal(signal.SIGTERM, _leave)
    with _users(options, config) as users, _configured(options, config, inner_key), contextlib.closing(provider):
        threading.Thread(target=_warm_up, args=(config,), daemon=True).start()
        chatter = io.StringIO()
        with contextlib.redirect_stdout(chatter):
            proxy, check = _proxy()
            gate = Gate(
                proxy,
                key=key.value,
                inner_key=inner_key,
                limits=limits,
                check=check,
                hosts=hosts,
                models=ModelNames(proxy_config.model_names(config), takes_any=options.models == "any"),
                users=users,
                has_open_metrics=options.open_metrics,
            )
            server = _Server(
                gate,
                grace_s=options.grace_s,
                on_ready=lambda: _ready(listening, key, payers, config, chatter, form=options.log_format),
            )
            with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again after its graceful shutdown
                server.run(sockets=[listening])
        if not server.started:
            raise ConfigError(f"litellm's proxy did not start.\n{chatter.getvalue()}".rstrip())


@contextlib.contextmanager
def _users(options: ServeOptions, config: Config) -> Iterator[Users | None]:
    """Provide the users of the options' file. Raises `ConfigError`, also if a limit of theirs could not be kept."""
    if options.keys is None:
        yield None
        return
    with contextlib.closing(Users(options.keys)) as users:
        if users.has_dollar_limits() and len(proxy_config.deployments(config, os.environ)) < len(config["model_list"]):
            raise ConfigError(
                f"{options.keys} limits dollars, but the costs of other providers than claude_code/ are not counted. "
                "Remove them from the configuration, or limit `max_requests_per_day`."
            )
        yield users


def _agents(options: ServeOptions) -> list[str]:
    """Load the agent profiles of a file, and return the model names under which to serve them."""
    if options.profiles is None:
        return []
    from ..agents.profile import ProfileError

    try:
        profiles = provider.load_profiles(options.profiles)
    except (ProfileError, OSError) as error:
        raise ConfigError(str(error)) from None
    return [f"{alias}@{profile.name}" for profile in profiles for alias in _AGENTS_MODELS]


def _settings() -> Settings:
    try:
        return from_environment()
    except SettingsError as error:
        raise ConfigError(str(error)) from None


def choose_key(options: ServeOptions, named: str | None, environ: Mapping[str, str]) -> Key:
    """Return the key from the key file, the environment or the configuration, in that order, or generate one.

    Raises `ConfigError` if the key file cannot be read, or if the key is too short or not printable ASCII without
    spaces.
    """
    value = named
    if options.master_key_file is not None:
        try:
            value = options.master_key_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise ConfigError(f"Cannot read {options.master_key_file}: {reason}.") from None
    elif environ.get(_KEY_VARIABLE):
        value = environ[_KEY_VARIABLE]
    elif named is None:
        return Key(value=f"sk-{secrets.token_urlsafe(32)}", is_made=True)
    if not value or len(value) < _SHORTEST_KEY or not value.isascii() or not value.isprintable() or " " in value:
        raise ConfigError(
            f"The master key is too short or not plain text. Use at least {_SHORTEST_KEY} printable ASCII characters "
            "without spaces; `openssl rand -hex 32` makes such a key."
        )
    return Key(value=value, is_made=False)


def check_exposure(options: ServeOptions, payers: set[Any]) -> None:
    """Raise `ConfigError` if a subscription would be served to other machines without `shares_login`."""
    if _is_loopback(options.host) or "subscription" not in payers:
        return
    if not options.shares_login:
        raise ConfigError(
            f"With --host {options.host}, your own Claude login would pay for calls from other machines. Use a key, a "
            'gateway or a cloud login (README, "Who pays") or --host 127.0.0.1, or read Anthropic\'s terms and then '
            "add --share-my-login."
        )
    print(f"{TERMS}\n", flush=True)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextlib.contextmanager
def _configured(options: ServeOptions, config: Config, inner_key: str) -> Iterator[None]:
    """Pass the configuration and the key to litellm's proxy, in the environment of this process only."""
    for name in _NOT_FOR_THE_PROXY:
        os.environ.pop(name, None)
    with tempfile.TemporaryDirectory(prefix="litellm-claude-code-") as folder:
        path = options.config
        if path is None:
            path = Path(folder) / "config.yaml"
            path.write_text(json.dumps(config))  # JSON is YAML
        os.environ |= {_KEY_VARIABLE: inner_key, "CONFIG_FILE_PATH": str(path.absolute())}
        yield


def _proxy() -> tuple[ASGIApp, Callable[[dict[str, Any]], object]]:
    """Return litellm's proxy and its check of a body.

    The gate runs the check itself: without a database, the proxy would respond with a 500 if the check fails.
    """
    try:
        return _litellm.proxy_app(), _litellm.check_client_body
    except ImportError as error:
        raise ConfigError(
            f"litellm's proxy is not installed ({error.name or 'a part of it'} is missing). "
            'Run: pip install "litellm_claude_code[proxy]"'
        ) from None


class _Server(uvicorn.Server):
    """A uvicorn server that calls `on_ready` once it serves."""

    def __init__(self, app: ASGIApp, *, grace_s: int, on_ready: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                http="h11",  # the stricter of uvicorn's two parsers
                server_header=False,
                proxy_headers=False,
                ws="none",
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=grace_s,
            )
        )
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()


def _ready(
    listening: socket.socket, key: Key, payers: set[Any], config: Config, chatter: io.StringIO, *, form: Form
) -> None:
    """Switch from loading to serving: exclude loaded objects from garbage collection, set up the log, tell the user."""
    gc.enable()
    gc.freeze()
    configure_logging(form=form)
    chatter.truncate(0)
    host, port = listening.getsockname()[:2]
    names = [str(entry.get("model_name")) for entry in config["model_list"]]
    out = sys.__stdout__ or sys.stderr
    print(f"serving claude_code/ models on http://{host}:{port}", file=out)
    print(f"who pays: {', '.join(sorted(payers)) or 'no claude_code/ model is configured'}", file=out)
    if key.is_made:
        print(f"key, generated for this run and shown only here: {key.value}", file=out)
    print(f"models: {', '.join(names[:8])}{f' and {len(names) - 8} more' if len(names) > 8 else ''}", file=out)
    out.flush()


def _warm_up(config: Config) -> None:
    """Start a Claude Code process for the first request, with the login of the configuration's first deployment."""
    first = next(iter(proxy_config.deployments(config, os.environ)), None)
    if first is None:
        return
    try:
        provider.warm_up(str(first["model"]), api_base=first["api_base"], api_key=first["api_key"])
    except Exception as error:
        _log.warning("Claude Code could not be started in advance: %s", error)


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    # uvicorn handles the signal, shuts down gracefully and raises it again; by then there is nothing left to do.
    raise SystemExit(0)
