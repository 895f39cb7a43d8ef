"""Everything DSPy does, on a `ClaudeCodeLM`: on the real CLI."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import litellm
import pydantic
import pytest

pytest.importorskip("dspy")

import dspy

from dspy_adapter import Budget, ClaudeCodeLM, RunHalted, track_run
from litellm_claude_code.testing import (
    Answer,
    Failure,
    RecordedRequest,
    StandIn,
    Thinking,
    ToolUse,
    Usage,
    answer,
)
from litellm_claude_code.testing.made_up import respond as made_up_answer

from .support.dspy_runs import quiet
from .support.limits import limited
from .support.requests import PIXEL
from .support.waiting import wait_until

IS_3_3 = dspy.__version__.startswith("3.3.")
PARIS = "[[ ## answer ## ]]\nParis\n\n[[ ## completed ## ]]"


class City(pydantic.BaseModel):
    name: str
    population: int


class Describe(dspy.Signature):  # type: ignore[misc]
    """Describe the capital."""

    country: str = dspy.InputField()
    city: City = dspy.OutputField()
    size: Literal["small", "large"] = dspy.OutputField()


@pytest.fixture(autouse=True)
def _fresh_cache() -> Iterator[None]:
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    yield
    litellm.callbacks = []


@pytest.fixture
def where(stand_in: StandIn) -> dict[str, Any]:
    return {"api_base": stand_in.base_url, "api_key": stand_in.api_key}


@pytest.fixture
def lm(where: dict[str, Any]) -> Iterator[Any]:
    lm = ClaudeCodeLM("sonnet", **where)
    with dspy.context(lm=lm):
        yield lm


def ask(question: str = "Capital of France?", **config: Any) -> Any:
    return dspy.Predict("question -> answer")(question=question, **({"config": config} if config else {}))


# Names


def test_a_name_may_have_the_prefix_or_not() -> None:
    assert ClaudeCodeLM("sonnet").model == ClaudeCodeLM("claude_code/sonnet").model == "claude_code/sonnet"
    assert ClaudeCodeLM("claude-haiku-4-5").model == "claude_code/claude-haiku-4-5"
    assert ClaudeCodeLM("sonnet@reviewer").model == "claude_code/sonnet@reviewer"
    assert ClaudeCodeLM("sonnet").copy(model="opus").model == "claude_code/opus"


@pytest.mark.parametrize("name", ["claude-code:sonnet", "claude_code:sonnet"])
def test_the_prefix_of_dspys_own_provider_is_refused_and_the_error_explains_the_difference(name: str) -> None:
    with pytest.raises(litellm.BadRequestError, match=r"DSPy's own `claude-code:` provider.*claude_code/sonnet"):
        ClaudeCodeLM(name)


def test_an_lm_that_cannot_work_is_refused_when_it_is_created(where: dict[str, Any]) -> None:
    with pytest.raises(litellm.NotFoundError, match="Did you mean 'sonnet'"):
        ClaudeCodeLM("sonett")
    assert ClaudeCodeLM("gpt-4o", **where).model == "claude_code/gpt-4o"  # a gateway may have anything
    wrongs: list[dict[str, Any]] = [{"engine": "lm15"}, {"model_type": "text"}, {"on_limit": "sleep"}]
    for wrong in wrongs:
        with pytest.raises(ValueError, match=r"engine|text|on_limit"):
            ClaudeCodeLM("sonnet", **wrong)
    with pytest.raises(TypeError, match="Budget"):
        ClaudeCodeLM("sonnet", budget=5)  # type: ignore[arg-type]  # the mistake
    for maximum in ({"max_usd": 0}, {"max_calls": -1}, {"max_tokens": "many"}):
        with pytest.raises(ValueError, match="max_"):
            Budget("wrong", **maximum)


# What DSPy does


@pytest.mark.parametrize(
    ("adapter", "answers"),
    [
        ("ChatAdapter", ['[[ ## city ## ]]\n{"name": "Paris", "population": 2}\n\n[[ ## size ## ]]\nlarge\n']),
        ("JSONAdapter", ['{"city": {"name": "Paris", "population": 2}, "size": "large"}']),
        ("XMLAdapter", ['<city>{"name": "Paris", "population": 2}</city>\n<size>large</size>']),
        ("TwoStepAdapter", ["Paris, which is large: 2.", '[[ ## city ## ]]\n{"name": "Paris", "population": 2}\n\n'
                            "[[ ## size ## ]]\nlarge\n"]),
    ],
)  # fmt: skip
def test_structured_output_comes_through_every_adapter(
    stand_in: StandIn, lm: Any, where: dict[str, Any], adapter: str, answers: list[str]
) -> None:
    stand_in.script(*answers)
    kind = getattr(dspy, adapter)
    with dspy.context(adapter=kind(ClaudeCodeLM("haiku", **where)) if adapter == "TwoStepAdapter" else kind()):
        described = dspy.Predict(Describe)(country="France")
    assert (described.city, described.size) == (City(name="Paris", population=2), "large")
    assert len(stand_in.requests) == len(answers)
    if adapter == "JSONAdapter":
        assert stand_in.requests[0].body["output_config"]["format"]["type"] == "json_schema"


@pytest.mark.parametrize("adapter", ["ChatAdapter", "JSONAdapter"])
def test_made_up_answers_have_the_form_that_a_program_asks_for(stand_in: StandIn, lm: Any, adapter: str) -> None:
    stand_in.respond = made_up_answer
    with dspy.context(adapter=getattr(dspy, adapter)()):
        described = dspy.ChainOfThought(Describe)(country="France")
        counted = dspy.Predict("text -> count: int, is_long: bool, names: list[str]")(text="One two")
    assert (described.city.population, described.size) == (1, "small")
    assert (counted.count, counted.is_long) == (1, True)
    assert len(stand_in.requests) == 2


def test_react_uses_tools(stand_in: StandIn, lm: Any) -> None:
    def population(city: str) -> int:
        """Return how many people live in a city."""
        return {"Paris": 2_100_000}[city]

    step = "[[ ## next_thought ## ]]\nLook.\n\n[[ ## next_tool_name ## ]]\n{}\n\n[[ ## next_tool_args ## ]]\n{}\n"
    stand_in.script(
        step.format("population", '{"city": "Paris"}'),
        step.format("finish", "{}"),
        "[[ ## reasoning ## ]]\nSeen.\n\n[[ ## answer ## ]]\n2100000\n",
    )
    assert dspy.ReAct("question -> answer: int", tools=[population])(question="How many?").answer == 2_100_000
    assert "2100000" in str(stand_in.requests[1].body["messages"])


def test_tools_are_called_natively(stand_in: StandIn, lm: Any) -> None:
    class Ask(dspy.Signature):  # type: ignore[misc]
        question: str = dspy.InputField()
        tools: list[dspy.Tool] = dspy.InputField()
        calls: dspy.ToolCalls = dspy.OutputField()

    def weather(city: str) -> str:
        return f"Sun in {city}."

    stand_in.script(answer(ToolUse("weather", {"city": "Paris"}), ToolUse("weather", {"city": "Rome"})))
    with dspy.context(adapter=dspy.ChatAdapter(use_native_function_calling=True)):
        calls = dspy.Predict(Ask)(question="Weather?", tools=[dspy.Tool(weather)]).calls.tool_calls
    assert [(call.name, call.args) for call in calls] == [("weather", {"city": "Paris"}), ("weather", {"city": "Rome"})]
    assert stand_in.requests[0].body["tools"][0]["name"] == "weather"


def test_images_and_history_are_sent_as_native_content(stand_in: StandIn, lm: Any) -> None:
    class Look(dspy.Signature):  # type: ignore[misc]
        image: dspy.Image = dspy.InputField()
        history: dspy.History = dspy.InputField()
        answer: str = dspy.OutputField()

    stand_in.script(PARIS)
    history = dspy.History(messages=[{"image": "(seen)", "answer": "Rome"}])
    look = dspy.Predict(Look)(image=dspy.Image(f"data:image/png;base64,{PIXEL}"), history=history)
    assert look.answer == "Paris"
    *turns, last = stand_in.requests[0].body["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant"]
    assert "Rome" in str(turns[1])
    assert [block["source"]["data"] for block in last["content"] if block["type"] == "image"] == [PIXEL]


def test_reasoning_is_the_models_own(stand_in: StandIn, lm: Any) -> None:
    class Think(dspy.Signature):  # type: ignore[misc]
        question: str = dspy.InputField()
        reasoning: dspy.Reasoning = dspy.OutputField()
        answer: str = dspy.OutputField()

    assert lm.supports_reasoning
    stand_in.script(answer(Thinking("It is the capital."), PARIS))
    thought = dspy.Predict(Think)(question="Capital?")
    assert (str(thought.reasoning), thought.answer) == ("It is the capital.", "Paris")
    assert stand_in.requests[0].body["thinking"]


def test_n_answers_are_n_requests_at_the_same_time(stand_in: StandIn, lm: Any) -> None:
    stand_in.script(PARIS, PARIS.replace("Paris", "Lyon"))
    assert sorted(ask(n=2).completions.answer) == ["Lyon", "Paris"]
    assert len(stand_in.requests) == 2
    assert {request.body.get("temperature") for request in stand_in.requests} == {None}  # DSPy's 0.7, left out


async def test_it_can_be_awaited_and_run_in_parallel(stand_in: StandIn, lm: Any) -> None:
    stand_in.respond = lambda _: PARIS
    predict = dspy.Predict("question -> answer")
    awaited = await predict.acall(question="1")
    in_a_thread = await dspy.asyncify(predict)(question="2")
    answers = dspy.Parallel(num_threads=4, disable_progress_bar=True)([(predict, {"question": n}) for n in "3456789"])
    assert {each.answer for each in (awaited, in_a_thread, *answers)} == {"Paris"}


@pytest.mark.parametrize("is_async", [False, True])
async def test_answers_stream_to_a_listener(stand_in: StandIn, lm: Any, is_async: bool) -> None:
    class Program(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.predict = dspy.Predict("question -> answer")

        def forward(self, question: str) -> Any:
            return self.predict(question=question)

        async def aforward(self, question: str) -> Any:
            return await self.predict.acall(question=question)

    text = "Paris is the capital of France, as everybody knows."
    stand_in.script(answer(PARIS.replace("Paris", text), chunk_chars=4, usage=Usage(input_tokens=9, output_tokens=5)))
    listener = dspy.streaming.StreamListener(signature_field_name="answer")
    stream = dspy.streamify(Program(), stream_listeners=[listener], is_async_program=is_async)
    pieces = []
    with track_run() as run:
        async for item in stream(question="Capital?"):
            if isinstance(item, dspy.streaming.StreamResponse):
                pieces.append(item.chunk)
            elif isinstance(item, dspy.Prediction):
                assert item.answer == text
    assert len(pieces) > 3
    assert "".join(pieces).strip() == text
    assert (run.summary().requests, run.summary().output_tokens) == (1, 5)


def test_usage_and_cost_are_tracked_and_kept_in_the_history(
    stand_in: StandIn, lm: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in.script(answer(PARIS, usage=Usage(input_tokens=100, output_tokens=20, cache_read_input_tokens=1000)))
    with dspy.track_usage() as tracker, track_run() as run:
        ask()
    total = tracker.get_total_tokens()["claude_code/sonnet"]
    assert (total["prompt_tokens"], total["completion_tokens"]) == (1100, 20)
    entry = lm.history[-1]
    assert entry["usage"]["completion_tokens"] == 20
    assert run.cost_usd == pytest.approx(entry["cost"])
    assert entry["cost"] > 0
    assert "claude-sonnet-5-5" in entry["response_model"]
    assert str(stand_in.api_key) not in str(entry["kwargs"])
    lm.inspect_history()
    assert "Capital of France?" in capsys.readouterr().out


def test_a_cached_answer_is_free_until_a_rollout_asks_for_another_and_runs_nest(stand_in: StandIn, lm: Any) -> None:
    stand_in.respond = lambda _: PARIS
    with track_run() as run:
        for _ in range(3):
            ask()
        with track_run() as inner:
            ask(rollout_id=1, temperature=1.0)
        ask(rollout_id=1, temperature=1.0)
    ask()
    assert len(stand_in.requests) == 2
    assert (run.summary().calls, run.summary().cached, len(inner.calls)) == (5, 3, 1)


@pytest.mark.skipif(IS_3_3, reason="dspy.lm15 came with 3.4")
def test_dspys_request_of_its_own_is_taken(stand_in: StandIn, lm: Any) -> None:
    from dspy.lm15 import Config, Message, Request

    stand_in.script("Paris.")
    config = Config(temperature=0.7, max_tokens=50)
    response = lm(Request(model=lm.model, messages=(Message.user("Capital of France?"),), config=config))
    assert "Paris." in str(response)
    assert stand_in.requests[0].body["max_tokens"] == 50
    assert "temperature" not in stand_in.requests[0].body


# Copies and files


@pytest.mark.parametrize(
    "copied", [lambda lm: lm.copy(), copy.copy, copy.deepcopy, lambda lm: pickle.loads(pickle.dumps(lm))]
)
def test_a_copy_works_and_spends_from_the_same_budget(stand_in: StandIn, where: dict[str, Any], copied: Any) -> None:
    budget = Budget("copies", max_calls=2)
    budget.reset()
    stand_in.respond = lambda _: PARIS
    lm = ClaudeCodeLM("sonnet", budget=budget, on_limit="wait", **where)
    other = copied(lm)
    assert (other.budget, other.on_limit, other.model) == (budget, "wait", lm.model)
    for each, question in ((lm, "1"), (other, "2")):
        with dspy.context(lm=each):
            ask(question)
    with dspy.context(lm=other), pytest.raises(RunHalted):
        ask("3")


def test_a_saved_program_holds_no_key_and_loads_again(stand_in: StandIn, where: dict[str, Any], tmp_path: Path) -> None:
    program = dspy.Predict("question -> answer")
    program.set_lm(ClaudeCodeLM("haiku", budget=Budget("saved", max_usd=3), on_limit="wait", max_tokens=99, **where))
    program.save(tmp_path / "program.json")
    text = (tmp_path / "program.json").read_text()
    assert str(stand_in.api_key) not in text
    again = dspy.Predict("question -> answer")
    with pytest.raises(ValueError, match="allow_unsafe_lm_state"):  # DSPy's rule for every class but its own
        again.load(tmp_path / "program.json")
    again.load(tmp_path / "program.json", allow_unsafe_lm_state=True)
    assert isinstance(again.lm, ClaudeCodeLM)
    assert (again.lm.model, again.lm.kwargs["max_tokens"]) == ("claude_code/haiku", 99)
    assert (again.lm.budget, again.lm.on_limit) == (Budget("saved", max_usd=3), "wait")

    program.save(tmp_path / "whole", save_program=True)
    assert isinstance(dspy.load(tmp_path / "whole", allow_pickle=True).lm, ClaudeCodeLM)


# Parameters


@pytest.mark.parametrize(
    ("model", "params", "sent"),
    [
        ("sonnet", {"temperature": 1.4}, {"temperature": 1.0}),  # the only one that it takes
        ("sonnet", {"temperature": 0.7}, {"temperature": None}),
        ("sonnet", {"top_p": 0.5, "seed": 1}, {"top_p": None, "seed": None}),
        ("claude-haiku-4-5", {"temperature": 1.4}, {"temperature": 1.0}),
        ("claude-haiku-4-5", {"temperature": 0.7, "top_p": 0.5}, {"temperature": 0.7, "top_p": 0.5}),
        ("sonnet", {"logprobs": True, "frequency_penalty": 1}, {"logprobs": None, "frequency_penalty": None}),
    ],
)
def test_parameters_that_would_fail_are_adjusted_with_one_warning(
    stand_in: StandIn, where: dict[str, Any], caplog: pytest.LogCaptureFixture, model: str, params: Any, sent: Any
) -> None:
    stand_in.respond = lambda _: PARIS
    changed = [name for name, value in params.items() if sent.get(name, value) != value]
    with dspy.context(lm=ClaudeCodeLM(model, **where)), track_run(), caplog.at_level(logging.WARNING, "dspy_adapter"):
        for question in ("1", "2"):
            ask(question, **params)
    for request in stand_in.requests:
        assert {name: request.body.get(name) for name in sent} == sent
    told = [record.getMessage() for record in caplog.records if record.name == "dspy_adapter"]
    assert len(told) == len(changed)
    assert all(any(f" {name}=" in line for line in told) for name in changed)


# Runs that halt


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (Failure(401), "login"),
        (Failure(403), "login"),
        (Failure(402, message="Your credit balance is too low"), "billing"),
        (Failure(404), "model"),
    ],
)
def test_a_failure_that_every_call_would_meet_halts_the_run(
    stand_in: StandIn, lm: Any, failure: Failure, reason: str
) -> None:
    stand_in.respond = lambda _: failure
    with pytest.raises(RunHalted, match=r"(?s)So far: .*To continue, ") as halted:
        ask()
    assert halted.value.reason == reason
    assert len(stand_in.requests) <= 2  # no retries; the CLI asks twice for a model that is not found
    assert pickle.loads(pickle.dumps(halted.value)).reason == reason


@pytest.mark.parametrize("failure", [Failure(429, headers={"retry-after": "0"}), Failure(500), Failure(529)])
def test_a_temporary_failure_is_retried_by_dspy(stand_in: StandIn, lm: Any, failure: Failure) -> None:
    stand_in.script(failure, PARIS)
    with track_run() as run:
        assert ask().answer == "Paris"
    assert (run.summary().calls, run.summary().requests, run.summary().failed) == (1, 2, 0)


async def test_a_halt_passes_every_way_dspy_calls(stand_in: StandIn, lm: Any) -> None:
    stand_in.respond = lambda _: Failure(401)
    predict = dspy.Predict("question -> answer")
    with pytest.raises(RunHalted):
        await predict.acall(question="1")
    with pytest.raises(RunHalted):
        await dspy.asyncify(predict)(question="2")
    with pytest.raises(RunHalted):
        dspy.Parallel(num_threads=2, disable_progress_bar=True)([(predict, {"question": str(n)}) for n in range(9)])
    quiet(stand_in)


def test_no_login_at_all_halts_the_run(stand_in: StandIn, where: dict[str, Any]) -> None:
    with dspy.context(lm=ClaudeCodeLM("sonnet", api_base=stand_in.base_url)), pytest.raises(RunHalted) as halted:
        ask()
    assert halted.value.reason == "login"
    assert stand_in.requests == []


# Budgets


@pytest.mark.parametrize(
    ("maximum", "calls"),
    [({"max_calls": 3}, 3), ({"max_tokens": 3_600}, 3), ({"max_usd": 0.0125}, 4), ({"max_time_s": 1e-9}, 0)],
)
def test_a_budget_is_checked_before_each_call(
    stand_in: StandIn, where: dict[str, Any], maximum: dict[str, Any], calls: int
) -> None:
    budget = Budget("checked", **maximum)
    budget.reset()
    stand_in.respond = lambda _: answer(PARIS, usage=Usage(input_tokens=1_000, output_tokens=100))
    lms = [ClaudeCodeLM(name, budget=budget, **where) for name in ("sonnet", "claude-sonnet-5-5")]

    def run() -> None:
        for number in range(20):
            with dspy.context(lm=lms[number % 2]):
                ask(str(number))

    with pytest.raises(RunHalted, match="The budget 'checked' of") as halted:
        run()
    assert halted.value.reason == "budget"
    assert len(stand_in.requests) == budget.spent.calls == calls
    assert budget.spent.tokens == 1_100 * calls
    with dspy.context(lm=lms[0]):
        if calls:
            ask("0")  # from DSPy's cache, which is free
        budget.reset()
    assert budget.spent.calls == 0


def test_a_call_from_before_a_budgets_reset_does_not_count_and_a_later_one_does(
    stand_in: StandIn, where: dict[str, Any]
) -> None:
    budget = Budget("reset in flight")
    goes_on = {text: threading.Event() for text in ("before", "after")}

    def respond(record: RecordedRequest) -> Answer:
        text = next(text for text in goes_on if text in str(record.body["messages"]))
        assert goes_on[text].wait(60)
        return answer(PARIS, usage=Usage(input_tokens=1_000 if text == "before" else 1, output_tokens=1))

    stand_in.respond = respond
    lm = ClaudeCodeLM("sonnet", budget=budget, cache=False, **where)
    with ThreadPoolExecutor(2) as threads:
        try:
            before = threads.submit(lm, "before")
            stand_in.wait_for(1, timeout_s=60)
            budget.reset()
            after = threads.submit(lm, "after")
            stand_in.wait_for(2, timeout_s=60)
            goes_on["before"].set()
            before.result(60)
            assert (budget.spent.calls, budget.spent.in_flight, budget.spent.tokens) == (0, 1, 0)
            goes_on["after"].set()
            after.result(60)
            assert (budget.spent.calls, budget.spent.in_flight, budget.spent.tokens) == (1, 0, 2)
        finally:
            for event in goes_on.values():
                event.set()


def test_calls_in_flight_count(stand_in: StandIn, where: dict[str, Any]) -> None:
    budget = Budget("flying", max_calls=5)
    budget.reset()
    stand_in.respond = lambda _: answer(PARIS, delay_s=0.3)
    with dspy.context(lm=ClaudeCodeLM("sonnet", budget=budget, **where)), pytest.raises(RunHalted):
        dspy.Parallel(num_threads=8, disable_progress_bar=True)(
            [(dspy.Predict("question -> answer"), {"question": str(n)}) for n in range(16)]
        )
    wait_until(lambda: not budget.spent.in_flight)
    assert budget.spent.calls == len(stand_in.requests) == 5


# The report


def test_a_run_is_accounted_for(stand_in: StandIn, where: dict[str, Any], tmp_path: Path) -> None:
    usage = Usage(input_tokens=100, output_tokens=20, cache_read_input_tokens=50, cache_creation_input_tokens=7)
    stand_in.respond = lambda _: answer(PARIS, usage=usage)
    with track_run() as run:
        for name in ("sonnet", "haiku", "haiku", "sonnet"):
            with dspy.context(lm=ClaudeCodeLM(name, **where)):
                ask()
        stand_in.respond = lambda _: Failure(400)
        with dspy.context(lm=ClaudeCodeLM("haiku", **where)), pytest.raises(Exception, match="400"):
            ask("another")
    total, haiku = run.summary(), run.summary("haiku")
    assert (total.calls, total.cached, total.failed) == (5, 2, 1)
    assert (haiku.calls, haiku.cached, haiku.failed) == (3, 1, 1)
    assert (total.input_tokens, total.output_tokens) == (2 * 157, 2 * 20)
    assert (total.cache_read_tokens, total.cache_write_tokens) == (2 * 50, 2 * 7)
    assert total.cost_usd == pytest.approx(sum(run.summary(name).cost_usd for name in ("sonnet", "haiku")))
    assert total.cost_usd > 0
    assert 0 < (total.latency_p50_s or 0) <= (total.latency_p99_s or 0) <= run.elapsed_s
    run.save(tmp_path / "run.json")
    saved = json.loads((tmp_path / "run.json").read_text())
    assert saved == json.loads(json.dumps(run.as_dict()))
    assert len(saved["calls"]) == 5
    assert {"queue_wait_s", "process_boots", "limit_waits", "limit_wait_s", "elapsed_s"} <= saved.keys()
    for text in (str(run), run._repr_html_()):
        assert all(name in text for name in ("sonnet", "haiku", "all", "tokens in"))
        assert "Capital" not in text
    for private in (str(stand_in.api_key), "Capital of France", "Paris"):
        assert private not in (tmp_path / "run.json").read_text()


def test_a_report_after_a_halt_includes_what_is_in_flight_and_the_saved_one_is_right_in_the_end(
    stand_in: StandIn, where: dict[str, Any], tmp_path: Path
) -> None:
    is_let_go = threading.Event()

    def respond(record: RecordedRequest) -> Answer | Failure:
        if "fatal" in str(record.body["messages"]):
            return Failure(401)
        assert is_let_go.wait(60)
        return answer(PARIS, usage=Usage(input_tokens=100, output_tokens=20))

    stand_in.respond = respond
    lm = ClaudeCodeLM("sonnet", cache=False, **where)
    with ThreadPoolExecutor(2) as threads:
        try:
            with track_run() as run:
                asking = [threads.submit(lm, "slow"), threads.submit(lm, "slow")]
                stand_in.wait_for(2, timeout_s=60)
                with pytest.raises(RunHalted):
                    lm("fatal")
            run.save(tmp_path / "run.json")
            total = run.summary()
            assert (total.calls, total.in_flight, total.failed, total.requests) == (3, 2, 1, 3)
            assert "2 calls are still in flight" in str(run)
            assert json.loads((tmp_path / "run.json").read_text())["total"]["in_flight"] == 2
        finally:
            is_let_go.set()
        for each in asking:
            each.result(60)
    total = run.summary()
    assert (total.calls, total.in_flight, total.requests, total.output_tokens) == (3, 0, len(stand_in.requests), 40)
    assert json.loads((tmp_path / "run.json").read_text()) == json.loads(json.dumps(run.as_dict()))


def test_a_run_records_calls_of_every_kind(stand_in: StandIn, where: dict[str, Any]) -> None:
    with track_run() as run:
        litellm.completion("claude_code/sonnet", [{"role": "user", "content": "1"}], **where)
        dspy.LM("claude_code/haiku", cache=False, **where)("2")
        stand_in.script(Failure(401))
        with pytest.raises(litellm.AuthenticationError):
            litellm.completion("claude_code/sonnet", [{"role": "user", "content": "3"}], **where)
    assert [(call.model, call.error) for call in run.calls] == [
        ("sonnet", None),
        ("haiku", None),
        ("sonnet", "AuthenticationError"),
    ]
    assert run.summary().requests == len(stand_in.requests) == 3


def test_waiting_for_a_limits_reset_is_counted_and_shown(
    stand_in: StandIn, login: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    stand_in.script(limited(4), PARIS)
    with dspy.context(lm=ClaudeCodeLM("sonnet", on_limit="wait", api_base=stand_in.base_url)), track_run() as run:
        assert ask().answer == "Paris"
    numbers = run.as_dict()
    assert numbers["limit_waits"] == 1
    assert 1 < numbers["limit_wait_s"] <= numbers["elapsed_s"]
    assert "1 call waited for a usage limit" in str(run)
    assert numbers["total"]["requests"] == len(stand_in.requests) == 2
    assert "Claude's usage limit is reached: 1 call is waiting for the reset at " in capfd.readouterr().err


def test_a_call_does_not_wait_for_a_reset_after_the_end_of_the_budgets_time(stand_in: StandIn, login: Any) -> None:
    stand_in.script(limited(600), PARIS)
    budget = Budget("an hour", max_time_s=60)
    budget.reset()
    lm = ClaudeCodeLM("sonnet", on_limit="wait", budget=budget, api_base=stand_in.base_url)
    began = time.time()
    with dspy.context(lm=lm), pytest.raises(RunHalted, match="resets after the 60 s of the budget 'an hour'") as raised:
        ask()
    assert raised.value.reason == "limit"
    assert raised.value.resets_at == pytest.approx(began + 600, abs=30)
    assert budget.spent.in_flight == 0


def test_a_long_run_can_show_its_progress(stand_in: StandIn, lm: Any, capfd: pytest.CaptureFixture[str]) -> None:
    stand_in.respond = lambda _: PARIS
    stand_in.script(Failure(500))
    budget = Budget("progress", max_calls=9)
    budget.reset()
    examples = [dspy.Example(question=str(number), answer="Paris").with_inputs("question") for number in range(2)]

    def is_right(example: Any, answer: Any, *_: object) -> bool:
        return bool(example.answer == answer.answer)

    with track_run(progress=True) as run, dspy.context(lm=lm.copy(budget=budget)):
        dspy.Evaluate(devset=examples, metric=is_right, num_threads=1, display_progress=False)(
            dspy.Predict("question -> answer")
        )
        ask("0")
    first, *_, last = capfd.readouterr().err.splitlines()  # as lines, because it is not a terminal
    assert re.fullmatch(r"starting Claude Code… \[00:0\d\]", first)
    assert re.fullmatch(
        r"3 calls \[\d\d:\d\d\] \(1 from the cache\), score 100, best 100, 3 requests \(1 retried\), \$0.00\d\d, "
        r"\d+ tokens, left of 'progress': 6 calls",
        last,
    )
    assert [(score.score, score.examples) for score in run.scores] == [(100.0, 2)]
