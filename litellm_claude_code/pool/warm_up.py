"""Booting workers before there is a call for them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

from ..login import Login
from ..process.worker import State, Worker
from .schedule import fits


class WarmUps:
    """The `warm_up`s in progress."""

    def __init__(self) -> None:
        self._in_progress: Counter[Login] = Counter()
        self._watchers: list[asyncio.Future[Worker]] = []

    def is_in_progress(self, login: Login) -> bool:
        """Return whether to keep workers of this login booting, even if no call waits for them."""
        return self._in_progress[login] > 0

    async def until_ready(
        self, workers: Sequence[Worker], login: Login, *, system: str, n: int, boot: Callable[[Login, int], None]
    ) -> None:
        """Boot workers until `n` of the pool's `workers` are ready for calls with this system prompt.

        `boot` starts the workers that are still missing, or fewer if there is no room for all. The wait also ends if no
        worker is booting any more: then fewer than `n` fit. Raises `CallFailed` if a process cannot be started.
        """
        self._in_progress[login] += 1
        try:
            while True:
                fitting = [worker for worker in workers if fits(worker, login, system)]
                if sum(worker.state is not State.BOOTING for worker in fitting) >= n:
                    return
                boot(login, n - len(fitting))
                if not any(worker.state is State.BOOTING for worker in workers):
                    return
                changed = await self._next_change()
                if changed.login == login and changed.calls == 0 and changed.failure is not None:
                    raise changed.failure
        finally:
            self._in_progress[login] -= 1

    def note_change(self, worker: Worker) -> None:
        """Look again, because a worker's state has changed."""
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            if not watcher.done():
                watcher.set_result(worker)

    async def _next_change(self) -> Worker:
        changed: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        self._watchers.append(changed)
        return await changed
