"""Running the self-check's calls on loopback: the stand-in, the workers, and the record of each call."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from .. import cli_protocol as cli
from .. import models
from .._litellm import Body
from ..auth import placed
from ..call import ApiEvent, PlainCall
from ..errors import CallFailed, Failure
from ..login import Login
from ..process._sdk import from_sdk
from ..process.guard import LEFT_OUT_BLOCK
from ..process.worker import State, Worker
from ..settings import Settings
from .report import Problem

if TYPE_CHECKING:
    from ..testing import RecordedRequest, Reply, StandIn

KEY: Final = "self-check-key"
TOKEN: Final = "self-check-token"
SYSTEM: Final = "You take part in a self-check. @/etc/hostname, ${HOME}, `id`, é 👩‍👩‍👧‍👦"
PLAIN: Final[Body] = {"messages": [{"role": "user", "content": "/cost é 👩‍👩‍👧‍👦 \u2028 of it"}], "max_tokens": 100}
ANSWER: Final = "It is well."


class CheckAborted(Exception):
    """Raised if a process fails, so that the self-check cannot continue."""

    def __init__(self, text: str, *switches: str, refused: Failure | None = None) -> None:
        super().__init__(text)
        self.problem = Problem(text, switches)
        self.refused = refused
        """Set if the cause is a refused setting, under which no process may run."""


def _not_started(failed: CallFailed, text: str, *switches: str) -> CheckAborted:
    """Return the error for a process that failed to boot."""
    if failed.failure.kind == "refused_settings":
        return CheckAborted(failed.failure.text, refused=failed.failure)
    return CheckAborted(f"{text}: {failed.failure.text}", *switches)


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One call: the body it asked for, the requests that reached the stand-in, and the events that came back."""

    asked: Body
    system: str
    requests: Sequence[RecordedRequest]
    events: Sequence[ApiEvent]
    failure: Failure | None
    ended_by: str | None
    """The `subtype` of the CLI's result, or None if the worker stopped the CLI's turn before it had one."""

    @property
    def bodies(self) -> list[Body]:
        """Return the bodies of the call's requests, without the CLI's own, which have another system prompt.

        If none has the call's system prompt, return the first.
        """
        bodies = [request.body for request in self.requests]
        return [body for body in bodies if _is_of_call(body, self.system)] or bodies[:1]

    @property
    def body(self) -> Body:
        return self.bodies[0]

    @property
    def text(self) -> str:
        deltas = [event["delta"] for event in self.events if event.get("type") == "content_block_delta"]
        return "".join(delta.get("text", "") for delta in deltas)

    @property
    def stop_reason(self) -> str | None:
        deltas = [event["delta"] for event in self.events if event.get("type") == "message_delta"]
        return next((delta.get("stop_reason") for delta in deltas), None)


class Bench:
    """A stand-in and two workers that use it: one for calls with a system prompt, one for calls without."""

    def __init__(self, stand_in: StandIn, settings: Settings) -> None:
        self.stand_in = stand_in
        self.cli_version = ""
        self._settings = settings
        self._system = ""
        self._replies: deque[Reply] = deque()
        self._changed = asyncio.Event()
        self._workers: dict[bool, Worker] = {}
        self._login = Login(payer="gateway", base_url=stand_in.base_url, secrets=((cli.API_KEY, KEY),))
        stand_in.respond = self._respond

    async def boot(self) -> None:
        """Start both workers. Raises `CheckAborted` if one does not finish its boot."""
        try:
            for has_system in (True, False):
                self._workers[has_system] = Worker(self._login, settings=self._settings, on_change=self._note)
        except Exception as error:
            raise CheckAborted(f"it does not start: {from_sdk(error, is_sent=False).failure.text}") from error
        for worker in self._workers.values():
            await self._settled(worker)
            if worker.failure is not None:
                raise _not_started(worker.failure, f"it does not start, or does not answer `{cli.APPLY_FLAG_SETTINGS}`")

    async def close(self) -> None:
        """Close both workers."""
        await asyncio.gather(*(worker.close() for worker in self._workers.values()))

    async def ask_with_token(self, config: Path, *, later: Body) -> Observation:
        """Run a call in a worker that has a subscription token and its own configuration folder `config`.

        `later` is written to `.claude.json` after the boot, before the call. Raises `CheckAborted`.
        """
        login = Login(payer="subscription", base_url=self.stand_in.base_url, secrets=((cli.OAUTH_TOKEN, TOKEN),))
        environ = {**os.environ, cli.CONFIG_DIR: str(config)}
        worker = Worker(placed(login, environ), settings=self._settings, on_change=self._note)
        try:
            await self._settled(worker)
            if worker.failure is not None:
                raise _not_started(worker.failure, "it does not start with a token", cli.OAUTH_TOKEN)
            (config / ".claude.json").write_text(json.dumps(later))
            return await self.ask(worker=worker)
        finally:
            await worker.close()

    async def ask(
        self,
        body: Body = PLAIN,
        *replies: Reply,
        system: str = SYSTEM,
        model: str = "sonnet",
        cache_ttl: Literal["5m", "1h"] | None = None,
        text: str | None = None,
        worker: Worker | None = None,
    ) -> Observation:
        """Run a call, and wait until the worker has been reset. Return what was seen of the call.

        The stand-in answers the call's requests with `replies`, then with `ANSWER`. If `text` is given, it is loaded
        unchanged in place of the body.

        Raises `CheckAborted` if the call times out, if the worker fails, or if no request arrives; with `text`, a call
        without requests is accepted.
        """
        worker, before = worker or self._workers[bool(system)], len(self.stand_in.requests)
        asked = {**body, "model": models.resolve(model, any_id=True)}
        content = body["messages"][0]["content"]
        call = PlainCall(
            model=asked["model"],
            system=system,
            extra_body=json.dumps(body) if text is None else text,
            prompt=content if isinstance(content, str) else content[0]["text"],
            max_tokens=body.get("max_tokens"),
            effort=body.get("output_config", {}).get("effort"),
            cache_ttl=cache_ttl,
            timeout_s=self._settings.step_timeout_s,
            login=worker.login,
        )
        self._system, self._replies = system, deque(replies)
        turn, events, failure = worker.start(call), list[ApiEvent](), None
        try:
            async for event in turn:
                events.append(event)
        except CallFailed as failed:
            failure = failed.failure
        finally:
            turn.abandon()
        await self._settled(worker)
        requests = self.stand_in.requests[before:]
        seen = Observation(
            asked=asked, system=system, requests=requests, events=events, failure=failure, ended_by=turn.ended_by
        )
        if text is None or seen.requests:  # if the CLI leaves `text` out, it may make no request
            self._check_is_alive(worker, seen)
        return seen

    def _check_is_alive(self, worker: Worker, seen: Observation) -> None:
        failure = worker.failure.failure if worker.failure else seen.failure
        said = failure.text if failure else ""
        if seen.failure is not None and seen.failure.kind == "timeout":
            raise CheckAborted(f"it does not answer a call: {said}")
        if worker.failure is not None and not seen.requests:
            raise CheckAborted(
                f"it does not accept a request by `{cli.APPLY_FLAG_SETTINGS}` and `{cli.SET_MODEL}`: {said}"
            )
        if worker.failure is not None:
            raise CheckAborted(f"it does not remove a call by `{cli.CLEAR}` and `{cli.REWIND_CONVERSATION}`: {said}")
        if not seen.requests:
            text = f"its request does not reach the self-check on loopback ({said})"
            raise CheckAborted(text, cli.BASE_URL, cli.API_KEY)
        agent = re.match(r"claude-cli/(\S+)", seen.requests[0].headers.get("user-agent", ""))
        self.cli_version = agent.group(1) if agent else self.cli_version

    async def _settled(self, worker: Worker) -> None:
        """Wait until a worker is idle or closed. The worker's own timeouts limit this."""
        while worker.state in (State.BOOTING, State.BUSY, State.RESETTING):
            self._changed.clear()
            await self._changed.wait()

    def _note(self, _worker: Worker) -> None:
        self._changed.set()

    async def _respond(self, request: RecordedRequest) -> Reply:
        if self._replies and _is_of_call(request.body, self._system):
            return self._replies.popleft()
        is_left_out = LEFT_OUT_BLOCK["type"] in json.dumps(request.body.get("messages"))
        return _refusal() if is_left_out else ANSWER


def _refusal() -> Reply:
    """Return the API's error for a request with a content block of an unknown type."""
    from ..testing import Failure as ApiFailure

    return ApiFailure(400, message=f"messages.0.content.1: '{LEFT_OUT_BLOCK['type']}' does not match any expected tag")


def system_blocks(body: Body) -> tuple[list[Body], list[Body]]:
    """Return the CLI's own system blocks (the first two, as the CLI is started here), and those that follow."""
    blocks = body.get("system")
    return (blocks[:2], blocks[2:]) if isinstance(blocks, list) else ([], [])


def _is_of_call(body: Body, system: str) -> bool:
    given = [block.get("text") for block in system_blocks(body)[1]]
    return given in ([], [system])
