"""Who is told of a call: the observer of its context, which may also refuse it, or have it wait for a limit's reset.

This is the place behind every cache of litellm and DSPy: what comes here is about to be asked of the model. Only who
wraps a caller sets an observer (`dspy_adapter` does); without one nothing here costs anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Literal, Protocol

from litellm.types.utils import Usage

from .errors import ObserverFailed

OnLimit = Literal["raise", "wait"]


class Observer(Protocol):
    """Is told of one caller's calls, on the background loop: its methods return at once.

    What `asked`, `waits` and `failed` raise reaches the caller as it is, a `BaseException` too.
    """

    on_limit: OnLimit | None
    """What a call does while a subscription limit is reached; None: what the settings say."""

    def asked(self, model: str, n: int) -> None:
        """Hear that `n` requests to `model` are about to be made. What it raises keeps them from being made."""

    def waits(self, left_s: float) -> None:
        """Hear, every second, that the call waits for a limit's reset, and how long still; 0 when it goes on.

        What it raises ends the wait, and the call.
        """

    def answered(self, usage: Usage | None) -> None:
        """Hear that the answer is there. `usage` is None where the API did not report any."""

    def failed(self, error: Exception) -> None:
        """Hear that it failed, or could not be asked, of litellm's exception for it; may raise another."""

    def left(self) -> None:
        """Hear that the caller did not wait for the answer."""


class _Nobody:
    """The observer of a call that none was set for."""

    on_limit: OnLimit | None = None

    def asked(self, model: str, n: int) -> None: ...
    def waits(self, left_s: float) -> None: ...
    def answered(self, usage: Usage | None) -> None: ...
    def failed(self, error: Exception) -> None: ...
    def left(self) -> None: ...


NOBODY: Final = _Nobody()
_observer: ContextVar[Observer] = ContextVar("litellm_claude_code_observer", default=NOBODY)


@contextmanager
def observed_by(observer: Observer) -> Iterator[None]:
    """Have `observer` told of every call made within, in this thread or task and in those litellm makes for it."""
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)


def current() -> Observer:
    """Return the observer of this context."""
    return _observer.get()


@contextmanager
def failures_told(observer: Observer) -> Iterator[None]:
    """Tell the observer of what goes wrong before a call is asked: there is no login, say."""
    try:
        yield
    except Exception as error:
        observer.failed(error)
        raise


@contextmanager
def waits_told() -> Iterator[None]:
    """Mark what an observer's `waits` raises as the observer's, so that it reaches the caller as it is."""
    try:
        yield
    except Exception as error:
        raise ObserverFailed(error) from None


@contextmanager
def told(observer: Observer, *, model: str, n: int) -> Iterator[None]:
    """Tell the observer of a call's begin, and of every end but the good one, of which only the caller knows all."""
    observer.asked(model, n)
    try:
        with failures_told(observer):
            yield
    except Exception:
        raise
    except BaseException:
        observer.left()
        raise
