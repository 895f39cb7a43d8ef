"""The configuration of litellm's proxy: one is generated, or the user's is read."""

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
    """Raised if the proxy cannot be served as configured. The message says what to change."""


def generate(names: Sequence[str]) -> Config:
    """Return a configuration that serves each name, with and without the prefix `claude_code/`.

    Cooldowns are off: with one deployment per name, there is no fallback. Retries are off: the client knows what it
    asked for, and decides whether to retry.
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
    """Read a configuration file of litellm's proxy. Raises `ConfigError` if it cannot be read or has no models."""
    import yaml  # comes with the proxy, without types

    try:
        config = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"Cannot read {path}: {error.strerror}.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"{path} is not valid YAML{where}.") from None
    if not isinstance(config, dict) or not isinstance(config.get("model_list"), list) or not config["model_list"]:
        raise ConfigError(
            f"{path} has no models in `model_list`. Add one; `litellm-claude-code serve --print-config` prints an "
            "example."
        )
    return config


def master_key(config: Mapping[str, Any], environ: Mapping[str, str]) -> str | None:
    """Return the master key in a configuration, or None. `os.environ/NAME` stands for a variable of `environ`."""
    return _resolved((config.get("general_settings") or {}).get("master_key"), environ)


def deployments(config: Mapping[str, Any], environ: Mapping[str, str]) -> list[dict[str, str | None]]:
    """Return the `model`, `api_key` and `api_base` of each deployment that uses this provider."""
    found = []
    for entry in config["model_list"]:
        params = entry.get("litellm_params") if isinstance(entry, dict) else None
        if isinstance(params, dict) and str(params.get("model", "")).startswith(f"{PROVIDER}/"):
            resolved = {name: _resolved(params.get(name), environ) for name in ("api_key", "api_base")}
            found.append({"model": str(params["model"]), **resolved})
    return found


def model_names(config: Mapping[str, Any]) -> set[str]:
    """Return the model names and aliases of a configuration, without patterns such as `openai/*`."""
    listed = [entry.get("model_name") for entry in config["model_list"] if isinstance(entry, dict)]
    aliases = (config.get("router_settings") or {}).get("model_group_alias") or {}
    return {name for name in (*listed, *aliases) if isinstance(name, str) and "*" not in name}


def upstream_hosts(config: Mapping[str, Any], environ: Mapping[str, str]) -> set[str]:
    """Return the hosts, with and without port, to which the configuration and the environment send requests.

    `localhost` and `api.anthropic.com` are left out.
    """
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
