"""The observer of a call: it is notified of the call, and may refuse it or make it wait for a limit to reset.

The caches of litellm and DSPy come before this: an observer sees only calls that are about to reach the model. Set one
with `observed_by`, as `dspy_adapter` does. Without one, the notifications cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, Literal

from litellm.types.utils import Usage

from .errors import ObserverFailed

OnLimit = Literal["raise", "wait"]


class Observer:
    """Notified of one caller's calls. The methods run on the background loop, so they must not block.

    A class that derives from this one handles what it defines, and ignores the rest.

    The caller receives the exceptions that `asked`, `waits` and `failed` raise, unchanged, including `BaseException`.
    """

    on_limit: OnLimit | None = None
    """What a call does while a subscription limit is reached. None: as in the settings."""

    def asked(self, model: str, n: int) -> None:
        """Handle the start of a call, before its `n` requests to `model`. Raise an exception to prevent them."""

    def waits(self, left_s: float) -> None:
        """Handle the wait for a limit's reset, every second while the call waits, and with 0 when it continues.

        `left_s` is the remaining wait. Raise an exception to end the wait and the call.
        """

    def queued(self, waited_s: float) -> None:
        """Handle the start of a request that has waited `waited_s` for a process, once for each of the `n` requests."""

    def requested(self, count: int) -> None:
        """Handle `count` further requests that reach the API, or fewer if it is negative: some did not, after all.

        Can be called after the end of a call that was cancelled.
        """

    def began(self, usage: Mapping[str, Any]) -> None:
        """Handle the start of a streamed response to a plain call. `usage` counts the prompt, as the API does."""

    def answered(self, usage: Usage | None) -> None:
        """Handle a complete response. `usage` is None if the API did not report it."""

    def failed(self, error: Exception) -> None:
        """Handle litellm's exception for a failed call, or raise a different one. `asked` may not have been called."""

    def left(self) -> None:
        """Handle a cancelled call: the caller did not wait for the response."""


NOBODY: Final = Observer()
"""The default observer, which does nothing."""
_observer: ContextVar[Observer] = ContextVar("litellm_claude_code_observer", default=NOBODY)


@contextmanager
def observed_by(observer: Observer) -> Iterator[None]:
    """Notify `observer` of all calls made inside, also in the threads and tasks that litellm starts for them."""
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)


def current() -> Observer:
    """Return the observer of the current context."""
    return _observer.get()


@contextmanager
def notify_on_failure(observer: Observer) -> Iterator[None]:
    """Notify the observer of an exception, for example if there is no login."""
    try:
        yield
    except Exception as error:
        observer.failed(error)
        raise


class Waits:
    """Notifies an observer while the `n` requests of a call wait for a limit's reset, as if they were one."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._waiting: set[int] = set()

    def note(self, number: int, left_s: float) -> bool:
        """Note how long a request still waits (0: no longer), and return whether any request of the call does.

        Raises `ObserverFailed` if the observer raises an exception.
        """
        (self._waiting.add if left_s > 0 else self._waiting.discard)(number)
        if number == min(self._waiting, default=number):
            try:
                self._observer.waits(left_s)
            except Exception as error:
                raise ObserverFailed(error) from None
        return bool(self._waiting)


@contextmanager
def call_scope(observer: Observer, *, model: str, n: int) -> Iterator[None]:
    """Notify the observer of start, failure and cancellation. The caller reports success: only it knows the usage."""
    observer.asked(model, n)
    try:
        with notify_on_failure(observer):
            yield
    except Exception:
        raise
    except BaseException:
        observer.left()
        raise
