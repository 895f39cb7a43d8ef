"""One background event loop that owns every SDK object, and the bridge to it from sync and async callers.

A caller may be a plain script, one of many threads, a notebook cell (whose thread has a running loop) or a coroutine on
any loop. It submits a coroutine or an async iterator, and receives the result or the items in its own thread or loop.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import queue
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from concurrent.futures import Future
from typing import Any, Final, Generic, TypeVar

from .interrupts import called_by_this_thread

T = TypeVar("T")
_CLEAN_UP_WITHIN_S: Final = 10.0
"""Longer than the clean-ups' own deadlines: asyncio warns on stderr if the loop closes before a process is reaped."""


class BackgroundLoop:
    """An event loop in a daemon thread. It starts on first use and stops at exit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._at_exit: list[Callable[[], Awaitable[None]]] = []
        self._after_fork: list[Callable[[], object]] = []
        self._kept: list[object] = []
        atexit.register(self.stop)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def __deepcopy__(self, memo: object) -> BackgroundLoop:
        return self

    def at_exit(self, clean_up: Callable[[], Awaitable[None]]) -> None:
        """Register a clean-up that is awaited on the loop before it stops."""
        self._at_exit.append(clean_up)

    def after_fork(self, forget: Callable[[], object]) -> None:
        """Call `forget` in forked children. Its result is kept alive: finalizers would touch the parent's resources."""
        self._after_fork.append(forget)

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine on the loop and return its future. Cancelling the future cancels the coroutine."""
        with called_by_this_thread():
            return asyncio.run_coroutine_threadsafe(work, self._running())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and block until it finishes. An interrupt (Ctrl-C) cancels it."""
        future = self.submit(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def arun(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on this loop and await it from another loop. Cancelling the caller cancels it."""
        return await asyncio.wrap_future(self.submit(work))

    def is_ending_here(self) -> bool:
        """Return whether the running loop was stopped or is about to stop. A newer loop may already be in use."""
        return asyncio.get_running_loop() is not self._loop

    def stop(self) -> None:
        """Await the clean-ups, stop the loop and join its thread. Idempotent. The next use starts a new loop."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None or not thread.is_alive():
            return
        for clean_up in self._at_exit:
            done = asyncio.run_coroutine_threadsafe(_await(clean_up()), loop)
            try:
                done.result(timeout=_CLEAN_UP_WITHIN_S)
            except Exception:  # a process that does not exit in time is left to the kernel
                done.cancel()
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=5)

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_serve, args=(self._loop,), name="claude-code-loop", daemon=True)
                self._thread.start()
            elif threading.current_thread() is self._thread:
                raise RuntimeError("a blocking call was made from within litellm_claude_code's own event loop")
            return self._loop

    def _forget(self) -> None:
        # After a fork, the child has a copy of the loop without its thread, and shares the loop's selector with the
        # parent. So the child keeps the loop alive, and neither uses nor closes it.
        self._lock = threading.Lock()
        self._kept += [self._loop, *(forget() for forget in self._after_fork)]
        self._loop = self._thread = None


class LazyCoroutine(Coroutine[Any, Any, T]):
    """A coroutine that is created when first awaited. litellm may drop it unawaited, which then causes no warning."""

    def __init__(self, make: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._make = make
        self._begun: Coroutine[Any, Any, T] | None = None

    def _begin(self) -> Coroutine[Any, Any, T]:
        if self._begun is None:
            self._begun = self._make()
        return self._begun

    def __await__(self) -> Generator[Any, Any, T]:
        return self._begin().__await__()

    def send(self, value: Any) -> Any:
        return self._begin().send(value)

    def throw(self, *error: Any) -> Any:
        return self._begin().throw(*error)

    def close(self) -> None:
        if self._begun is not None:
            self._begun.close()


class SyncStream(Iterator[T]):
    """An iterator for a thread, over items from the loop. Closing or dropping it stops the iteration on the loop."""

    def __init__(self, loop: BackgroundLoop, items: AsyncIterator[T]) -> None:
        self._inbox: queue.SimpleQueue[_Item[T]] = queue.SimpleQueue()
        self._first: _Item[T] | None = None
        self._feeding = loop.submit(_feed(items, self._inbox.put))

    def wait(self) -> None:
        """Wait for the first item. Raises the error of the iteration if it failed before that."""
        try:
            self._first = self._inbox.get()
            self._first.raise_error()
        except BaseException:
            self.close()
            raise

    def __next__(self) -> T:
        try:
            item, self._first = self._first or self._inbox.get(), None
            return item.take(StopIteration)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop the iteration, and with it the model request."""
        self._feeding.cancel()
        self._inbox.put(_Item(is_end=True))

    def __del__(self) -> None:
        self._feeding.cancel()


class AsyncStream(AsyncIterator[T]):
    """An async iterator for any loop, over items from this loop. Closing or dropping it stops the iteration."""

    def __init__(self, loop: BackgroundLoop, items: AsyncIterator[T]) -> None:
        self._inbox: _Inbox[T] = _Inbox()
        self._feeding = loop.submit(_feed(items, self._inbox.put))

    async def __anext__(self) -> T:
        try:
            return (await self._inbox.get()).take(StopAsyncIteration)
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Stop the iteration, and with it the model request."""
        self._feeding.cancel()
        self._inbox.put(_Item(is_end=True))

    def __del__(self) -> None:
        self._feeding.cancel()


class _Inbox(Generic[T]):
    """A queue from one thread to a coroutine in another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._items: deque[_Item[T]] = deque()
        self._waiting: asyncio.Future[None] | None = None

    def put(self, item: _Item[T]) -> None:
        with self._lock:
            self._items.append(item)
            waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.get_loop().call_soon_threadsafe(_wake, waiting)

    async def get(self) -> _Item[T]:
        while True:
            with self._lock:
                if self._items:
                    return self._items.popleft()
                self._waiting = waiting = asyncio.get_running_loop().create_future()
            await waiting


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


class _Item(Generic[T]):
    """An item, an error, or the end of the stream."""

    __slots__ = ("_error", "_is_end", "_value")

    def __init__(self, value: T | None = None, *, error: BaseException | None = None, is_end: bool = False) -> None:
        self._value, self._error, self._is_end = value, error, is_end

    def raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def take(self, end: type[Exception]) -> T:
        self.raise_error()
        if self._is_end:
            raise end
        return self._value  # type: ignore[return-value]  # an item that is neither end nor error has a value


async def _feed(items: AsyncIterator[T], put: Callable[[_Item[T]], None]) -> None:
    # `put` holds no reference to the stream, so that a dropped stream is garbage-collected, which cancels this.
    try:
        async for item in items:
            put(_Item(item))
    except (asyncio.CancelledError, GeneratorExit):
        put(_Item(is_end=True))
        raise
    except BaseException as error:  # observers may raise one, so that no `except Exception` swallows it
        put(_Item(error=error))
    else:
        put(_Item(is_end=True))
    finally:
        if (aclose := getattr(items, "aclose", None)) is not None:
            await aclose()


async def _await(work: Awaitable[None]) -> None:
    await work


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
