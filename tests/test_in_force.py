"""Settings from outside that would affect a process are refused by name, before a request or a login is sent."""

import json
from pathlib import Path

import litellm
import pytest

import litellm_claude_code
from litellm_claude_code.auth import choose_login
from litellm_claude_code.errors import CallFailed
from litellm_claude_code.in_force import SettingsGuard
from litellm_claude_code.login import without_password
from litellm_claude_code.settings import Settings
from litellm_claude_code.testing import StandIn

from .support.anthropic_host import AnthropicHost, log_in
from .support.policy import POLICY_FILE, run_under_policy
from .support.requests import ASK
from .support.scripts import Forker

THEIRS = {
    "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
    "ANTHROPIC_API_KEY": "sk-ant-api03-theirs",
    "ANTHROPIC_AUTH_TOKEN": "theirs",
    "ANTHROPIC_CUSTOM_HEADERS": "x-theirs: 1",
    "ANTHROPIC_MODEL": "claude-opus-4-1",
    "ANTHROPIC_DEFAULT_SONNET_MODEL": "claude-opus-4-1",
    "ANTHROPIC_UNIX_SOCKET": "/tmp/theirs",
    "_CLAUDE_CODE_ASSUME_FIRST_PARTY_BASE_URL": "1",
    "CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-theirs",
    "CLAUDE_CODE_OAUTH_TOKEN_FILE_DESCRIPTOR": "3",
    "CLAUDE_CODE_API_KEY_FILE_DESCRIPTOR": "3",
    "CLAUDE_CODE_API_BASE_URL": "http://127.0.0.1:9",
    "CLAUDE_CODE_CUSTOM_OAUTH_URL": "http://127.0.0.1:9",
    "CLAUDE_CODE_USE_BEDROCK": "1",
    "CLAUDE_CODE_USE_GATEWAY": "1",
    "CLAUDE_CODE_SUBAGENT_MODEL": "claude-opus-4-1",
    "CLAUDE_CODE_PROCESS_WRAPPER": "/tmp/theirs",
    "AWS_PROFILE": "theirs",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
    "NO_PROXY": "*",
    "NODE_EXTRA_CA_CERTS": "/tmp/theirs.pem",
    "NODE_TLS_REJECT_UNAUTHORIZED": "0",
    "NODE_OPTIONS": "--require /tmp/theirs.js",
    "BUN_OPTIONS": "--preload /tmp/theirs.js",
    "SSL_CERT_FILE": "/tmp/theirs.pem",
    "SSLKEYLOGFILE": "/tmp/theirs",
    "LD_PRELOAD": "/tmp/theirs.so",
    "PATH": "/tmp/theirs",
    "OTEL_LOG_USER_PROMPTS": "1",
    "OTEL_LOG_RAW_API_BODIES": "1",
    "BETA_TRACING_ENDPOINT": "http://127.0.0.1:9",
}
OF_A_REQUEST = {"CLAUDE_CODE_EXTRA_BODY": "{}", "CLAUDE_CODE_MAX_RETRIES": "3", "DISABLE_PROMPT_CACHING": ""}
HARMLESS = {
    "EDITOR": "vim",
    "DISABLE_TELEMETRY": "1",
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_LOG_USER_PROMPTS": "0",
    "BASH_DEFAULT_TIMEOUT_MS": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
}


def guard(folder: Path, *, is_agent: bool = False) -> SettingsGuard:
    environment = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "CLAUDE_CONFIG_DIR": str(folder)}
    return SettingsGuard(environment=environment, is_agent=is_agent)


def write_env(folder: Path, env: dict[str, str], name: str = ".claude.json") -> Path:
    file = folder / name
    told = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**told, "env": env}))
    return file


@pytest.mark.parametrize("is_agent", [False, True])
@pytest.mark.parametrize("name", THEIRS)
def test_a_variable_that_changes_payer_or_route_is_refused_and_the_error_names_its_file(
    tmp_path: Path, name: str, is_agent: bool
) -> None:
    file = write_env(tmp_path, {name: THEIRS[name]})
    with pytest.raises(CallFailed) as raised:
        guard(tmp_path, is_agent=is_agent).check_files()
    assert f"{file} sets {name}," in raised.value.failure.text
    assert "theirs" not in raised.value.failure.text


@pytest.mark.parametrize("name", OF_A_REQUEST)
def test_a_variable_that_changes_a_plain_request_is_refused_but_not_for_agents(tmp_path: Path, name: str) -> None:
    write_env(tmp_path, {name: OF_A_REQUEST[name]}, ".config.json")
    with pytest.raises(CallFailed, match=name):
        guard(tmp_path).check_files()
    guard(tmp_path, is_agent=True).check_files()


def test_other_variables_and_our_own_values_are_let_in(tmp_path: Path) -> None:
    write_env(tmp_path, HARMLESS)
    guard(tmp_path).check_files()


@pytest.mark.parametrize(
    "settings",
    [
        {"hooks": {"UserPromptSubmit": []}},
        {"apiKeyHelper": "x"},
        {"otelHeadersHelper": "x"},
        {"statusLine": {"type": "command", "command": "x"}},
        {"managedMcpServers": {"x": {}}},
        {"enabledPlugins": {"x@y": True}},
        {"forceLoginGatewayUrl": "https://theirs.example"},
        {"modelOverrides": {"claude-sonnet-5-5": "other"}},
        {"env": {"ANTHROPIC_BASE_URL": "https://theirs.example"}},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_settings_that_a_process_reports_are_refused_by_name(tmp_path: Path, settings: dict[str, object]) -> None:
    told = {"sources": [{"source": "policySettings", "settings": settings}]}
    name = "ANTHROPIC_BASE_URL" if "env" in settings else next(iter(settings))
    for is_agent in (False, True):
        with pytest.raises(CallFailed, match=name):
            guard(tmp_path, is_agent=is_agent).check_process(told)


@pytest.mark.parametrize("model", ["haiku", "haiku@agent"])
def test_settings_of_claude_json_are_refused_before_anything_is_sent(
    default_endpoint: AnthropicHost, stand_in: StandIn, model: str
) -> None:
    litellm_claude_code.profile("agent", tools=[])
    with StandIn(api_key=None) as other:
        file = write_env(default_endpoint.config, {"ANTHROPIC_BASE_URL": other.base_url})
        with pytest.raises(litellm.AuthenticationError) as raised:
            litellm.completion(f"claude_code/{model}", messages=ASK, max_retries=0)
        assert f"{file} sets ANTHROPIC_BASE_URL" in str(raised.value)
        with pytest.raises(litellm.AuthenticationError, match="ANTHROPIC_BASE_URL"):
            litellm_claude_code.whoami()
        gateway = {"api_base": stand_in.base_url, "api_key": stand_in.api_key}
        with pytest.raises(litellm.AuthenticationError, match="ANTHROPIC_BASE_URL"):
            litellm.completion(f"claude_code/{model}", messages=ASK, max_retries=0, **gateway)
        assert other.requests == other.other_requests == []
    assert stand_in.requests == []
    assert default_endpoint.asked == []


def test_a_later_change_of_claude_json_does_not_affect_a_warm_process(
    default_endpoint: AnthropicHost, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LITELLM_CLAUDE_CODE_MAX_WORKERS", "1")  # another process would be refused when it starts
    assert litellm.completion("claude_code/haiku", messages=ASK)
    with StandIn(api_key=None) as other:
        write_env(default_endpoint.config, {"ANTHROPIC_BASE_URL": other.base_url, "ANTHROPIC_API_KEY": "theirs"})
        for _ in range(3):
            litellm.completion("claude_code/haiku", messages=ASK, max_retries=0)
        assert other.requests == []
    assert {request.headers["authorization"] for request in stand_in.requests} == {f"Bearer {stand_in.api_key}"}


def test_a_login_is_sent_as_bearer_with_the_oauth_beta_and_without_a_key(
    default_endpoint: AnthropicHost, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = f"{stand_in.api_key}"
    litellm.completion("claude_code/haiku", messages=ASK)
    (default_endpoint.config / ".credentials.json").unlink()
    monkeypatch.setenv("CLAUDE_CODE_OAUTH_TOKEN", token)
    litellm.completion("claude_code/haiku", messages=ASK)
    assert len(stand_in.requests) == 2
    for request in stand_in.requests:
        assert "oauth-2025-04-20" in request.headers["anthropic-beta"].split(",")
        assert request.headers["authorization"] == f"Bearer {token}"
        assert "x-api-key" not in request.headers


def test_another_configuration_folder_gets_a_process_and_an_account_of_its_own(
    default_endpoint: AnthropicHost, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = str(stand_in.api_key)
    monkeypatch.setattr(stand_in, "_api_key", None)
    other = tmp_path / "other"
    other.mkdir()
    log_in(other, "token-of-the-other")
    for folder in (default_endpoint.config, other, default_endpoint.config):
        monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(folder))
        litellm.completion("claude_code/haiku", messages=ASK)
        assert litellm_claude_code.whoami()["source"] == str(folder / ".credentials.json")
    tokens = [request.headers["authorization"].removeprefix("Bearer ") for request in stand_in.requests]
    assert tokens == [first, "token-of-the-other", first]


@pytest.mark.parametrize(
    "name", ["CLAUDE_CONFIG_DIR", "HOME", "HTTPS_PROXY", "no_proxy", "NODE_EXTRA_CA_CERTS", "XDG_CONFIG_HOME"]
)
def test_variables_that_choose_an_account_or_a_route_are_part_of_a_login(name: str) -> None:
    given = {"api_key": None, "api_base": None, "settings": Settings(), "model": "sonnet"}
    one, other = (choose_login(**given, environ={name: value}) for value in ("/a", "/b"))  # type: ignore[arg-type]
    assert one != other
    assert (one.environment()[name], other.environment()[name]) == ("/a", "/b")
    assert not one.passes_on(name)
    assert "/a" not in repr(one)


def test_a_cloud_profile_is_part_of_a_login() -> None:
    given = {"api_key": None, "api_base": None, "settings": Settings(), "model": "sonnet"}
    env = {"CLAUDE_CODE_USE_BEDROCK": "1", "AWS_REGION": "us-east-1", "AWS_PROFILE": "a"}
    one = choose_login(**given, environ=env)  # type: ignore[arg-type]
    other = choose_login(**given, environ={**env, "AWS_PROFILE": "b"})  # type: ignore[arg-type]
    assert one != other
    assert one.environment()["AWS_PROFILE"] == "a"


@pytest.mark.processes
def test_a_password_in_a_base_url_is_never_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "https://ada:PASSWORD@gateway.example/v1"
    with pytest.raises(litellm.AuthenticationError, match=r"https://gateway\.example/v1") as raised:
        litellm.completion("claude_code/sonnet", messages=ASK, api_base=url)
    assert "PASSWORD" not in str(raised.value) + repr(raised.value)
    with pytest.raises(Exception) as failed:  # noqa: PT011 - whichever it is: nobody answers there
        litellm.completion(
            "claude_code/sonnet", messages=ASK, api_base="http://ada:PASSWORD@127.0.0.1:9", api_key="k", max_retries=0
        )
    assert "PASSWORD" not in str(failed.value) + repr(failed.value)
    identity = litellm_claude_code.whoami(api_base=url, api_key="k")
    assert identity["base_url"] == "https://gateway.example/v1"
    assert without_password("see https://a:b@c@host/x?mail=a@b and ada@example.org") == (
        "see https://host/x?mail=a@b and ada@example.org"
    )


UNCHECKED = {"LITELLM_CLAUDE_CODE_SELF_CHECK": "false"}
ONE_CALL = """
import litellm
import litellm_claude_code
from litellm_claude_code.testing import StandIn

with open("/etc/claude-code/managed-settings.json", "w") as file:
    file.write(sys.argv[1])
with StandIn() as stand_in:
    where = {"api_base": stand_in.base_url, "api_key": stand_in.api_key, "max_retries": 0}
    try:
        litellm.completion("claude_code/haiku", messages=[{"role": "user", "content": "Hello"}], **where)
    except litellm.AuthenticationError as error:
        print(error, len(stand_in.requests), "requests")
    litellm_claude_code.close()
"""


@pytest.mark.processes
def test_the_hooks_of_a_policy_are_refused_and_do_not_run(forks: Forker, tmp_path: Path) -> None:
    hook = {"type": "command", "command": f"env > {tmp_path}/ran"}
    policy = json.dumps({"hooks": {"UserPromptSubmit": [{"hooks": [hook]}]}})
    told = run_under_policy(forks, ONE_CALL, policy, home=tmp_path, **UNCHECKED)
    assert f"{POLICY_FILE} sets hooks, so Claude Code would start a program" in told
    assert "0 requests" in told
    assert not (tmp_path / "ran").exists()


WRITTEN_LATER = """
import json
import os
import litellm
import litellm_claude_code
from litellm_claude_code.in_force import policy_stamp
from litellm_claude_code.testing import StandIn

def ask():
    return litellm.completion("claude_code/haiku", messages=[{"role": "user", "content": "Hello"}], **where)

with StandIn() as stand_in, StandIn(api_key=None) as other:
    where = {"api_base": stand_in.base_url, "api_key": stand_in.api_key, "max_retries": 0}
    ask()
    before = policy_stamp()
    os.makedirs("/etc/claude-code/managed-settings.d", exist_ok=True)
    with open("/etc/claude-code/managed-settings.d/late.json", "w") as file:
        json.dump({"env": {"ANTHROPIC_BASE_URL": other.base_url}}, file)
    for _ in range(2):
        try:
            ask()
        except litellm.AuthenticationError as error:
            print(error, len(other.requests), "requests")
    os.unlink("/etc/claude-code/managed-settings.d/late.json")
    assert policy_stamp() != before  # or a process that has read the file would take the next call
    print(ask().choices[0].message.content, len(other.requests), "requests")
    litellm_claude_code.close()
"""


@pytest.mark.processes
def test_a_policy_that_is_written_while_a_process_is_warm_is_refused(forks: Forker, tmp_path: Path) -> None:
    told = run_under_policy(forks, WRITTEN_LATER, home=tmp_path, **UNCHECKED)
    assert told.count("/etc/claude-code/managed-settings.d/late.json sets ANTHROPIC_BASE_URL") == 2
    assert told.count(" 0 requests") == 3
    assert "You said: Hello" in told
