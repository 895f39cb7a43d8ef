"""When a process is booted for a waiting call, and when not: the decision by itself, without processes."""

from dataclasses import dataclass

import pytest

from litellm_claude_code.login import Login
from litellm_claude_code.pool import schedule
from litellm_claude_code.pool.schedule import CallTimings, decide, unneeded_boots
from litellm_claude_code.process.worker import State
from litellm_claude_code.settings import Settings

HERE, ELSEWHERE = Login(payer="subscription"), Login(payer="api_key")
NOW = 1000.0
CORES = 4


@dataclass(kw_only=True)
class View:
    state: State
    login: Login = HERE
    system: str = "S"
    calls: int = 1
    growth_mib: float = 0.0
    used_at: float = NOW - 1
    asked_at: float | None = None


@dataclass(kw_only=True)
class Waiting:
    login: Login = HERE
    system: str = "S"
    since: float = NOW


@pytest.fixture(autouse=True)
def _cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "cores", lambda: CORES)


def boots(
    workers: list[View], waiting: list[Waiting], *, timings: CallTimings | None = None, spares: int = 0
) -> list[Login]:
    settings = Settings(max_workers=32, spare_workers=spares)
    return decide(workers, waiting, settings=settings, now=NOW, timings=timings or CallTimings()).boot


def timings(*, api_s: float, own_s: float = 0.05) -> CallTimings:
    made = CallTimings()
    made.note(api_s=api_s, own_s=own_s)
    return made


def test_of_many_calls_that_come_at_once_as_many_boot_a_process_as_there_are_cores() -> None:
    assert boots([], [Waiting()] * 10) == [HERE] * CORES
    booting = View(state=State.BOOTING, used_at=NOW - 0.5)
    assert boots([booting] * 3, [Waiting()] * 10) == [HERE]
    assert boots([booting] * CORES, [Waiting()] * 10 + [Waiting(login=ELSEWHERE)]) == []


def test_a_boot_that_hangs_keeps_no_core_from_others() -> None:
    hanging = View(state=State.BOOTING, used_at=NOW - 30)
    assert boots([hanging] * CORES, [Waiting()] * 10) == [HERE] * CORES


@pytest.mark.parametrize(("api_s", "expected"), [(0.0, 0), (0.05, 2), (1.0, CORES)])
def test_there_are_no_more_workers_than_keep_the_cores_busy(api_s: float, expected: int) -> None:
    busy = [View(state=State.BUSY, asked_at=NOW)] * 6
    assert len(boots(busy, [Waiting(since=NOW - 1)] * 10, timings=timings(api_s=api_s))) == expected


def test_an_api_that_has_become_slow_is_noticed_before_it_answers() -> None:
    busy = [View(state=State.BUSY, asked_at=NOW - 5)] * 6
    assert len(boots(busy, [Waiting(since=NOW - 1)] * 10, timings=timings(api_s=0.0))) == CORES


def test_a_login_without_a_worker_gets_one_whatever_the_others_do() -> None:
    busy = [View(state=State.BUSY, asked_at=NOW)] * 6
    assert boots(busy, [Waiting(login=ELSEWHERE)], timings=timings(api_s=0.0)) == [ELSEWHERE]


def test_idle_workers_of_another_login_do_not_count() -> None:
    others = [View(state=State.IDLE, login=ELSEWHERE)] * 6
    busy = [View(state=State.BUSY, asked_at=NOW)] * 2
    assert boots([*others, *busy], [Waiting(since=NOW - 1)] * 10, timings=timings(api_s=0.0)) == [HERE] * 2


def test_a_spare_is_kept_if_it_is_useful() -> None:
    busy = [View(state=State.BUSY, asked_at=NOW)] * CORES
    assert boots(busy, [], timings=timings(api_s=1.0), spares=1) == [HERE]
    assert boots(busy, [], timings=timings(api_s=0.0), spares=1) == []


def test_the_timings_follow_the_calls() -> None:
    changing = timings(api_s=0.0)
    assert changing.useful_workers([]) == CORES
    for _ in range(50):
        changing.note(api_s=1.0, own_s=0.05)
    assert changing.useful_workers([]) == pytest.approx(CORES * 21, rel=0.02)
    assert changing.call_s == pytest.approx(1.05, rel=0.02)


@pytest.mark.parametrize(
    ("waiting", "spares", "closed"),
    [(0, 0, 3), (0, 1, 3), (0, 2, 2), (0, 9, 0), (1, 1, 2), (2, 1, 1), (3, 0, 1), (4, 0, 0), (100, 0, 0)],
)
def test_after_calls_have_left_the_boots_that_no_call_needs_are_closed(waiting: int, spares: int, closed: int) -> None:
    booting = [View(state=State.BOOTING, system="", used_at=NOW - 4 + number) for number in range(4)]
    elsewhere = View(state=State.BOOTING, system="", login=ELSEWHERE)
    surplus = unneeded_boots([*booting, elsewhere], [Waiting()] * waiting, login=HERE, spares=spares)
    assert surplus == booting[::-1][:closed]


def test_a_call_that_left_closes_no_worker_that_is_past_its_boot() -> None:
    booted = [View(state=state) for state in (State.IDLE, State.BUSY, State.RESETTING)]
    assert unneeded_boots(booted, [], login=HERE, spares=0) == []


def test_a_booting_worker_is_closed_when_a_free_one_serves_the_calls_that_still_wait() -> None:
    booting, resetting = View(state=State.BOOTING, system=""), View(state=State.RESETTING)
    assert unneeded_boots([booting, resetting], [Waiting()], login=HERE, spares=0) == [booting]
    assert unneeded_boots([booting, resetting], [Waiting(system="")], login=HERE, spares=0) == []


def test_calls_of_another_login_keep_no_boot_alive() -> None:
    booting = [View(state=State.BOOTING, system="", used_at=NOW - age) for age in (1, 2)]
    assert unneeded_boots(booting, [Waiting(login=ELSEWHERE)] * 9, login=HERE, spares=0) == booting[:1]


def test_a_logins_only_worker_goes_on_booting_after_its_call_has_left() -> None:
    booting = View(state=State.BOOTING, system="")
    assert unneeded_boots([booting], [], login=HERE, spares=0) == []
