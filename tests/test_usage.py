"""What a subscription has used is asked for as calls are made, so that extra usage that has begun is noticed."""

from collections.abc import Callable
from typing import Any

import litellm
import pytest

import litellm_claude_code
from litellm_claude_code import cause_of
from litellm_claude_code.testing import StandIn

from .support.anthropic_host import AnthropicHost
from .support.limits import usage
from .support.requests import ASK
from .support.waiting import wait_until


@pytest.fixture
def host(default_endpoint: AnthropicHost) -> AnthropicHost:
    return default_endpoint


def ask() -> str:
    response = litellm.completion("claude_code/haiku", messages=ASK, max_retries=0)
    return str(response.choices[0].message.content)


def status_once(is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return `rate_limit_status()` as soon as `is_so` is true of it."""
    wait_until(lambda: is_so(litellm_claude_code.rate_limit_status()), litellm_claude_code.rate_limit_status)
    return litellm_claude_code.rate_limit_status()


def test_usage_is_known_before_any_limit_is_reached(host: AnthropicHost, stand_in: StandIn) -> None:
    host.usage = usage(42)
    assert ask()
    status = status_once(lambda status: bool(status["windows"]))
    assert (status["status"], status["window"], status["utilization"]) == ("allowed", "five_hour", 0.42)
    assert status["windows"]["seven_day"]["utilization"] == 0.3
    assert status["overage"]["is_enabled"]
    assert not status["overage"]["is_in_use"]
    assert ask()
    assert [path for path in host.asked if "profile" not in path] == ["GET /api/oauth/usage"]
    assert len(stand_in.requests) == 2


def test_extra_usage_that_has_begun_is_a_limit_that_is_reached(host: AnthropicHost, stand_in: StandIn) -> None:
    host.usage = usage(100)
    assert ask()
    status_once(lambda status: status["overage"]["is_in_use"])
    with pytest.raises(litellm.RateLimitError, match="extra usage, billed on top of it, has begun") as raised:
        ask()
    cause = cause_of(raised.value)
    assert cause is not None
    assert cause.limit is not None
    assert (cause.limit.window, cause.limit.is_overage, cause.limit.model) == ("five_hour", True, None)
    assert litellm_claude_code.whoami()["overage"]["is_in_use"]
    assert len(stand_in.requests) == 1


def test_extra_usage_can_be_opted_in_to(host: AnthropicHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_CLAUDE_CODE_ALLOW_OVERAGE", "true")
    host.usage = usage(100)
    assert ask()
    status_once(lambda status: status["overage"]["is_in_use"])
    assert ask()
    identity = litellm_claude_code.whoami()
    assert (identity["allows_overage"], identity["overage"]["is_in_use"]) == (True, True)


def test_a_full_window_without_extra_usage_is_the_services_to_refuse(host: AnthropicHost) -> None:
    host.usage = usage(100, extra=False)
    assert ask()
    assert status_once(lambda status: bool(status["windows"]))["status"] == "allowed_warning"
    assert ask()


def test_a_service_that_does_not_report_usage_changes_nothing(host: AnthropicHost) -> None:
    host.usage = {"five_hour": None, "surprise": [1]}
    assert ask()
    assert ask()
    assert not litellm_claude_code.rate_limit_status()["overage"]["is_in_use"]


def test_a_setting_turns_off_the_request_for_usage(host: AnthropicHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_CLAUDE_CODE_USAGE_EVERY_S", "0")
    assert ask()
    assert ask()
    assert [path for path in host.asked if "usage" in path] == []
