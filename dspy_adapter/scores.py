"""Report the scores of DSPy's optimizers to the run, and the best program to the exception that halts it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import dspy
from dspy.utils.callback import BaseCallback

from litellm_claude_code.accounting.run import Run
from litellm_claude_code_runs.halt import RunHalted


@dataclass(frozen=True, kw_only=True)
class _Scored:
    program: Any
    score: float
    examples: int

    def is_better_than(self, other: _Scored | None) -> bool:
        """Return whether this score is better: on more examples, or higher on the same number."""
        return other is None or (self.examples, self.score) > (other.examples, other.score)


class Scores(BaseCallback):  # type: ignore[misc]  # DSPy is not typed
    """A DSPy callback that tells a run of all scores, and keeps the best program of the optimizer that is running.

    Thread-safe.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._evaluations: dict[str, tuple[Any, int]] = {}
        self._compiles: list[str] = []
        self._best: _Scored | None = None

    def on_evaluate_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """Remember which program is scored, and on how many examples."""
        given = inputs.get("devset")
        with self._lock:
            self._evaluations[call_id] = inputs["program"], len(instance.devset if given is None else given)

    def on_evaluate_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """Keep a copy of the program if it is the best so far: optimizers change programs in place."""
        with self._lock:
            program, examples = self._evaluations.pop(call_id)
            if outputs is None:
                return
            self._run.note_score(outputs.score, examples)
            if not self._compiles or not isinstance(program, dspy.Module):
                return
            scored = _Scored(program=program, score=outputs.score, examples=examples)
            if scored.is_better_than(self._best):
                self._best = _Scored(program=program.deepcopy(), score=scored.score, examples=examples)

    def on_compile_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """Forget the best program of an earlier optimizer. Optimizers may use others within."""
        with self._lock:
            if not self._compiles:
                self._best = None
            self._compiles.append(call_id)

    def on_compile_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """Give the best program to the exception that halts the optimizer."""
        with self._lock:
            self._compiles.remove(call_id)
            if isinstance(exception, RunHalted) and not self._compiles and self._best is not None:
                exception.best = self._best.program
