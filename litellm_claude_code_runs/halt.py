"""`RunHalted`, which ends a run because every further call would fail in the same way."""

from __future__ import annotations

from typing import Any, Final, Literal

Reason = Literal["login", "billing", "model", "limit", "budget", "ended"]

_AGAIN: Final[dict[Reason, str]] = {
    "login": "log in, then start the same program again",
    "billing": "add credit or use another way to pay, then start the same program again",
    "model": "use a model that exists, then start the same program again",
    "limit": 'start the same program again after the reset, or give the LMs on_limit="wait"',
    "budget": "start the same program again with a larger budget, or after `budget.reset()`",
    "ended": "start the same program again",
}
_AGAIN_UNDER_RUN: Final[dict[Reason, str]] = {
    "limit": "start the same program again after the reset, or with --on-limit wait",
    "budget": "start the same program again with a larger budget",
}


class RunHalted(BaseException):
    """No further call can succeed, for example because a limit is reached or the budget is spent.

    Not an `Exception`: DSPy's optimizers count an `Exception` as a score of 0, and several then return a program.
    """

    def __init__(self, message: str, reason: Reason = "budget", resets_at: float | None = None) -> None:
        super().__init__(message, reason, resets_at)
        self.reason = reason
        """One of `login`, `billing`, `model`, `limit` and `budget`; `ended` if the run was interrupted or is over."""
        self.resets_at = resets_at
        """When the reached subscription limit resets, in Unix seconds, if the CLI reported it."""
        self.best: Any = None
        """The best program that DSPy's optimizer scored before the halt. None without `track_run` or a score."""

    def __str__(self) -> str:
        return str(self.args[0])

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows instead of a traceback, most of which would be the optimizer's."""
        return [f"{type(self).__name__}: {self}"]


def halted(
    reason: Reason,
    what: str,
    *,
    so_far: str,
    is_cached: bool | None = None,
    resets_at: float | None = None,
    is_under_run: bool = False,
) -> RunHalted:
    """Return an exception whose message says what happened, what was spent so far and how to continue.

    `is_cached` says whether DSPy's cache keeps the answers, if that is known. `is_under_run`: the user has the options
    of `litellm-claude-code run`, and the program may not be the user's own.
    """
    again = (is_under_run and _AGAIN_UNDER_RUN.get(reason)) or _AGAIN[reason]
    kept = {
        True: " (finished calls are in DSPy's cache and are not repeated)",
        False: " (with cache=False, finished calls are repeated)",
        None: "",
    }[is_cached]
    return RunHalted(f"{what}\nSo far: {so_far}.\nTo continue, {again}{kept}.", reason, resets_at)
