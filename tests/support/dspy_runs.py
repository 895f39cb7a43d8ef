"""A program with two predictors, and the small optimizers that tests/test_optimizers.py runs on it."""

from __future__ import annotations

import itertools
import sys
from types import FrameType
from typing import Any, Literal

import dspy

from examples.support_tickets.scripted_model import respond
from examples.support_tickets.tickets import labelled
from litellm_claude_code.testing import RecordedRequest, StandIn

from .waiting import wait_until

THREADS = 2
Team = Literal["billing", "care", "legal", "shipping", "technical"]


_proposals = itertools.count()


def creative(request: RecordedRequest) -> str:
    """Answer as the scripted model does, but never propose the same instruction twice."""
    answered = respond(request)
    marker = "[[ ## proposed_instruction ## ]]\n"
    return answered.replace(marker, f"{marker}({next(_proposals)}) ") if marker in answered else answered


class Route(dspy.Signature):  # type: ignore[misc]
    """Route the support ticket to the team that answers it."""

    ticket: str = dspy.InputField()
    topic: str = dspy.InputField()
    team: Team = dspy.OutputField()


class Router(dspy.Module):  # type: ignore[misc]
    """Names a ticket's topic, then its team."""

    def __init__(self) -> None:
        super().__init__()
        self.name_topic = dspy.Predict("ticket -> topic")
        self.route = dspy.ChainOfThought(Route)

    def forward(self, ticket: str) -> Any:
        return self.route(ticket=ticket, topic=self.name_topic(ticket=ticket).topic)


def examples(which: slice) -> list[Any]:
    return [
        dspy.Example(ticket=ticket, team=team, rule=rule).with_inputs("ticket")
        for ticket, team, rule in labelled(which)
    ]


LEARN, CHOOSE = examples(slice(0, 1))[:3], examples(slice(1, 2))[:3]


def is_right(example: Any, answer: Any, *_: object) -> float:
    return float(answer.team == example.team)


def feedback(example: Any, answer: Any, *_: object) -> Any:
    right = is_right(example, answer)
    return dspy.Prediction(score=right, feedback="Right." if right else f"Wrong. {example.rule}")


def mipro(task: Any, prompt: Any) -> Any:
    optimizer = dspy.MIPROv2(
        metric=is_right, prompt_model=prompt, task_model=task, auto=None, num_candidates=2, max_bootstrapped_demos=2,
        max_labeled_demos=2, num_threads=THREADS, seed=1,
    )  # fmt: skip
    return optimizer.compile(Router(), trainset=LEARN, valset=CHOOSE, num_trials=3, minibatch=False)


def gepa(task: Any, prompt: Any, **more: Any) -> Any:
    optimizer = dspy.GEPA(
        metric=feedback, max_metric_calls=16, reflection_lm=prompt, num_threads=THREADS, seed=1, **more
    )
    return optimizer.compile(Router(), trainset=LEARN, valset=CHOOSE)


def simba(task: Any, prompt: Any) -> Any:
    optimizer = dspy.SIMBA(
        metric=is_right, bsize=4, num_candidates=2, max_steps=1, max_demos=1, prompt_model=prompt, num_threads=THREADS
    )
    return optimizer.compile(Router(), trainset=[*LEARN, *CHOOSE], seed=1)


def copro(task: Any, prompt: Any) -> Any:
    optimizer = dspy.COPRO(prompt_model=prompt, metric=is_right, breadth=2, depth=1)
    return optimizer.compile(
        Router(), trainset=[*LEARN, *CHOOSE], eval_kwargs={"num_threads": THREADS, "display_progress": False}
    )


def random_search(task: Any, prompt: Any) -> Any:
    optimizer = dspy.BootstrapFewShotWithRandomSearch(
        metric=is_right, max_bootstrapped_demos=2, max_labeled_demos=4, num_candidate_programs=2, num_threads=THREADS
    )
    return optimizer.compile(Router(), trainset=LEARN, valset=CHOOSE)


OPTIMIZERS = [mipro, gepa, simba, copro, random_search]


def quiet(stand_in: StandIn) -> int:
    """Wait until DSPy's threads have emptied their queues; return how many requests the stand-in has then seen."""
    wait_until(lambda: not any(_is_working(frame) for frame in sys._current_frames().values()))
    return len(stand_in.requests)


def _is_working(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.endswith("parallelizer.py") and frame.f_code.co_name == "worker":
            return True
        frame = frame.f_back
    return False
