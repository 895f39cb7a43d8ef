"""One background event loop, where every SDK object lives; sync and async callers meet it here.

A caller may be a plain script, one of many threads, a notebook cell (whose thread has a running loop) or a coroutine of
any loop: each hands its work over and gets the result, or the items of a stream, back on its own side.
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

T = TypeVar("T")
_CLEAN_UP_WITHIN_S: Final = 10.0
"""Longer than any clean-up's own deadlines: a loop that closes before a process is reaped says so on stderr."""


class BackgroundLoop:
    """An event loop in a daemon thread, started by the first use and gone at exit."""

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
        """Have a clean-up awaited on the loop before it stops."""
        self._at_exit.append(clean_up)

    def after_fork(self, forget: Callable[[], object]) -> None:
        """Have `forget` called in a forked child. What it returns is kept: its finalizers would act on the parent's."""
        self._after_fork.append(forget)

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine on the loop and return its future. Cancelling the future cancels the coroutine."""
        return asyncio.run_coroutine_threadsafe(work, self._running())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for it. An interrupt (Ctrl-C) cancels it."""
        future = self.submit(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def arun(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and await it from another. Cancelling the caller cancels it."""
        return await asyncio.wrap_future(self.submit(work))

    def iterate(self, items: AsyncIterator[T]) -> SyncStream[T]:
        """Iterate on the loop and hand each item over as it comes."""
        return SyncStream(self, items)

    def aiterate(self, items: AsyncIterator[T]) -> AsyncStream[T]:
        """Iterate on the loop and hand each item over, as it comes, to whichever loop asks for it."""
        return AsyncStream(self, items)

    def is_ending_here(self) -> bool:
        """Say whether the caller runs on a loop that was stopped, or is about to be: another may be in use by now."""
        return asyncio.get_running_loop() is not self._loop

    def stop(self) -> None:
        """Await the clean-ups, stop the loop and join its thread. Idempotent; the next use starts again."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None or not thread.is_alive():
            return
        for clean_up in self._at_exit:
            done = asyncio.run_coroutine_threadsafe(_await(clean_up()), loop)
            try:
                done.result(timeout=_CLEAN_UP_WITHIN_S)
            except Exception:  # nothing more can be done for a process that will not end: the kernel has the rest
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
        # After a fork the child has the loop's memory but not its thread, and shares its selector with the parent: it
        # is neither used nor closed nor collected.
        self._lock = threading.Lock()
        self._kept += [self._loop, *(forget() for forget in self._after_fork)]
        self._loop = self._thread = None


class Later(Coroutine[Any, Any, T]):
    """A coroutine that begins when it is awaited: one that nobody awaits, as litellm leaves it, gives no warning."""

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
    """Items for a thread, as they come. Closing or dropping it, or reaching its end, ends the iteration on the loop."""

    def __init__(self, loop: BackgroundLoop, items: AsyncIterator[T]) -> None:
        self._inbox: queue.SimpleQueue[_Item[T]] = queue.SimpleQueue()
        self._first: _Item[T] | None = None
        self._feeding = loop.submit(_feed(items, self._inbox.put))

    def wait(self) -> None:
        """Wait for the first item; raise what went wrong before it, if anything did."""
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
        """End the iteration, and with it the model request."""
        self._feeding.cancel()
        self._inbox.put(_Item(is_end=True))

    def __del__(self) -> None:
        self._feeding.cancel()


class AsyncStream(AsyncIterator[T]):
    """Items for a coroutine of any loop, as they come. Ends as `SyncStream` does."""

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
        """End the iteration, and with it the model request."""
        self._feeding.cancel()
        self._inbox.put(_Item(is_end=True))

    def __del__(self) -> None:
        self._feeding.cancel()


class _Inbox(Generic[T]):
    """A queue that one thread puts to and a coroutine of another takes from."""

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
    """An item, the end, or what went wrong."""

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
    # `put` holds no reference to the stream, so that a stream nobody reads any more is collected, and closes.
    try:
        async for item in items:
            put(_Item(item))
    except (asyncio.CancelledError, GeneratorExit):
        put(_Item(is_end=True))
        raise
    except BaseException as error:  # an observer's, which no `except Exception` on its way may swallow
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
