"""DSPy's programs on agents: evaluated, saved, and optimized by what their agents did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import litellm_claude_code
from litellm_claude_code.testing import RecordedRequest, StandIn, ToolUse, answer

pytest.importorskip("dspy")
import dspy

from dspy_adapter import ClaudeCodeLM

FACTS = {
    "hours.txt": "We open at nine.",
    "prices.txt": "A box is 12 euros.",
    "README.md": "A shop.",
}
# What one must know to find the file: nothing in the questions says it.
RULES = {
    "prices.txt": "Questions about cost are answered in prices.txt.",
    "hours.txt": "Questions about visiting are answered in hours.txt.",
}
QUESTIONS = [
    ("What does a box cost?", "prices.txt"),
    ("When is visiting possible?", "hours.txt"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, fact in FACTS.items():
        (tmp_path / name).write_text(fact)
    return tmp_path


def a_model_that_reads_where_it_is_told_to(folder: Path) -> Any:
    """Answer as an agent that follows its instructions, and as the model that improves them by the feedback."""

    def respond(request: RecordedRequest) -> Any:
        text = json.dumps(request.body["messages"])
        if "tools" not in request.body or not request.body["tools"]:
            rules = sorted({rule for rule in RULES.values() if rule in text})
            better = "\n".join(["Answer from the shop's files.", *rules])
            is_json = "output_config" in request.body
            return json.dumps({"new_instruction": better}) if is_json else f"```\n{better}\n```"
        if '"tool_result"' in text:
            fact = next(fact for fact in FACTS.values() if fact in text)
            return f"[[ ## answer ## ]]\n{fact}\n\n[[ ## completed ## ]]"
        system = json.dumps(request.body["system"])
        question = json.dumps(request.body["messages"][0]["content"])
        known = [(name, rule) for name, rule in RULES.items() if rule in system]
        file = next(
            (name for name, rule in known if rule.split(" are ")[0].split("about ")[1] in question), "README.md"
        )
        return answer("Let me look.", ToolUse("Read", {"file_path": str(folder / file)}))

    return respond


class Reader(dspy.Module):  # type: ignore[misc]  # DSPy is not typed
    """A program whose agent reads files. The prediction has the record of the run beside the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.Predict(dspy.Signature("question -> answer", "Answer from the shop's files."))

    def forward(self, question: str) -> Any:
        with litellm_claude_code.agent_records() as runs:
            found = self.answer(question=question)
        return dspy.Prediction(answer=found.answer, runs=runs)


def score(example: Any, prediction: Any, *_: Any) -> float:
    return float(prediction.answer == example.answer)


def score_with_feedback(example: Any, prediction: Any, *_: Any) -> Any:
    read = [Path(call["input"]["file_path"]).name for run in prediction.runs for call in run["tool_calls"]]
    if score(example, prediction):
        return dspy.Prediction(score=1.0, feedback=f"Right, from {', '.join(read)}.")
    feedback = f"The agent read {', '.join(read)} and found nothing there. {RULES[example.file]}"
    return dspy.Prediction(score=0.0, feedback=feedback)


def examples() -> list[Any]:
    made = [dspy.Example(question=q, answer=FACTS[file], file=file) for q, file in QUESTIONS]
    return [example.with_inputs("question") for example in made]


def lm(stand_in: StandIn, name: str) -> Any:
    return ClaudeCodeLM(name, api_base=stand_in.base_url, api_key=stand_in.api_key, cache=False)


def test_gepa_optimizes_the_instructions_of_an_agent_by_what_it_did(stand_in: StandIn, folder: Path) -> None:
    litellm_claude_code.profile("reader", tools=["Read"], cwd=folder, parallel=True, max_turns=4)
    stand_in.respond = a_model_that_reads_where_it_is_told_to(folder)
    data, program = examples(), Reader()
    with dspy.context(lm=lm(stand_in, "haiku@reader")):
        optimizer = dspy.GEPA(
            metric=score_with_feedback,
            max_metric_calls=8,
            reflection_lm=lm(stand_in, "opus"),
            reflection_minibatch_size=2,
            num_threads=2,
            track_stats=True,
        )
        better = optimizer.compile(program, trainset=data, valset=data)
    scores = better.detailed_results.val_aggregate_scores
    assert (scores[0], max(scores)) == (0.0, 1.0)
    assert all(rule in better.answer.signature.instructions for rule in RULES.values())
    agents = [record.body for record in stand_in.requests if record.body.get("tools")]
    reflections = [record.body for record in stand_in.requests if not record.body.get("tools")]
    assert "The agent read README.md and found nothing there." in json.dumps(reflections[0])
    assert all(body["model"] == "claude-haiku-5-5" for body in agents)
    assert all(body["model"] == "claude-opus-5-5" for body in reflections)


def test_an_lm_that_names_a_profile_is_saved_and_loaded(stand_in: StandIn) -> None:
    state = lm(stand_in, "sonnet@reader").dump_state()
    assert state["model"] == "claude_code/sonnet@reader"
    assert ClaudeCodeLM.load_state(state).model == "claude_code/sonnet@reader"
