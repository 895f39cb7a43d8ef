"""`whoami()` says which login would pay, as the real CLI tells, and makes no request for it."""

import json
from pathlib import Path
from typing import Any

import litellm
import pytest

import litellm_claude_code
from litellm_claude_code.testing import StandIn

from .support.anthropic_host import log_in

pytestmark = pytest.mark.processes

TOKEN = "sk-ant-oat01-MARKED"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration folder of Claude Code's without a login."""
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path))
    return tmp_path


def told(**where: Any) -> dict[str, Any]:
    identity = litellm_claude_code.whoami(**where)
    assert "MARKED" not in repr(identity)
    return dict(identity)


def test_a_login_of_claude_code_is_reported_with_its_account_and_plan(config: Path) -> None:
    file = log_in(config, TOKEN)
    identity = told()
    assert identity == {
        "payer": "subscription",
        "is_logged_in": True,
        "source": str(file),
        "base_url": "https://api.anthropic.com",
        "cloud": None,
        "cloud_account": {},
        "cloud_models": {},
        "cloud_available": {},
        "email": "ada@example.org",
        "organization": "Ada Ltd",
        "plan": "max_20x",
        "allows_overage": False,
        "overage": {"is_in_use": False, "is_enabled": None, "status": None, "resets_at": None, "disabled_reason": None},
    }


def test_a_missing_login_is_reported_whatever_keys_the_environment_has(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-api03-MARKED")
    (config / "settings.json").write_text(json.dumps({"apiKeyHelper": "echo sk-ant-api03-MARKED"}))
    identity = told()
    assert (identity["payer"], identity["is_logged_in"], identity["source"]) == ("subscription", False, None)


def test_a_console_login_is_reported_as_an_api_key(config: Path) -> None:
    (config / ".claude.json").write_text(json.dumps({"primaryApiKey": "sk-ant-api03-MARKED"}))
    identity = told()
    assert (identity["payer"], identity["source"]) == ("api_key", "/login managed key")


@pytest.mark.parametrize(
    ("variables", "where", "expected"),
    [
        ({"CLAUDE_CODE_OAUTH_TOKEN": TOKEN}, {}, ("subscription", "CLAUDE_CODE_OAUTH_TOKEN", None)),
        ({}, {"api_key": "sk-ant-api03-MARKED"}, ("api_key", "`api_key` of the call", None)),
        (
            {"LITELLM_CLAUDE_CODE_AUTH": "api_key", "ANTHROPIC_API_KEY": "sk-ant-api03-MARKED"},
            {},
            ("api_key", "ANTHROPIC_API_KEY", None),
        ),
        (
            {"ANTHROPIC_BASE_URL": "http://127.0.0.1:9", "ANTHROPIC_AUTH_TOKEN": "MARKED"},
            {},
            ("gateway", "ANTHROPIC_AUTH_TOKEN", None),
        ),
        (
            {"CLAUDE_CODE_USE_BEDROCK": "1", "AWS_REGION": "us-east-1"},
            {},
            ("cloud", "CLAUDE_CODE_USE_BEDROCK", "bedrock"),
        ),
    ],
)
def test_the_credential_that_would_pay_is_named_by_where_it_comes_from(
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    where: dict[str, str],
    expected: tuple[str, str, str | None],
) -> None:
    log_in(config, TOKEN)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    identity = told(**where)
    assert (identity["payer"], identity["source"], identity["cloud"]) == expected
    assert identity["is_logged_in"]


async def test_it_asks_no_model_and_can_be_awaited(config: Path, stand_in: StandIn) -> None:
    where = {"api_base": stand_in.base_url, "api_key": stand_in.api_key}
    identity = await litellm_claude_code.provider.awhoami(**where)
    assert (identity["payer"], identity["base_url"]) == ("gateway", stand_in.base_url)
    assert stand_in.requests == stand_in.other_requests == []


def test_whoami_refuses_the_same_settings_as_a_call(config: Path, stand_in: StandIn) -> None:
    log_in(config, TOKEN)
    with pytest.raises(litellm.AuthenticationError, match="not sent there"):
        litellm_claude_code.whoami(api_base=stand_in.base_url)
