"""Which credential pays: the login, unless the caller chooses another."""

import json
from pathlib import Path
from typing import Any

import litellm
import pytest

import litellm_claude_code
from litellm_claude_code.auth import choose_login
from litellm_claude_code.login import Login
from litellm_claude_code.settings import Settings
from litellm_claude_code.testing import StandIn

from .support.anthropic_host import AnthropicHost
from .support.requests import ASK

KEY, TOKEN = "sk-ant-api03-of-the-environment", "sk-ant-oat01-of-the-environment"


def choose(environ: dict[str, str] | None = None, settings: Settings | None = None, **given: Any) -> Login:
    request = {"api_key": None, "api_base": None, **given}
    return choose_login(**request, settings=settings or Settings(), model="sonnet", environ=environ or {})


def test_the_login_pays_whatever_keys_the_environment_holds() -> None:
    login = choose({"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_AUTH_TOKEN": KEY, "CLAUDE_CODE_OAUTH_TOKEN": TOKEN})
    assert (login.payer, dict(login.secrets)) == ("subscription", {"CLAUDE_CODE_OAUTH_TOKEN": TOKEN})
    assert not login.passes_on("ANTHROPIC_API_KEY")
    assert not login.passes_on("ANTHROPIC_AUTH_TOKEN")


def test_a_key_pays_if_the_caller_opts_in() -> None:
    assert choose(api_key=KEY).payer == "api_key"
    login = choose({"ANTHROPIC_API_KEY": KEY}, Settings(auth="api_key"))
    assert (login.payer, dict(login.secrets)) == ("api_key", {"ANTHROPIC_API_KEY": KEY})


def test_a_cloud_pays_if_the_environment_names_one() -> None:
    login = choose({"CLAUDE_CODE_USE_BEDROCK": "1", "AWS_REGION": "eu-west-1"})
    assert login.payer == "cloud"
    assert login.environment()["AWS_REGION"] == "eu-west-1"
    assert not choose({"CLAUDE_CODE_USE_BEDROCK": "0"}).passes_on("AWS_REGION")


@pytest.mark.parametrize("environ", [{}, {"ANTHROPIC_API_KEY": KEY}, {"CLAUDE_CODE_OAUTH_TOKEN": TOKEN}])
def test_the_login_goes_to_no_other_base_url(environ: dict[str, str]) -> None:
    with pytest.raises(litellm.AuthenticationError, match="not sent there"):
        choose(environ, api_base="http://gateway.example")
    with pytest.raises(litellm.AuthenticationError, match="not sent there"):
        choose({**environ, "ANTHROPIC_BASE_URL": "http://gateway.example"})


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("localhost:4000", ", not 'localhost:4000'."),
        ("user:SECRET@localhost:4000/v1", ", not 'localhost:4000/v1'."),
        ("ftp://user:SECRET@host", ", not 'ftp://host'."),
        ("//host", ", not '//host'."),
        ("http://", ", not 'http:'."),
        ("sk-ant-api03-SECRET", "."),
    ],
)
def test_a_base_url_without_a_scheme_is_refused_before_a_process_starts(url: str, told: str) -> None:
    for key in (KEY, None):
        for where, environ, api_base in (
            ("`api_base`", {}, url),
            ("ANTHROPIC_BASE_URL", {"ANTHROPIC_BASE_URL": url}, None),
        ):
            with pytest.raises(litellm.BadRequestError) as raised:
                choose(environ, api_key=key, api_base=api_base)
            assert str(raised.value).endswith(f"{where} must start with http:// or https://{told}")
            assert "SECRET" not in str(raised.value)
    with pytest.raises(litellm.BadRequestError, match="must start with http"):
        litellm.completion("claude_code/haiku", messages=ASK, api_base=url, api_key=KEY, max_retries=0)


def test_a_gateway_gets_its_own_key() -> None:
    login = choose({"CLAUDE_CODE_OAUTH_TOKEN": TOKEN}, api_base="http://gateway.example/", api_key=KEY)
    assert (login.payer, login.base_url) == ("gateway", "http://gateway.example")
    assert dict(login.secrets) == {"ANTHROPIC_API_KEY": KEY}
    login = choose({"ANTHROPIC_BASE_URL": "http://gateway.example", "ANTHROPIC_AUTH_TOKEN": KEY})
    assert dict(login.secrets) == {"ANTHROPIC_AUTH_TOKEN": KEY}


def test_a_setting_lets_the_login_go_to_a_base_url() -> None:
    settings = Settings(send_login_to=("http://gateway.example/",))
    login = choose({"CLAUDE_CODE_OAUTH_TOKEN": TOKEN}, settings, api_base="http://gateway.example")
    assert (login.payer, login.base_url) == ("subscription", "http://gateway.example")


def test_no_repr_contains_a_key() -> None:
    assert KEY not in repr(choose(api_key=KEY))


@pytest.mark.parametrize("stream", [False, True])
def test_without_a_login_the_error_says_how_to_log_in_and_how_to_opt_in(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    with pytest.raises(litellm.AuthenticationError) as raised:
        list(litellm.completion("claude_code/haiku", messages=ASK, stream=stream, max_retries=0))
    told = "Not logged in. Run `litellm-claude-code claude auth login`. Other ways to pay: 'Who pays' in the README"
    assert told in str(raised.value)
    ways = (Path(__file__).parent.parent / "docs" / "limits.md").read_text()
    for word in ("claude setup-token", "/login", "api_key=", "LITELLM_CLAUDE_CODE_AUTH=api_key"):
        assert word in ways
    assert KEY not in str(raised.value)


@pytest.mark.parametrize("model", ["haiku", "haiku@agent"])
@pytest.mark.parametrize("auth", ["subscription", "api_key"])
@pytest.mark.parametrize("kind", ["subscription", "api_key"])
def test_a_login_of_claude_codes_pays_only_as_what_it_is(
    default_endpoint: AnthropicHost,
    stand_in: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    model: str,
    auth: str,
    kind: str,
) -> None:
    litellm_claude_code.profile("agent", tools=[])
    monkeypatch.setenv("LITELLM_CLAUDE_CODE_AUTH", auth)
    if kind == "api_key":  # what `/login` leaves for an account of the Anthropic Console
        (default_endpoint.config / ".credentials.json").unlink()
        (default_endpoint.config / ".claude.json").write_text(json.dumps({"primaryApiKey": stand_in.api_key}))
    if auth == kind:
        assert litellm.completion(f"claude_code/{model}", messages=ASK).choices[0].message.content
        assert ("x-api-key" in stand_in.requests[0].headers) == (kind == "api_key")
    else:
        with pytest.raises(litellm.AuthenticationError, match=r"bills the API|ANTHROPIC_API_KEY is empty"):
            litellm.completion(f"claude_code/{model}", messages=ASK, max_retries=0)
        assert stand_in.requests == []


def test_a_service_on_this_machine_is_asked_without_the_proxy(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    litellm_claude_code.close()
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("NO_PROXY", "example.org")
    where = {"api_base": stand_in.base_url, "api_key": stand_in.api_key}
    assert litellm.completion("claude_code/sonnet", messages=ASK, **where)
    litellm_claude_code.close()
