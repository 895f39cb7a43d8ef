"""What Ctrl-C does to calls of other threads, and how it ends a program that makes calls.

Signal handlers are left alone. Python raises `KeyboardInterrupt` in the main thread, and calls of other threads go on.
But a thread pool waits for its threads before it lets the exception pass, and so does Python when it exits. So while
the main thread is handling a `KeyboardInterrupt`, calls that other threads make are cancelled.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final

from litellm_claude_code_runs.halt import RunHalted
from litellm_claude_code_runs.report import counted
from litellm_claude_code_runs.run_file import current_run, interrupted

_LOOK_EVERY_S: Final = 0.2
_REFUSE_FOR_S: Final = 5.0
"""Long enough for the threads of a pool to work off its queue, each call of which fails at once."""
_RECENTLY_S: Final = 10.0
_END_WITHIN_S: Final = 1.0
_SEEN: Final = "_seen_by_litellm_claude_code"

_caller: ContextVar[threading.Thread | None] = ContextVar("litellm_claude_code_caller", default=None)


@contextmanager
def called_by_this_thread() -> Iterator[None]:
    """Make this thread the caller of what is submitted to the background loop inside."""
    token = _caller.set(threading.current_thread())
    try:
        yield
    finally:
        _caller.reset(token)


class Interrupts:
    """The calls in flight of this process, and the threads that are refused further ones after Ctrl-C. Thread-safe."""

    def __init__(self) -> None:
        self._is_installed = False
        self._forget()
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        """Have no calls: in a forked child, those of the parent go on in the parent."""
        self._lock = threading.Lock()
        self._calls: dict[asyncio.Task[Any], threading.Thread | None] = {}
        self._cancelled: set[asyncio.Task[Any]] = set()
        self._callers: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
        self._refused: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
        self._refused_until = 0.0
        self._is_ending = False
        self._answered = self._left = 0
        self._ended_at = 0.0
        self._watch: asyncio.Task[None] | None = None

    @contextmanager
    def cancelling(self) -> Iterator[None]:
        """Cancel the call in this block if Ctrl-C interrupts the program. Runs on the background loop.

        Raises `RunHalted` if the call is cancelled so, or refused because the thread has been interrupted.
        """
        caller, task = _caller.get(), asyncio.current_task()
        assert task is not None
        with self._lock:
            if self._is_ending or (caller in self._refused and time.monotonic() < self._refused_until):
                raise interrupted()
            self._calls[task] = caller
            if caller is not None:
                self._callers.add(caller)
        self._begin()
        is_answered = False
        try:
            yield
            is_answered = True
        except asyncio.CancelledError:
            if task in self._cancelled:
                raise interrupted() from None
            raise
        finally:
            with self._lock:
                self._calls.pop(task, None)  # a forked child has forgotten the parent's
                self._cancelled.discard(task)
                self._answered += is_answered
                self._ended_at = time.monotonic()

    def interrupt(self, error: BaseException) -> None:
        """Cancel the calls of the threads that run now, except the main thread's, and refuse them others for a while.

        `error` is the `KeyboardInterrupt`. Can be called more than once with it: later threads are not refused.
        """
        with self._lock:
            if not hasattr(error, _SEEN):
                setattr(error, _SEEN, True)
                self._refused = weakref.WeakSet(threading.enumerate())
                self._refused.discard(threading.main_thread())
            self._refused_until = time.monotonic() + _REFUSE_FOR_S
            self._cancel([task for task, caller in self._calls.items() if caller in self._refused])

    def _cancel(self, tasks: list[asyncio.Task[Any]]) -> None:
        for task in tasks:
            if task not in self._cancelled:
                self._cancelled.add(task)
                self._left += 1
                with suppress(RuntimeError):  # the loop is closed, and the task has ended
                    task.get_loop().call_soon_threadsafe(task.cancel)

    # Noticing it

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        if self._watch is None or self._watch.done() or self._watch.get_loop() is not loop:
            self._install()
            self._watch = loop.create_task(self._look(), name="claude-code-interrupts")

    async def _look(self) -> None:
        while self._calls:
            error = _interrupt_of_main_thread()
            if error is not None:
                self.interrupt(error)
            await asyncio.sleep(_LOOK_EVERY_S)

    def _install(self) -> None:
        if self._is_installed:
            return
        self._is_installed = True
        if (ipython := sys.modules.get("IPython")) is not None and (shell := ipython.get_ipython()) is not None:
            shell.events.register("post_run_cell", self._after_cell)
            return
        if sys.excepthook is sys.__excepthook__:
            sys.excepthook = self._end
        if threading.excepthook is threading.__excepthook__:
            threading.excepthook = _tell_unless_interrupted

    def _after_cell(self, result: Any) -> None:
        if isinstance(result.error_in_exec, KeyboardInterrupt):
            self.interrupt(result.error_in_exec)

    # The end of the program

    def _end(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """End the program with one line instead of tracebacks: `sys.excepthook`, for Ctrl-C soon after a call."""
        is_recent = bool(self._calls) or time.monotonic() - self._ended_at < _RECENTLY_S
        is_ours = issubclass(kind, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()
        if not is_ours or not is_recent:
            sys.__excepthook__(kind, error, trace)
        elif is_interactive():
            self.interrupt(error)
            sys.__excepthook__(kind, error, trace)
        else:
            self._end_in_one_line()

    def _end_in_one_line(self) -> None:
        """Refuse all calls from now on, cancel those in flight, and say so in one line.

        A next Ctrl-C kills the process. So does this, if nothing is left but threads that have made calls and do not
        end, as in a retry's pause. The process dies by SIGINT, as every Python does after Ctrl-C: a shell shows 130.
        """
        if is_pythons := signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        with self._lock:
            self._is_ending = True
            self._cancel(list(self._calls))
        with suppress(RunHalted):  # the run is over
            if (run := current_run()) is not None and run.began_by() == os.getpid():
                run.halt(interrupted())
        gc.freeze()  # so that Python exits in a moment: it would look for garbage among all that litellm has made
        # What other threads meet while the interpreter shuts down says nothing about the program.
        sys.unraisablehook = threading.excepthook = _tell_nothing
        _tell(f"{self._done()} {_go_on()}")
        deadline = time.monotonic() + _END_WITHIN_S
        while (left := _python_waits_for()) and left <= {*self._callers} and time.monotonic() < deadline:
            next(iter(left)).join(_LOOK_EVERY_S)
        if is_pythons and left and left <= {*self._callers}:
            atexit._run_exitfuncs()
            with suppress(OSError, ValueError, AttributeError):
                sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGINT)

    def _done(self) -> str:
        left = f", and {self._left} cancelled" if self._left else ""
        return f"Interrupted: {counted(self._answered, 'call')} answered{left}."


INTERRUPTS: Final = Interrupts()


def is_interactive() -> bool:
    """Return whether this process runs interactively: in a notebook, or at a prompt."""
    ipython = sys.modules.get("IPython")
    return hasattr(sys, "ps1") or bool(sys.flags.interactive) or (ipython is not None and ipython.get_ipython())


def show_in_notebooks(error: BaseException, text: str) -> None:
    """Make IPython show one line for the exception, instead of screens of traceback."""
    line = f"{type(error).__name__}: {text}"
    error._render_traceback_ = lambda: [line]  # type: ignore[attr-defined]


def _interrupt_of_main_thread() -> BaseException | None:
    """Return the `KeyboardInterrupt` that the main thread is handling: in an `except`, a `finally` or a `with`."""
    current: dict[int, Any] = getattr(sys, "_current_exceptions", dict)()
    found = current.get(threading.main_thread().ident or 0)
    error = found[1] if isinstance(found, tuple) else found  # Python 3.12 and newer have no tuple
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error


def _python_waits_for() -> set[threading.Thread]:
    """Return the threads that Python waits for before it exits."""
    return {thread for thread in threading.enumerate() if not thread.daemon} - {threading.main_thread()}


def _go_on() -> str:
    kept = ", which takes finished answers from DSPy's cache" if "dspy" in sys.modules else ""
    return f"To continue, start the same program again{kept}."


def _tell(text: str) -> None:
    with suppress(OSError, ValueError, AttributeError):  # stderr is closed, or there is none
        print(text, file=sys.stderr, flush=True)


def _tell_nothing(_: object) -> None: ...


def _tell_unless_interrupted(args: threading.ExceptHookArgs) -> None:
    if not (isinstance(args.exc_value, RunHalted) and args.exc_value.reason == "ended"):
        threading.__excepthook__(args)
