"""What litellm's proxy is told: the configuration that is generated, and what is read of one that is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ..models import PROVIDER

Config = dict[str, Any]
_FROM_ENVIRONMENT: Final = "os.environ/"
_URLS: Final = ("api_base", "base_url")
_URL_VARIABLES: Final = ("_BASE_URL", "_API_BASE", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")


class ConfigError(Exception):
    """A configuration that cannot be served; the message says what to change."""


def generate(names: Sequence[str]) -> Config:
    """Return the configuration that serves each name, also under the prefix `claude_code/`.

    Each name has one deployment: taking it out of service after an error would leave nothing to turn to, so nothing is
    cooled down, and whether to try again is left to the client, who knows what is asked.
    """
    return {
        "model_list": [{"model_name": name, "litellm_params": {"model": f"{PROVIDER}/{name}"}} for name in names],
        "router_settings": {
            "model_group_alias": {f"{PROVIDER}/{name}": {"model": name, "hidden": True} for name in names},
            "disable_cooldowns": True,
            "num_retries": 0,
        },
        "general_settings": {"trusted_proxy_ranges": []},
        "litellm_settings": {"num_retries": 0, "suppress_debug_info": True},
    }


def read(path: Path) -> Config:
    """Return a configuration of litellm's proxy. Raises `ConfigError` for one that serves nothing."""
    import yaml  # type: ignore[import-untyped]  # comes with the proxy, without types

    try:
        config = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"{path} is not YAML{where}.") from None
    if not isinstance(config, dict) or not isinstance(config.get("model_list"), list) or not config["model_list"]:
        raise ConfigError(
            f"{path} lists no models: give it a `model_list`. `litellm-claude-code serve --print-config` prints one "
            "to start from."
        )
    return config


def master_key(config: Mapping[str, Any], environ: Mapping[str, str]) -> str | None:
    """Return the master key that a configuration names, if it does."""
    return _resolved((config.get("general_settings") or {}).get("master_key"), environ)


def deployments(config: Mapping[str, Any], environ: Mapping[str, str]) -> list[dict[str, str | None]]:
    """Return `model`, `api_key` and `api_base` of each deployment of this provider."""
    found = []
    for entry in config["model_list"]:
        params = entry.get("litellm_params") if isinstance(entry, dict) else None
        if isinstance(params, dict) and str(params.get("model", "")).startswith(f"{PROVIDER}/"):
            resolved = {name: _resolved(params.get(name), environ) for name in ("api_key", "api_base")}
            found.append({"model": str(params["model"]), **resolved})
    return found


def upstream_hosts(config: Mapping[str, Any], environ: Mapping[str, str]) -> set[str]:
    """Return the hosts, with and without a port, that a configuration and the environment send requests to."""
    entries = [entry.get("litellm_params") for entry in config["model_list"] if isinstance(entry, dict)]
    named = [_resolved(params.get(name), environ) for params in entries if isinstance(params, dict) for name in _URLS]
    named += [value for name, value in environ.items() if name.endswith(_URL_VARIABLES)]
    found = set()
    for url in filter(None, named):
        try:
            parts = urlsplit(url if "//" in url else f"//{url}")
        except ValueError:
            continue
        place = parts.netloc.rpartition("@")[2]
        found |= {place, parts.hostname or ""} - {"", "localhost", "api.anthropic.com"}
    return found


def _resolved(value: object, environ: Mapping[str, str]) -> str | None:
    if not isinstance(value, str):
        return None
    if value.startswith(_FROM_ENVIRONMENT):
        return environ.get(value.removeprefix(_FROM_ENVIRONMENT)) or None
    return value
