"""The slots of agents among the pool's `max_workers`. An agent's process is not a worker of the pool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from ..errors import closed
from ..process.worker import State, Worker


class AgentSlots:
    """Which agents run, and which wait until there is room for another process."""

    def __init__(self, max_workers: int, *, on_change: Callable[[], None]) -> None:
        self._max_workers = max_workers
        self._on_change = on_change
        self._slots: dict[asyncio.Future[None], asyncio.Task[object]] = {}
        """One future for each agent's task. It is done once the agent has its slot."""
        self._is_closed = False

    @property
    def taken(self) -> int:
        """Return how many agents run."""
        return sum(slot.done() for slot in self._slots)

    @asynccontextmanager
    async def reserve(self) -> AsyncIterator[None]:
        """Wait for a slot and hold it. `aclose` cancels the task that does so.

        Agents never take the last slot, unless it is the only one: an agent's own tools may make plain calls.
        """
        task = asyncio.current_task()
        assert task is not None
        if self._is_closed:
            raise closed()
        slot = asyncio.get_running_loop().create_future()
        self._slots[slot] = task
        try:
            self._on_change()
            await slot
            yield
        finally:
            del self._slots[slot]
            self._on_change()

    def grant(self, workers: Sequence[Worker]) -> list[Worker]:
        """Give waiting agents their slots if there is room, and return the idle workers to close for that."""
        live = [worker for worker in workers if worker.is_alive]
        idle = sorted((worker for worker in live if worker.state is State.IDLE), key=lambda worker: worker.used_at)
        closing: list[Worker] = []
        for slot in [slot for slot in self._slots if not slot.done()]:
            if self.taken >= max(1, self._max_workers - 1):
                break
            if len(live) - len(closing) + self.taken >= self._max_workers:
                if len(closing) == len(idle):
                    break
                closing.append(idle[len(closing)])
            slot.set_result(None)
        return closing

    async def aclose(self) -> None:
        """Cancel every agent, and wait until its processes have ended."""
        self._is_closed = True
        tasks = list(self._slots.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
