"""The clouds that serve Claude: how the environment chooses one, and which of its variables go to Claude Code.

A cloud's credentials are found by Claude Code itself, in the ways of that cloud's own tools. This module only decides
which variables a process may have for it: those of the chosen cloud, and of no other service.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from . import cli_protocol as cli

CloudName = Literal["bedrock", "vertex", "foundry"]
_MODELS: Final = frozenset({*cli.DEFAULT_MODELS.values(), "ANTHROPIC_SMALL_FAST_MODEL"})
_SECRET: Final = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|AUTHORIZATION|IDENTITY_HEADER", re.IGNORECASE)
# Switches of CLI 2.1.327 for services that this package was never tried with.
_UNTRIED: Final = ("CLAUDE_CODE_USE_MANTLE", "CLAUDE_CODE_USE_ANTHROPIC_AWS", "CLAUDE_CODE_USE_ANTHROPIC_GOOGLE_CLOUD")


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """A cloud: its variables, and what to tell its users."""

    name: CloudName
    title: str
    switch: str
    """The variable that makes Claude Code use it."""
    base_url: str
    """The variable that replaces the cloud's address."""
    base_path: str
    """The path that such an address ends in."""
    needs: tuple[tuple[str, tuple[str, ...]], ...]
    """What the cloud needs, each with the variables that can give it; one is enough. The preferred one comes first."""
    account: tuple[tuple[str, tuple[str, ...]], ...]
    """The parts of the account that pays, each with the variables that may hold it."""
    variables: re.Pattern[str]
    """Matches the names of the variables that its processes get."""
    resolving: re.Pattern[str]
    """Matches the names of those that decide what an alias means. None of them is a secret."""
    no_login: tuple[tuple[str, str], ...]
    """Variables with which Claude Code starts without a credential, and looks for none."""
    how_to_log_in: str
    how_to_enable: str

    def has(self, variable: str) -> bool:
        """Return whether the cloud's processes get a variable."""
        return variable == self.switch or variable in _MODELS or bool(self.variables.fullmatch(variable))

    def resolves_by(self, variable: str) -> bool:
        """Return whether a variable decides what an alias means on this cloud."""
        return variable == self.switch or variable in _MODELS or bool(self.resolving.fullmatch(variable))

    def places(self, variable: str) -> bool:
        """Return whether a variable decides which service of this cloud answers, and with which model."""
        return self.resolves_by(variable) or any(variable in names for _, names in self.needs)


BEDROCK: Final = Cloud(
    name="bedrock",
    title="Amazon Bedrock",
    switch=cli.USE_BEDROCK,
    base_url="ANTHROPIC_BEDROCK_BASE_URL",
    base_path="",
    needs=(("a region", ("AWS_REGION", "AWS_DEFAULT_REGION")),),
    account=(
        ("region", ("AWS_REGION", "AWS_DEFAULT_REGION")),
        ("profile", ("AWS_PROFILE", "AWS_DEFAULT_PROFILE")),
        ("role", ("AWS_ROLE_ARN",)),
    ),
    variables=re.compile(
        r"AWS_\w+|ANTHROPIC_BEDROCK_(?!MANTLE)\w+|ANTHROPIC_SMALL_FAST_MODEL_AWS_REGION|"
        r"CLAUDE_CODE_(SKIP_BEDROCK_AUTH|SKIP_AWS_CRED_CACHE|AWS_CHAIN_RESOLVE_TIMEOUT_MS)"
    ),
    resolving=re.compile(r"AWS_(DEFAULT_)?REGION|ANTHROPIC_BEDROCK_REGION_PREFIX"),
    no_login=(("CLAUDE_CODE_SKIP_BEDROCK_AUTH", "1"), ("AWS_BEARER_TOKEN_BEDROCK", "none")),
    how_to_log_in="Renew your AWS credentials (for single sign-on: `aws sso login`, with `--profile` if you use one; "
    "else AWS_BEARER_TOKEN_BEDROCK or the keys in the environment)",
    how_to_enable='Enable the model in the Bedrock console for this region ("Model access"), and let your role call '
    "`bedrock:InvokeModelWithResponseStream`; or name another model or region",
)
VERTEX: Final = Cloud(
    name="vertex",
    title="Google Vertex AI",
    switch=cli.USE_VERTEX,
    base_url="ANTHROPIC_VERTEX_BASE_URL",
    base_path="/v1",
    needs=(("a project", ("ANTHROPIC_VERTEX_PROJECT_ID", "GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT")),),
    account=(
        ("project", ("ANTHROPIC_VERTEX_PROJECT_ID", "GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT")),
        ("region", ("CLOUD_ML_REGION",)),
        ("credential file", ("GOOGLE_APPLICATION_CREDENTIALS",)),
    ),
    # Not all of `GOOGLE_`: other programs keep the key of Google's own models there (`GOOGLE_API_KEY`), and
    # GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES would have a program started with the request in its environment.
    variables=re.compile(
        r"GOOGLE_(APPLICATION_CREDENTIALS|CLOUD_(PROJECT|QUOTA_PROJECT|UNIVERSE_DOMAIN)|GHA_CREDS_PATH|API_CERTIFICATE_CONFIG|"
        r"API_USE_\w+|SDK_NODE_LOGGING)|GCLOUD_PROJECT|CLOUDSDK_\w+|CLOUD_ML_\w+|GCE_METADATA_\w+|"
        r"METADATA_SERVER_DETECTION|DETECT_GCP_RETRIES|VERTEX_REGION_\w+|ANTHROPIC_VERTEX_\w+|"
        r"CLAUDE_CODE_SKIP_VERTEX_AUTH"
    ),
    resolving=re.compile(r"CLOUD_ML_REGION|VERTEX_REGION_\w+|ANTHROPIC_VERTEX_PROJECT_ID|GOOGLE_CLOUD_PROJECT|"
                         r"GCLOUD_PROJECT"),
    no_login=(("CLAUDE_CODE_SKIP_VERTEX_AUTH", "1"),),
    how_to_log_in="Renew Google's credentials: `gcloud auth application-default login`, or set "
    "GOOGLE_APPLICATION_CREDENTIALS to a valid file",
    how_to_enable="Enable the model in Vertex AI's Model Garden for this project, give your account the role "
    "\"Vertex AI User\", and check that CLOUD_ML_REGION is a region that has the model",
)  # fmt: skip
FOUNDRY: Final = Cloud(
    name="foundry",
    title="Microsoft Foundry",
    switch=cli.USE_FOUNDRY,
    base_url="ANTHROPIC_FOUNDRY_BASE_URL",
    base_path="/anthropic",
    needs=(("a resource", ("ANTHROPIC_FOUNDRY_RESOURCE", "ANTHROPIC_FOUNDRY_BASE_URL")),),
    account=(
        ("resource", ("ANTHROPIC_FOUNDRY_RESOURCE",)),
        ("tenant", ("AZURE_TENANT_ID",)),
        ("client", ("AZURE_CLIENT_ID",)),
    ),
    # Not all of `AZURE_`: other programs keep the key of another service there (`AZURE_API_KEY`, `AZURE_OPENAI_…`).
    variables=re.compile(
        r"ANTHROPIC_FOUNDRY_\w+|CLAUDE_CODE_SKIP_FOUNDRY_AUTH|"
        r"AZURE_(TENANT_ID|CLIENT_\w+|FEDERATED_TOKEN_FILE|AUTHORITY_HOST|USERNAME|PASSWORD|CONFIG_DIR|"
        r"ADDITIONALLY_ALLOWED_TENANTS|POD_IDENTITY_AUTHORITY_HOST|TOKEN_CREDENTIALS|REGIONAL_AUTHORITY_NAME|"
        r"IDENTITY_DISABLE_MULTITENANTAUTH)|IDENTITY_(ENDPOINT|HEADER|SERVER_THUMBPRINT)|IMDS_ENDPOINT|"
        r"MSI_(ENDPOINT|SECRET)"
    ),
    resolving=re.compile(r"(?!)"),  # the CLI takes a base URL or a resource, not both
    no_login=(("ANTHROPIC_FOUNDRY_API_KEY", "none"),),
    how_to_log_in="Check ANTHROPIC_FOUNDRY_API_KEY, or log in again with `az login`",
    how_to_enable="Deploy the model in the Foundry portal under this name, or name your deployment in "
    "ANTHROPIC_DEFAULT_SONNET_MODEL (_OPUS_, _HAIKU_)",
)
CLOUDS: Final[Mapping[CloudName, Cloud]] = {cloud.name: cloud for cloud in (BEDROCK, VERTEX, FOUNDRY)}


class CloudMistake(Exception):
    """The environment names two things that pay, or a cloud without what it needs. The text says what to change."""


def chosen_cloud(env: Mapping[str, str], *, api_key: str | None, auth: str, has_gateway: bool) -> Cloud | None:
    """Return the cloud that pays for a call, or None if none does.

    `api_key` is that of the call, `auth` the setting, and `has_gateway` tells whether ANTHROPIC_BASE_URL names one.
    Raises `CloudMistake` if two things that pay are named, or if something that the cloud needs is missing.
    """
    named = [name for name in (*(cloud.switch for cloud in CLOUDS.values()), *_UNTRIED) if is_on(env.get(name))]
    if not named:
        if auth == "cloud":
            switches = ", ".join(cloud.switch for cloud in CLOUDS.values())
            raise CloudMistake(f"LITELLM_CLAUDE_CODE_AUTH=cloud is set, but no cloud is named: set one of {switches}")
        return None
    if len(named) > 1:
        raise CloudMistake(f"{' and '.join(named)} are set: unset all but the one that should pay")
    switch = named[0]
    if switch in _UNTRIED:
        raise CloudMistake(f"{switch} is set, a service that this package was not tried with: unset it")
    rival = ("`api_key` of the call" if api_key else
             "LITELLM_CLAUDE_CODE_AUTH=api_key" if auth == "api_key" else
             cli.BASE_URL if has_gateway else None)  # fmt: skip
    if rival:
        raise CloudMistake(
            f"{switch} has a cloud account pay, but {rival} names something else that pays: remove one of the two"
        )
    cloud = next(cloud for cloud in CLOUDS.values() if cloud.switch == switch)
    for what, variables in cloud.needs:
        if not any(env.get(name, "").strip() for name in variables):
            raise CloudMistake(f"{switch} is set, but {cloud.title} needs {what}: set {' or '.join(variables)}")
    return cloud


def names_a_cloud(env: Mapping[str, str]) -> bool:
    """Return whether the environment says that a cloud pays. Whether it says so properly tells `chosen_cloud`."""
    return any(is_on(env.get(cloud.switch)) for cloud in CLOUDS.values())


def account_of(cloud: Cloud, env: Mapping[str, str]) -> dict[str, str]:
    """Return what the environment tells about the account that pays, such as its region. Contains no secret."""
    account = {what: next((env[name] for name in names if env.get(name)), None) for what, names in cloud.account}
    return {what: value for what, value in account.items() if value is not None}


def anthropic_ids(model: str) -> list[str]:
    """Return what Anthropic may call the model behind an id, with its date first. Empty if the id does not tell.

    `us.anthropic.claude-haiku-4-5-20251001-v1:0`, also at the end of an ARN, and `claude-haiku-4-5@20251001` become
    `["claude-haiku-4-5-20251001", "claude-haiku-4-5"]`.
    """
    name = re.sub(r"-v\d+(:\d+)?$", "", model.rpartition("/")[2])
    name, _, date = re.sub(r"^([a-z-]+\.)?anthropic\.", "", name).partition("@")
    if not re.fullmatch(r"claude-[a-z0-9][a-z0-9.-]*", name):
        return []
    dated = f"{name}-{date}" if date.isdigit() else name
    return list(dict.fromkeys((dated, re.sub(r"-\d{8}$", "", dated))))


def catalog_keys(cloud: CloudName, model: str) -> list[str]:
    """Return the keys under which litellm's catalog may have a cloud's model, the most specific first."""
    name = model.rpartition("/")[2]
    match cloud:
        case "bedrock":
            return [name]
        case "vertex":
            return [f"vertex_ai/{name}", f"vertex_ai/{name.partition('@')[0]}"]
        case "foundry":
            return [f"azure_ai/{name}"]


def secrets_in(variables: Mapping[str, str]) -> Iterator[str]:
    """Yield the values of variables whose names say that they are secret."""
    yield from (value for name, value in variables.items() if value and _SECRET.search(name))


def is_on(value: str | None) -> bool:
    """Return whether a switch is on."""
    return (value or "").strip().lower() not in ("", "0", "false", "no", "off")
