"""From a request to its response or chunks: the events of its call, with its timeout, observer and exceptions.

There is one stream of events; the plain answer is its fold.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import anyio
from litellm.types.utils import ModelResponse

from .call import Chunk, Request, Waiting
from .errors import CallFailed, RunFailed, bugs_reported, timed_out, to_litellm, translating_an_answer
from .interrupts import INTERRUPTS
from .observer import Waits, call_scope
from .translation.response import merge_choices

if TYPE_CHECKING:
    from .pool.pool import Pool


async def answer(request: Request, current_pool: Callable[[], Pool]) -> ModelResponse:
    """Make the request and return its response. Raises litellm's exceptions."""
    with (
        INTERRUPTS.cancelling(),
        call_scope(request.observer, model=request.model, n=request.n),
        bugs_reported(request.model),
    ):
        try:
            with _failing_if_closed(current_pool):
                responses = await _responses(request, current_pool)
            with translating_an_answer():
                response = merge_choices(responses)
        except CallFailed as failed:
            raise _as_litellm_error(failed, request) from failed
    request.observer.answered(getattr(response, "usage", None))
    return response


async def stream(request: Request, current_pool: Callable[[], Pool]) -> AsyncIterator[Chunk]:
    """Make the request and yield its chunks. `timeout` limits the wait for each event, as it does for `anthropic/`."""
    chunks, waits = request.chunks(), Waits(request.observer)
    with INTERRUPTS.cancelling(), call_scope(request.observer, model=request.model, n=1), bugs_reported(request.model):
        try:
            with _failing_if_closed(current_pool):
                pool = await checked(current_pool(), timeout_s=request.call.timeout_s)
            async with aclosing(request.events(pool, partial(waits.note, 0))) as events:
                async for event in events:
                    with translating_an_answer():
                        made = list(chunks.take(event))
                    for chunk in made:
                        yield chunk
        except CallFailed as failed:
            raise _as_litellm_error(failed, request) from failed
    request.observer.answered(chunks.usage)


async def checked(pool: Pool, *, timeout_s: float | None) -> Pool:
    """Return the pool, after a self-check if its CLI has not passed one yet (`selfcheck/`).

    Raises `CallFailed` if the CLI does not pass, or if the self-check takes longer than `timeout_s`.
    """
    if pool.settings.self_check:
        from .selfcheck import ensure_checked  # here, because only calls need it

        try:
            await ensure_checked(pool.settings, timeout_s=timeout_s)
        except TimeoutError:
            raise timed_out(timeout_s) from None
    return pool


async def _responses(request: Request, current_pool: Callable[[], Pool]) -> list[ModelResponse]:
    """Make the `n` requests of a call and return their responses.

    `timeout` limits the whole of it. It starts again when a wait for a limit's reset ends.
    """
    waits, timeout_s = Waits(request.observer), request.call.timeout_s

    def pause(number: int, left_s: float) -> None:
        is_paused = waits.note(number, left_s)
        scope.deadline = anyio.current_time() + (math.inf if is_paused or timeout_s is None else timeout_s)

    async def response(waiting: Waiting) -> ModelResponse:
        pool = await checked(current_pool(), timeout_s=timeout_s)
        events = [event async for event in request.events(pool, waiting)]
        with translating_an_answer():
            return request.response(events)

    asking = [asyncio.ensure_future(response(partial(pause, number))) for number in range(request.n)]
    try:
        with anyio.fail_after(timeout_s) as scope:
            return list(await asyncio.gather(*asking))
    except TimeoutError:
        raise timed_out(timeout_s) from None
    finally:
        for each in asking:
            each.cancel()
        # Their waits have to end before the observer hears of the call's end.
        await asyncio.gather(*asking, return_exceptions=True)


@contextmanager
def _failing_if_closed(current_pool: Callable[[], Pool]) -> Iterator[None]:
    """Raise `CallFailed`, not a cancellation, for a call that is cut off because everything is closed."""
    try:
        yield
    except asyncio.CancelledError:
        current_pool()  # raises if so
        raise


def _as_litellm_error(failed: CallFailed, request: Request) -> Exception:
    error = to_litellm(failed, model=request.model, login=request.call.login)
    if isinstance(failed, RunFailed):
        error.provider_specific_fields = {"agent": failed.record}  # type: ignore[attr-defined]
    return error
