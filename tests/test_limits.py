"""Limits of the subscription and of an overloaded service: what is refused or held back, when, and for how long."""

import random
from collections.abc import Callable
from datetime import timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from litellm_claude_code.limits.concurrency import ConcurrencyLimiter
from litellm_claude_code.limits.rate_limit_info import RateLimitInfo
from litellm_claude_code.limits.subscription import UNKNOWN_RESET_S, LimitStatus, ReachedLimit, SubscriptionLimits
from litellm_claude_code.login import Login

NOW = 1_795_168_800.0  # 2026-11-20, 10:00 UTC
RESET = int(NOW) + 37 * 60
OF_OPUS = "claude-opus-5-5"
OF_SONNET = "claude-sonnet-5-5"
NEXT_WEEK = int(NOW) + 4 * 86_400 + 15 * 3_600
OWN = Login(payer="subscription")
OTHER = Login(payer="subscription", secrets=(("CLAUDE_CODE_OAUTH_TOKEN", "sk-ant-oat01-other"),))

# What CLI 2.1.327 wrote for a subscription login, against the stand-in.
ALLOWED = {
    "status": "allowed",
    "resetsAt": RESET,
    "rateLimitType": "five_hour",
    "isUsingOverage": False,
    "unifiedWindows": {
        "five_hour": {"utilization": 0.42, "resetsAt": RESET, "status": "allowed"},
        "seven_day": {"utilization": 0.1, "resetsAt": NEXT_WEEK, "status": "allowed"},
    },
}
WARNING = {
    "status": "allowed_warning",
    "resetsAt": RESET,
    "rateLimitType": "five_hour",
    "utilization": 0.91,
    "isUsingOverage": False,
    "surpassedThreshold": 0.9,
}
FIVE_HOUR = {
    "status": "rejected",
    "resetsAt": RESET,
    "rateLimitType": "five_hour",
    "overageStatus": "rejected",
    "overageDisabledReason": "org_level_disabled",
    "isUsingOverage": False,
    "unifiedWindows": {"five_hour": {"utilization": 1, "resetsAt": RESET, "status": "rejected"}},
}
WEEKLY_WITHOUT_RESET = {"status": "rejected", "rateLimitType": "seven_day", "isUsingOverage": False}
OPUS = {"status": "rejected", "resetsAt": NEXT_WEEK, "rateLimitType": "seven_day_opus", "isUsingOverage": False}
OVERAGE = {
    "status": "rejected",
    "resetsAt": RESET,
    "rateLimitType": "five_hour",
    "overageStatus": "allowed",
    "overageResetsAt": NEXT_WEEK,
    "isUsingOverage": True,
    "overageInUse": True,
}
OVERAGE_OF_ONE_MODEL = {
    "status": "allowed",
    "resetsAt": RESET,
    "rateLimitType": "five_hour",
    "overageStatus": "allowed",
    "isUsingOverage": False,
    "overageInUse": True,
}
OUT_OF_CREDITS = {
    "status": "rejected",
    "overageStatus": "rejected",
    "overageDisabledReason": "out_of_credits",
    "isUsingOverage": False,
}
SPEND_CAP = {
    "status": "rejected",
    "resetsAt": RESET,
    "overageDisabledReason": "org_level_disabled_until",
    "isUsingOverage": False,
}
PAUSED = {"status": "rejected", "resetsAt": NEXT_WEEK, "isUsingOverage": False, "dailyCapPaused": True}
BUSY = {"status": "rejected", "isUsingOverage": False}
BUSY_WITH_A_RESET = {"status": "rejected", "resetsAt": RESET, "isUsingOverage": False}

SEEN = [ALLOWED, WARNING, FIVE_HOUR, WEEKLY_WITHOUT_RESET, OPUS, OVERAGE, OVERAGE_OF_ONE_MODEL, OUT_OF_CREDITS,
        SPEND_CAP, PAUSED, BUSY, BUSY_WITH_A_RESET]  # fmt: skip


@pytest.fixture
def limits() -> SubscriptionLimits:
    return SubscriptionLimits()


@pytest.mark.parametrize(
    ("info", "until"),
    [
        (FIVE_HOUR, RESET),
        (WEEKLY_WITHOUT_RESET, NOW + UNKNOWN_RESET_S),
        (OPUS, NEXT_WEEK),
        (OVERAGE, RESET),
        (OVERAGE_OF_ONE_MODEL, RESET),
        (OUT_OF_CREDITS, NOW + UNKNOWN_RESET_S),
        (SPEND_CAP, RESET),
        (PAUSED, NEXT_WEEK),
    ],
)
def test_a_reached_limit_refuses_until_its_reset_and_no_longer(
    limits: SubscriptionLimits, info: Any, until: float
) -> None:
    reached = limits.note(OWN, info, NOW, model=OF_OPUS)
    assert reached is not None
    assert reached.until == until
    assert limits.refusal(OWN, NOW, model=OF_OPUS) == reached
    assert limits.refusal(OWN, until - 1, model=OF_OPUS) == reached
    assert limits.refusal(OWN, until, model=OF_OPUS) is None
    assert limits.status(OWN, now=until)["reached"] == []


@pytest.mark.parametrize(
    ("info", "status"), [(ALLOWED, "allowed"), (WARNING, "allowed_warning"), (BUSY, None), (BUSY_WITH_A_RESET, None)]
)
def test_reports_of_unreached_limits_and_of_a_busy_service_refuse_nothing(
    limits: SubscriptionLimits, info: Any, status: str | None
) -> None:
    assert limits.note(OWN, info, NOW) is None
    assert limits.refusal(OWN, NOW) is None
    assert limits.status(now=NOW)["status"] == status


@pytest.mark.parametrize(
    ("info", "met_by", "login", "model", "is_refused"),
    [
        (FIVE_HOUR, None, OWN, None, True),
        (FIVE_HOUR, None, OTHER, None, False),
        (FIVE_HOUR, OF_OPUS, OWN, OF_SONNET, True),
        *(
            (info, OF_OPUS, OWN, model, model == OF_OPUS)
            for info in (OPUS, OVERAGE_OF_ONE_MODEL, {**BUSY, "errorCode": "credits_required"})
            for model in (OF_OPUS, OF_SONNET)
        ),
        (OPUS, None, OWN, OF_SONNET, True),  # it is not known which model met it
    ],
)
def test_a_limit_refuses_its_login_and_either_all_models_or_one(
    limits: SubscriptionLimits, info: Any, met_by: str | None, login: Login, model: str | None, is_refused: bool
) -> None:
    limits.note(OWN, info, NOW, model=met_by)
    assert (limits.refusal(login, NOW, model=model) is not None) == is_refused


@pytest.mark.parametrize("info", [OVERAGE, OVERAGE_OF_ONE_MODEL])
def test_extra_usage_counts_as_a_reached_limit_unless_it_is_allowed(limits: SubscriptionLimits, info: Any) -> None:
    limits.note(OWN, info, NOW, model=OF_OPUS)
    refused = limits.refusal(OWN, NOW, model=OF_OPUS)
    assert refused is not None
    assert refused.is_overage
    assert limits.refusal(OWN, NOW, model=OF_OPUS, allow_overage=True) is None
    assert limits.status(OWN, now=NOW)["overage"]["is_in_use"]


def test_exhausted_extra_usage_refuses_even_if_extra_usage_is_allowed(limits: SubscriptionLimits) -> None:
    limits.note(OWN, OVERAGE, NOW)
    limits.note(OWN, FIVE_HOUR, NOW + 1)
    refused = limits.refusal(OWN, NOW + 1, allow_overage=True)
    assert refused is not None
    assert not refused.is_overage


def test_an_answer_that_began_before_the_limit_does_not_lift_it(limits: SubscriptionLimits) -> None:
    limits.note(OWN, FIVE_HOUR, NOW)
    limits.note(OWN, ALLOWED, NOW + 5)
    assert limits.refusal(OWN, NOW + 5)
    assert limits.status(OWN, now=NOW + 5)["status"] == "allowed"


def test_of_two_limits_the_one_that_lasts_longer_is_reported(limits: SubscriptionLimits) -> None:
    limits.note(OWN, {**WEEKLY_WITHOUT_RESET, "resetsAt": NEXT_WEEK}, NOW)
    limits.note(OWN, FIVE_HOUR, NOW + 1)
    refused = limits.refusal(OWN, NOW + 1)
    assert refused is not None
    assert refused.window == "seven_day"
    assert limits.refusal(OWN, RESET) == refused
    assert limits.refusal(OWN, NEXT_WEEK) is None


@pytest.mark.parametrize("reset", [NOW - 3600, NOW, NOW * 1000, -1, float("nan"), float("inf"), True, "soon", None])
def test_an_implausible_reset_time_blocks_for_a_short_time_only(limits: SubscriptionLimits, reset: Any) -> None:
    reached = limits.note(OWN, {**FIVE_HOUR, "resetsAt": reset}, NOW)
    assert reached is not None
    assert (reached.resets_at, reached.wait_s(NOW)) == (None, UNKNOWN_RESET_S)


def test_status_before_any_report(limits: SubscriptionLimits) -> None:
    nothing: LimitStatus = {
        "status": None,
        "window": None,
        "utilization": None,
        "resets_at": None,
        "windows": {},
        "overage": {"is_in_use": False, "is_enabled": None, "status": None, "resets_at": None, "disabled_reason": None},
        "reached": [],
        "noted_at": None,
    }
    assert limits.status(now=NOW) == nothing
    limits.note(OWN, FIVE_HOUR, NOW)
    assert limits.status(OTHER, now=NOW) == nothing


def test_status_shows_the_reported_limits_and_their_consequences(limits: SubscriptionLimits) -> None:
    limits.note(OWN, ALLOWED, NOW)
    limits.note(OWN, FIVE_HOUR, NOW + 1)
    assert limits.status(OWN, now=NOW + 2) == {
        "status": "rejected",
        "window": "five_hour",
        "utilization": None,
        "resets_at": RESET,
        "windows": {
            "five_hour": {"utilization": 1, "resets_at": RESET, "status": "rejected"},
            "seven_day": {"utilization": 0.1, "resets_at": NEXT_WEEK, "status": "allowed"},
        },
        "overage": {
            "is_in_use": False,
            "is_enabled": None,
            "status": "rejected",
            "resets_at": None,
            "disabled_reason": "org_level_disabled",
        },
        "reached": [
            {"window": "five_hour", "model": None, "resets_at": RESET, "until": RESET, "is_overage": False},
        ],
        "noted_at": NOW + 1,
    }
    assert list(limits.status(OWN, now=RESET)["windows"]) == ["seven_day"]


def test_status_without_a_login_is_that_of_the_most_recent_login(limits: SubscriptionLimits) -> None:
    for login, info in ((OWN, FIVE_HOUR), (OTHER, ALLOWED), (OWN, FIVE_HOUR)):
        limits.note(login, info, NOW)
        assert limits.status(now=NOW)["status"] == info["status"]


def test_changing_a_status_changes_nothing(limits: SubscriptionLimits) -> None:
    limits.note(OWN, FIVE_HOUR, NOW)
    told = limits.status(OWN, now=NOW)
    told["windows"]["five_hour"]["utilization"] = 0
    told["overage"]["is_in_use"] = True
    told["reached"].clear()
    assert limits.status(OWN, now=NOW)["windows"]["five_hour"]["utilization"] == 1
    assert not limits.status(OWN, now=NOW)["overage"]["is_in_use"]
    assert limits.refusal(OWN, NOW)


@pytest.mark.parametrize(
    ("info", "now", "sentence"),
    [
        (
            FIVE_HOUR,
            NOW,
            "The 5-hour limit of the Claude subscription is reached; it resets at 10:37 (in 37 min). Calls fail at "
            "once until then. To continue, set LITELLM_CLAUDE_CODE_ON_LIMIT=wait to wait for the reset, or pay with a "
            "key by giving the call `api_key=`.",
        ),
        (
            OVERAGE,
            RESET - 42,
            "The 5-hour limit of the Claude subscription is reached, and extra usage, billed on top of it, has begun; "
            "it resets at 10:37 (in 42 s). Calls fail at once until then. To continue, set "
            "LITELLM_CLAUDE_CODE_ON_LIMIT=wait to wait for the reset, or set LITELLM_CLAUDE_CODE_ALLOW_OVERAGE=true to "
            "pay for extra usage, or pay with a key by giving the call `api_key=`.",
        ),
        (
            OPUS,
            NOW,
            "The weekly Opus limit of the Claude subscription is reached; it resets on 2026-11-25 at 01:00 "
            "(in 4 d 15 h). Calls fail at once until then. To continue, set LITELLM_CLAUDE_CODE_ON_LIMIT=wait to wait "
            "for the reset, or use another model, or pay with a key by giving the call `api_key=`.",
        ),
        (
            WEEKLY_WITHOUT_RESET,
            NOW,
            "The weekly limit of the Claude subscription is reached; its reset time is unknown (the next try is in "
            "1 min). Calls fail at once until then. To continue, set LITELLM_CLAUDE_CODE_ON_LIMIT=wait to wait for the "
            "reset, or pay with a key by giving the call `api_key=`.",
        ),
    ],
)
def test_the_error_names_the_limit_and_its_reset_and_how_to_continue(
    limits: SubscriptionLimits, info: Any, now: float, sentence: str
) -> None:
    reached = limits.note(OWN, info, NOW, model=OF_OPUS)
    assert reached is not None
    assert reached.sentence(now, tz=timezone.utc) == sentence


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0 s"), (59.5, "60 s"), (61, "2 min"), (3_600, "1 h"), (5_400, "1 h 30 min"), (48 * 3_600, "2 d")],
)
def test_times_to_a_reset_are_rounded_up(seconds: float, told: str) -> None:
    reached = ReachedLimit(window="new", resets_at=NOW + seconds, until=NOW + seconds, is_overage=False, model=None)
    assert f"(in {told})" in reached.sentence(NOW, tz=timezone.utc)
    assert "The usage limit of" in reached.sentence(NOW)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@given(st.sampled_from(SEEN), st.data())
def test_no_report_of_the_cli_can_break_anything(info: dict[str, Any], data: st.DataObject) -> None:
    broken = {**info, **data.draw(st.dictionaries(st.sampled_from(sorted({*ALLOWED, *OVERAGE})), json_values))}
    limits = SubscriptionLimits()
    reached = limits.note(OWN, broken, NOW)
    assert limits.refusal(OWN, NOW) == reached
    assert limits.status(OWN, now=NOW)["reached"] == [] or reached is not None
    if reached is not None:
        assert NOW < reached.until <= NOW + 32 * 86_400
        assert reached.sentence(NOW)
    assert isinstance(RateLimitInfo.read(broken).status, str)


@given(st.dictionaries(st.sampled_from(["five_hour", "seven_day", "seven_day_opus", "extra_usage"]), json_values))
def test_no_reply_about_usage_can_break_anything(limits_told: dict[str, Any]) -> None:
    for told in ({"rate_limits": limits_told}, {"rate_limits": {"five_hour": limits_told, "extra_usage": limits_told}}):
        limits = SubscriptionLimits()
        reached = limits.note_usage(OWN, told, NOW)
        assert limits.refusal(OWN, NOW) == reached
        assert reached is None or limits.status(OWN, now=NOW)["overage"]["is_in_use"]


@given(st.lists(st.tuples(st.sampled_from(SEEN), st.sampled_from([OWN, OTHER]), st.integers(0, 100)), max_size=12))
def test_allowing_extra_usage_never_refuses_more_and_logins_do_not_affect_each_other(notes: Any) -> None:
    limits, alone, now = SubscriptionLimits(), SubscriptionLimits(), NOW
    for info, login, later in notes:
        now += later
        limits.note(login, info, now)
        if login is OWN:
            alone.note(login, info, now)
        assert limits.refusal(OWN, now) == alone.refusal(OWN, now)
        if limits.refusal(OWN, now, allow_overage=True):
            assert limits.refusal(OWN, now)
    assert limits.refusal(OWN, now + 32 * 86_400) is None


def limiter_of(maximum: int, seed: int = 0) -> ConcurrencyLimiter:
    return ConcurrencyLimiter(maximum, dice=random.Random(seed))


def run(limiter: ConcurrencyLimiter, calls: int, end: Callable[[int], None], now: float = 0.0) -> None:
    """Start so many calls at once, then end each."""
    for began in [limiter.start(now) for _ in range(calls)]:
        end(began)


def test_a_limiter_allows_at_least_one_call() -> None:
    with pytest.raises(ValueError, match="not 0"):
        ConcurrencyLimiter(0)
    assert repr(ConcurrencyLimiter(3)) == "<ConcurrencyLimiter: 0 in flight of 3 allowed, 3 at most>"


def test_all_may_start_as_long_as_nothing_is_overloaded() -> None:
    limiter = limiter_of(8)
    assert limiter.room(0) == 8
    run(limiter, 8, limiter.succeeded)
    run(limiter, 8, limiter.left)
    assert (limiter.allowed, limiter.room(0), limiter.pause_s(0)) == (8, 8, 0)
    began = limiter.start(0)
    assert limiter.room(0) == 7
    limiter.left(began)


@given(maximum=st.integers(1, 64), calls=st.integers(1, 64), seed=st.integers())
def test_a_burst_of_failures_halves_the_concurrency_once(maximum: int, calls: int, seed: int) -> None:
    limiter = limiter_of(maximum, seed)
    calls = min(calls, maximum)
    run(limiter, calls, lambda began: limiter.overloaded(began, 1.0))
    assert limiter.allowed == max(1, calls // 2)
    assert limiter.in_flight == 0


def test_a_call_that_meets_the_overload_again_halves_again() -> None:
    limiter = limiter_of(8)
    run(limiter, 8, lambda began: limiter.overloaded(began, 1.0))
    run(limiter, 4, lambda began: limiter.overloaded(began, 9.0), now=8.0)
    assert limiter.allowed == 2


def test_answers_of_calls_from_before_the_decrease_do_not_grow_it_back() -> None:
    limiter = limiter_of(8)
    begun = [limiter.start(0) for _ in range(8)]
    limiter.overloaded(begun.pop(), 1.0)
    for began in begun:
        limiter.succeeded(began)
    assert (limiter.allowed, limiter.in_flight) == (4, 0)


@given(maximum=st.integers(1, 24), seed=st.integers())
def test_enough_successes_recover_all(maximum: int, seed: int) -> None:
    limiter = limiter_of(maximum, seed)
    while limiter.allowed > 1:
        run(limiter, limiter.allowed, lambda began: limiter.overloaded(began, 0.0))
    for allowed in range(1, maximum):
        assert limiter.allowed == allowed
        run(limiter, allowed, limiter.succeeded)
    run(limiter, 3 * maximum, limiter.succeeded)
    assert limiter.allowed == maximum


@given(strikes=st.integers(1, 40), seed=st.integers())
def test_pauses_grow_with_jitter_up_to_a_maximum_and_end_with_a_success(strikes: int, seed: int) -> None:
    limiter, now = limiter_of(8, seed), 0.0
    for strike in range(strikes):
        run(limiter, 1, lambda began: limiter.overloaded(began, now), now=now)  # noqa: B023 - run at once
        longest = min(ConcurrencyLimiter.LONGEST_PAUSE_S, ConcurrencyLimiter.FIRST_PAUSE_S * 2**strike)
        assert longest / 2 <= limiter.pause_s(now) <= longest
        assert limiter.room(now) == 0
        now += limiter.pause_s(now)
        assert limiter.pause_s(now) < 1e-6
    now += 1
    assert limiter.room(now) == 1
    run(limiter, 1, limiter.succeeded, now=now)
    run(limiter, 1, lambda began: limiter.overloaded(began, now + 1), now=now + 1)
    assert limiter.pause_s(now + 1) <= ConcurrencyLimiter.FIRST_PAUSE_S


def test_two_limiters_do_not_start_again_at_the_same_moment() -> None:
    pauses = set()
    for seed in range(20):
        limiter = limiter_of(8, seed)
        run(limiter, 8, lambda began: limiter.overloaded(began, 0.0))  # noqa: B023 - run at once
        pauses.add(limiter.pause_s(0.0))
    assert len(pauses) == 20


def test_after_a_pause_calls_start_one_by_one_until_one_is_answered() -> None:
    limiter = limiter_of(8)
    run(limiter, 8, lambda began: limiter.overloaded(began, 0.0))
    assert (limiter.allowed, limiter.room(1.0)) == (4, 1)
    began = limiter.start(1.0)
    assert 0 < limiter.pause_s(1.0) <= ConcurrencyLimiter.GAP_S
    assert limiter.room(1.0) == 0
    assert limiter.room(1.0 + ConcurrencyLimiter.GAP_S) == 1
    limiter.succeeded(began)
    assert limiter.room(1.0 + ConcurrencyLimiter.GAP_S) == 4


class AnyLimiter(RuleBasedStateMachine):
    """Calls start, where there is room, and end in any way and any order."""

    def __init__(self) -> None:
        super().__init__()
        self.limiter = limiter_of(8)
        self.now = 0.0
        self.begun: list[int] = []

    @precondition(lambda self: self.limiter.room(self.now) > 0)
    @rule()
    def start(self) -> None:
        self.begun.append(self.limiter.start(self.now))

    @precondition(lambda self: self.begun)
    @rule(data=st.data(), end=st.sampled_from(["succeeded", "left", "overloaded"]))
    def end(self, data: st.DataObject, end: str) -> None:
        began = self.begun.pop(data.draw(st.integers(0, len(self.begun) - 1)))
        before = self.limiter.allowed
        if end == "overloaded":
            self.limiter.overloaded(began, self.now)
            assert self.limiter.allowed <= before
        else:
            (self.limiter.succeeded if end == "succeeded" else self.limiter.left)(began)
            assert before <= self.limiter.allowed <= before + (end == "succeeded")

    @rule(seconds=st.floats(0, 60))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def bounds_hold(self) -> None:
        assert 1 <= self.limiter.allowed <= self.limiter.maximum
        assert self.limiter.in_flight == len(self.begun) <= self.limiter.maximum
        assert 0 <= self.limiter.room(self.now) <= self.limiter.allowed
        assert self.limiter.pause_s(self.now) <= ConcurrencyLimiter.LONGEST_PAUSE_S

    @invariant()
    def a_call_can_start_once_all_have_ended(self) -> None:
        if not self.begun:
            assert self.limiter.room(self.now + self.limiter.pause_s(self.now) + 1e-6) > 0


TestAnyLimiter = AnyLimiter.TestCase
