"""When GEPA stops because the budget may not cover another round."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from litellm_claude_code_runs.books import books
from litellm_claude_code_runs.budget import Budget
from litellm_claude_code_runs.usage import Used


@pytest.fixture
def budget() -> Iterator[Budget]:
    budget = Budget("test_stopper", max_calls=100)
    budget.reset()
    yield budget
    budget.reset()


def spend(budget: Budget, calls: int) -> None:
    ledger = books().ledger(budget.name)
    assert ledger.enter(None, "haiku", calls) is None
    ledger.leave("haiku", entered=calls, made=calls, used=Used(input_tokens=10 * calls, usd=0.01 * calls))


def state(programs: int, *, examples: int = 20) -> SimpleNamespace:
    scores = [dict.fromkeys(range(examples), 1.0)] * programs
    return SimpleNamespace(program_candidates=[{}] * programs, prog_candidate_val_subscores=scores)


def test_a_round_is_expected_to_cost_the_most_expensive_search_plus_the_first_scoring(budget: Budget) -> None:
    stops = budget.stopper()
    spend(budget, 20)
    assert not stops(state(1))
    spend(budget, 30)  # a search that found nothing
    assert not stops(state(1))  # 50, and 50 more
    spend(budget, 1)
    assert stops(state(1))


def test_a_round_is_expected_to_cost_no_less_than_an_earlier_one(budget: Budget) -> None:
    stops = budget.stopper()
    spend(budget, 10)
    assert not stops(state(1))
    spend(budget, 44)  # with retries
    assert not stops(state(2))
    spend(budget, 3)
    assert stops(state(2))


@pytest.mark.parametrize(("examples", "enough"), [(80, 47), (8, 33)])
def test_the_first_search_is_expected_to_cost_as_much_as_eight_examples(
    budget: Budget, examples: int, enough: int
) -> None:
    for more in (0, 1):
        budget.reset()
        stops = budget.stopper()
        spend(budget, enough + more)
        assert stops(state(1, examples=examples)) == bool(more)


@pytest.mark.parametrize("most", [{"max_tokens": 599}, {"max_usd": 0.599}])
def test_it_looks_at_every_maximum(budget: Budget, most: dict[str, float]) -> None:
    limited = Budget(budget.name, **most)  # type: ignore[arg-type]  # of each, one
    stops = limited.stopper()
    spend(budget, 20)
    assert not stops(state(1))
    spend(budget, 20)
    assert stops(state(2))
