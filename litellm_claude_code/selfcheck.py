"""Whether the Claude Code CLI that is there does what this package relies on, proved on loopback.

Two workers serve a dozen calls that the stand-in answers; what it saw is compared with what was asked. No login takes
part, and nothing leaves the machine. When a check is due, and whether at all, is for the caller of `ensure_checked`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import anyio
import claude_agent_sdk

from . import models
from .auth import Login
from .call import ApiEvent, Call
from .errors import CallFailed, Failure, from_sdk
from .installed import find_cli, recall, remember
from .settings import Settings
from .worker import State, Worker

if TYPE_CHECKING:
    from .testing import RecordedRequest, Reply, StandIn

Body: TypeAlias = dict[str, Any]

KNOWN_GOOD: Final[Mapping[str, str]] = {"0.2.184": "2.1.327"}
"""Versions of claude-agent-sdk, and of the CLI in its wheel, that the tests of this package ran with."""

_REMEMBERED: Final = "self_check"
_REMEMBERED_CLIS: Final = 8
_VERSION_WITHIN_S: Final = 3.0
_AGAIN_AFTER_S: Final = 30.0
"""A check that could not be finished, as on a machine too busy for it, is made again for a call after that long."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a self-check found."""

    cli: Path | None
    cli_version: str
    """Empty where the CLI did not tell."""
    sdk_version: str
    problems: tuple[str, ...] = ()
    """What the CLI does otherwise, a sentence each that names the variable, flag or step concerned."""
    policies: tuple[str, ...] = ()
    """What the managed settings of this machine have to do with it, a sentence for each file."""
    is_finished: bool = True
    """False where the CLI went away or did not answer, so that the last problem may be the machine's."""

    @property
    def is_good(self) -> bool:
        return not self.problems

    def sentence(self) -> str:
        """Say what is wrong, what it has to do with, and which versions are known to work; empty for a good report."""
        if self.is_good:
            return ""
        version = self.cli_version or "of unknown version"
        found = f"The Claude Code CLI {version} ({self.cli or 'not found'}, claude-agent-sdk {self.sdk_version})"
        return " ".join([f"{found} does not do what {__package__} relies on.", *self.problems, *self._advice()])

    def _advice(self) -> list[str]:
        sdk, cli = next(iter(KNOWN_GOOD.items()))
        known = f"Known to work: claude-agent-sdk {sdk} with the CLI {cli} in its wheel"
        advice = [*self.policies]
        if KNOWN_GOOD.get(self.sdk_version) == self.cli_version and not self.policies:
            advice.append("These versions are known to work: look for a policy, or a wrapper of the CLI, in between.")
        return [*advice, f"{known}: pip install 'claude-agent-sdk=={sdk}', and no LITELLM_CLAUDE_CODE_CLI_PATH."]


async def ensure_checked(settings: Settings) -> None:
    """Check the CLI, unless that was done, in this Python process or in an earlier one that found it good.

    Callers at the same time share one check. Raises `CallFailed` where the CLI does not do what is relied on.
    """
    verdict = _verdicts.get(settings.cli_path)
    if verdict is None or verdict.until < time.monotonic():
        verdict = await asyncio.shield(_checking(settings))
    if verdict.wrong:
        raise CallFailed(Failure(kind="self_check", text=verdict.wrong))


@dataclass(frozen=True, kw_only=True)
class _Verdict:
    """What this Python process goes by, until `time.monotonic()` says that it is out of date."""

    wrong: str = ""
    until: float = float("inf")


_verdicts: dict[Path | None, _Verdict] = {}
_running: dict[Path | None, asyncio.Task[_Verdict]] = {}


def _checking(settings: Settings) -> asyncio.Task[_Verdict]:
    """Return the check that is under way on this event loop, or a new one."""
    running = _running.get(settings.cli_path)
    if running is None or running.done() or running.get_loop() is not asyncio.get_running_loop():
        running = asyncio.create_task(_judge(settings), name="claude-code-self-check")
        _running[settings.cli_path] = running
    return running


async def _judge(settings: Settings) -> _Verdict:
    verdict, mark = _Verdict(), _fingerprint(settings)
    known = recall(_REMEMBERED) or []
    if mark not in known:
        report = await self_check(settings)
        if report.is_good:
            remember(_REMEMBERED, [*known, mark][-_REMEMBERED_CLIS:])
        else:
            until = float("inf") if report.is_finished else time.monotonic() + _AGAIN_AFTER_S
            verdict = _Verdict(wrong=report.sentence(), until=until)
    _verdicts[settings.cli_path] = verdict
    return verdict


async def self_check(settings: Settings) -> Report:
    """Have the CLI serve a dozen calls on loopback, and report. Takes a second or two and makes no request elsewhere.

    A failing check does not end the others; a process that is lost does.
    """
    from .testing import StandIn  # here, because of the product only this and the command line need a web server

    problems: list[_Problem] = []
    is_finished, version = True, ""
    try:
        with StandIn(api_key=None) as stand_in:
            bench = _Bench(stand_in, settings)
            try:
                await bench.boot()
                for check in _CHECKS:
                    problems += await check(bench)
            finally:
                await bench.close()
                version = bench.cli_version
    except _Lost as lost:
        problems.append(lost.problem)
        is_finished = False
    except RuntimeError as error:  # the stand-in's, where it cannot listen
        problems.append(_Problem(f"it cannot be checked: {error}"))
        is_finished = False
    return Report(
        cli=_cli(settings),
        cli_version=version or await _ask_version(_cli(settings)),
        sdk_version=claude_agent_sdk.__version__,
        problems=tuple(dict.fromkeys(problem.sentence() for problem in problems)),
        policies=tuple(_policies()) if problems else (),
        is_finished=is_finished,
    )


@dataclass(frozen=True)
class _Problem:
    """Something the CLI does otherwise, and the variables, flags or steps that should have seen to it."""

    text: str
    switches: tuple[str, ...] = ()

    def sentence(self) -> str:
        why = f": {' or '.join(self.switches)} has no effect" if self.switches else ""
        return f"{self.text[0].upper()}{self.text[1:]}{why}."


class _Lost(Exception):
    """A process that cannot be asked further."""

    def __init__(self, text: str, *switches: str) -> None:
        super().__init__(text)
        self.problem = _Problem(text, switches)


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """One call: what was asked for, what reached the stand-in because of it, and what came back."""

    asked: Body
    system: str
    requests: Sequence[RecordedRequest]
    events: Sequence[ApiEvent]
    failure: Failure | None

    @property
    def bodies(self) -> list[Body]:
        """Return the bodies that the model was asked with. What the CLI asks for itself has other instructions."""
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


_KEY: Final = "self-check-key"
_SYSTEM: Final = "You take part in a self-check. @/etc/hostname, ${HOME}, `id`, é 👩‍👩‍👧‍👦"
_OTHER_SYSTEM: Final = " \n"
_TRACE: Final = "wryneck-4711"
"""A word of the first call that no later one may hold."""
_RICH: Final[Body] = {
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": f"@/etc/passwd and {_TRACE}: ultrathink about !`id`"}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {}}]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "\u202eé 👩‍👩‍👧‍👦 \u2028 \x1b[31m"},
                {"type": "text", "text": "/clear"},
            ],
        },
    ],
    "tools": [{"name": "Bash", "description": "Runs", "input_schema": {"type": "object", "properties": {}}}],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "max_tokens": 321,
    "stop_sequences": ["END"],
    "thinking": {"type": "adaptive"},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
}
_PLAIN: Final[Body] = {"messages": [{"role": "user", "content": "/cost é 👩‍👩‍👧‍👦 \u2028 of it"}], "max_tokens": 100}
_ANSWER: Final = "It is well."
_IN_BODY: Final[Mapping[str, tuple[str, ...]]] = {
    "thinking": ("CLAUDE_CODE_DISABLE_THINKING",),
    "output_config": ("CLAUDE_CODE_EFFORT_LEVEL",),
    "tools": ("--tools", "ENABLE_TOOL_SEARCH"),
    "context_management": ("CLAUDE_CODE_DISABLE_EXPERIMENTAL_BETAS",),
}
"""What keeps a key out of a body whose caller did not ask for it."""
_ABSENT: Final = object()


def _system_blocks(body: Body) -> tuple[list[Body], list[Body]]:
    """Return the system blocks that are the CLI's own, two as it is started here, and those that follow."""
    blocks = body.get("system")
    return (blocks[:2], blocks[2:]) if isinstance(blocks, list) else ([], [])


def _is_of_call(body: Body, system: str) -> bool:
    given = [block.get("text") for block in _system_blocks(body)[1]]
    return given in ([], [system])


class _Bench:
    """A stand-in and two processes that ask it: one with a system prompt, one without."""

    def __init__(self, stand_in: StandIn, settings: Settings) -> None:
        self.stand_in = stand_in
        self.cli_version = ""
        self._settings = settings
        self._system = ""
        self._replies: deque[Reply] = deque()
        self._changed = asyncio.Event()
        self._workers: dict[bool, Worker] = {}
        # No proxy: the CLI would ask for the loopback interface there, too.
        own = {"ANTHROPIC_API_KEY": _KEY, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        self._login = Login(payer="gateway", base_url=stand_in.base_url, secrets=tuple(own.items()))
        stand_in.respond = self._respond

    async def boot(self) -> None:
        """Start both processes. Raises `_Lost` where one does not answer the control request that ends its boot."""
        try:
            for has_system in (True, False):
                self._workers[has_system] = Worker(self._login, settings=self._settings, on_change=self._note)
        except Exception as error:
            raise _Lost(f"it does not start: {from_sdk(error, is_sent=False).failure.text}") from error
        for worker in self._workers.values():
            await self._settled(worker)
            if worker.failure is not None:
                text = worker.failure.failure.text
                raise _Lost(f"it does not start, or does not answer `apply_flag_settings`: {text}")

    async def close(self) -> None:
        """End both processes."""
        await asyncio.gather(*(worker.close() for worker in self._workers.values()))

    async def ask(
        self,
        body: Body = _PLAIN,
        *replies: Reply,
        system: str = _SYSTEM,
        model: str = "sonnet",
        cache_ttl: Literal["5m", "1h"] | None = None,
    ) -> _Seen:
        """Have a call served, its requests answered by `replies` and then by `_ANSWER`, up to the worker's reset.

        Raises `_Lost` where that does not come to an end, or nothing is asked.
        """
        worker, before = self._workers[bool(system)], len(self.stand_in.requests)
        asked = {**body, "model": models.resolve(model, any_id=True)}
        content = body["messages"][0]["content"]
        call = Call(
            model=asked["model"],
            system=system,
            extra_body=json.dumps(body),
            prompt=content if isinstance(content, str) else content[0]["text"],
            effort=body.get("output_config", {}).get("effort"),
            cache_ttl=cache_ttl,
            timeout_s=self._settings.step_timeout_s,
            login=self._login,
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
        seen = _Seen(asked=asked, system=system, requests=requests, events=events, failure=failure)
        self._check_is_alive(worker, seen)
        return seen

    def _check_is_alive(self, worker: Worker, seen: _Seen) -> None:
        failure = worker.failure.failure if worker.failure else seen.failure
        said = failure.text if failure else ""
        if seen.failure is not None and seen.failure.kind == "timeout":
            raise _Lost(f"it does not answer a call: {said}")
        if worker.failure is not None and not seen.requests:
            raise _Lost(f"it cannot be given a request by `apply_flag_settings` and `set_model`: {said}")
        if worker.failure is not None:
            raise _Lost(f"it does not end a call and forget it by `/clear` and `rewind_conversation`: {said}")
        if not seen.requests:
            raise _Lost(f"its request does not arrive on loopback ({said})", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY")
        told = re.match(r"claude-cli/(\S+)", seen.requests[0].headers.get("user-agent", ""))
        self.cli_version = told.group(1) if told else self.cli_version

    async def _settled(self, worker: Worker) -> None:
        """Wait until a worker is free or closed; its own time limits bound that."""
        while worker.state in (State.BOOTING, State.BUSY, State.RESETTING):
            self._changed.clear()
            await self._changed.wait()

    def _note(self, _worker: Worker) -> None:
        self._changed.set()

    async def _respond(self, request: RecordedRequest) -> Reply:
        return self._replies.popleft() if self._replies and _is_of_call(request.body, self._system) else _ANSWER


async def _check_rich_body(bench: _Bench) -> list[_Problem]:
    """See that all a body can hold arrives as it was written, and the answer's events come out."""
    seen = await bench.ask(_RICH)
    problems = _differences(seen)
    if any(_credentials(request) != (_KEY, None) for request in seen.requests):
        problems.append(_Problem("it sends another credential than the key it is given", ("ANTHROPIC_API_KEY",)))
    if seen.text != _ANSWER or seen.stop_reason != "end_turn":
        switches = () if seen.events else ("--include-partial-messages",)
        problems.append(_Problem("the events of an answer do not come out whole", switches))
    return problems


def _credentials(request: RecordedRequest) -> tuple[str | None, str | None]:
    return request.headers.get("x-api-key"), request.headers.get("authorization")


async def _check_reset(bench: _Bench) -> list[_Problem]:
    """See that a second call holds nothing of the first, and all that a fresh process writes for it."""
    second = await bench.ask(system=_OTHER_SYSTEM)
    fresh = await bench.ask(system="")
    problems = [*_differences(second), *_differences(fresh)]
    reset = ("/clear", "rewind_conversation")
    if _TRACE in json.dumps(second.body):
        problems.append(_Problem("a second call holds words of the first", reset))
    if _system_blocks(second.body)[0] != _system_blocks(fresh.body)[0]:
        problems.append(_Problem("its own system blocks are not those that a fresh process writes", reset))
    return problems


async def _check_endings(bench: _Bench) -> list[_Problem]:
    """See that an answer, however it ends, is one request and comes out with its own `stop_reason`."""
    from .testing import Answer, Text, ToolUse

    budget, fallback = "--max-budget-usd", "CLAUDE_CODE_DISABLE_REFUSAL_FALLBACK"
    endings: list[tuple[str, Answer, tuple[str, ...]]] = [
        ("that ends at max_tokens", Answer(content=[Text("It")], stop_reason="max_tokens"), (budget,)),
        ("that is empty", Answer(content=[], stop_reason="end_turn"), (budget,)),
        ("that is a refusal", Answer(content=[Text("No.")], stop_reason="refusal"), (fallback, budget)),
        ("that calls a tool", Answer(content=[ToolUse("Bash")], stop_reason="tool_use"), ("--max-turns", budget)),
    ]
    problems = []
    for name, answer, switches in endings:
        seen = await bench.ask(_PLAIN, answer)
        problems += _more_than_one(seen, f"an answer {name}", *switches)
        if len(seen.bodies) == 1 and seen.stop_reason != answer.stop_reason:
            problems.append(_Problem(f"an answer {name} does not come out with its `stop_reason`"))
    return problems


async def _check_failures(bench: _Bench) -> list[_Problem]:
    """See that a failure is one request, and is told as what it is."""
    from .testing import Answer, Failure, Text

    retries, betas = "CLAUDE_CODE_MAX_RETRIES", "CLAUDE_CODE_DISABLE_EXPERIMENTAL_BETAS"
    fallback, cut = "CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK", Answer(content=[Text("It is")], cut_after=0)
    failures: list[tuple[str, Reply, int | None, tuple[str, ...]]] = [
        ("the status 529", Failure(529), 529, (retries,)),
        ("the status 400", Failure(400), 400, (betas, retries)),
        ("a stream cut off", cut, None, (fallback, retries)),
    ]
    problems = []
    for name, reply, status, switches in failures:
        seen = await bench.ask(_PLAIN, reply)
        problems += _more_than_one(seen, name, *switches)
        if len(seen.bodies) == 1 and seen.failure is None:
            problems.append(_Problem(f"{name} is taken for an answer"))
        elif len(seen.bodies) == 1 and seen.failure is not None and seen.failure.status != status:
            problems.append(_Problem(f"{name} is told as the status {seen.failure.status}"))
    return problems


async def _check_what_a_call_sets(bench: _Bench) -> list[_Problem]:
    """See that the model and the cache marks are those of the call, and not those of the one before."""
    marked = await bench.ask(model="haiku", cache_ttl="1h")
    problems = _differences(marked, is_marked=True)
    if '"1h"' not in json.dumps(marked.body.get("system")):
        problems.append(_Problem("it sets no cache marks where they are asked for", _CACHING))
    return [*problems, *_differences(await bench.ask())]


async def _check_nothing_else(bench: _Bench) -> list[_Problem]:
    """See that nothing was asked for besides the calls' own requests."""
    asked = sorted({f"{request.method} {request.path}" for request in bench.stand_in.other_requests})
    switches = ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",)
    return [_Problem(f"it makes requests of its own ({', '.join(asked)})", switches)] if asked else []


_CHECKS: Final = (
    _check_rich_body,
    _check_reset,
    _check_endings,
    _check_failures,
    _check_what_a_call_sets,
    _check_nothing_else,
)
_PROMPTING: Final = ("--system-prompt-snapshot", "`system_prompt` in `set_model`")
_CACHING: Final = ("DISABLE_PROMPT_CACHING", "CLAUDE_CODE_PROMPT_CACHE_TTL")


def _differences(seen: _Seen, *, is_marked: bool = False) -> list[_Problem]:
    """Compare the body with the one asked for; besides it there may be the CLI's identity, `metadata` and `stream`."""
    expected = {"tools": [], **seen.asked, "stream": True}  # the CLI spells "no tools" out
    keys = (seen.body.keys() | expected.keys()) - {"system", "metadata"}
    wrong = sorted(key for key in keys if seen.body.get(key, _ABSENT) != expected.get(key, _ABSENT))
    problems = _more_than_one(seen, "an answer")
    if "model" in wrong:
        text = f"it asks the model {seen.body.get('model')!r} instead of {expected['model']!r}"
        problems.append(_Problem(text, ("`model` in `apply_flag_settings`",)))
    not_as_asked = [key for key in wrong if key in seen.asked and key != "model"]
    if not_as_asked:
        text = f"the {', '.join(f'`{key}`' for key in not_as_asked)} on the wire are not those asked for"
        attachments = ("CLAUDE_CODE_DISABLE_ATTACHMENTS",) if not_as_asked == ["messages"] else ()
        problems.append(_Problem(text, ("CLAUDE_CODE_EXTRA_BODY", *attachments)))
    for key in wrong:
        if key not in seen.asked:
            problems.append(_Problem(f"it sends `{key}` that nobody asked for", _IN_BODY.get(key, ())))
    return [*problems, *_system_differences(seen, is_marked=is_marked)]


def _system_differences(seen: _Seen, *, is_marked: bool) -> list[_Problem]:
    problems = []
    own, given = _system_blocks(seen.body)
    if seen.system and [block.get("text") for block in given] != [seen.system]:
        problems.append(
            _Problem(
                "the system prompt does not arrive as written",
                _PROMPTING,
            )
        )
    if not seen.system and given:
        problems.append(
            _Problem(
                "it sends a system prompt where none was given",
                _PROMPTING,
            )
        )
    if len(own) != 2 or any("\n" in block.get("text", "") for block in own):
        problems.append(_Problem("its own system blocks are not two lines that say what it is"))
    if not is_marked and "cache_control" in json.dumps(seen.body):
        problems.append(_Problem("it sets cache marks that nobody asked for", _CACHING))
    return problems


def _more_than_one(seen: _Seen, what: str, *switches: str) -> list[_Problem]:
    problems = []
    if len(seen.bodies) > 1:
        problems.append(_Problem(f"{what} is followed by another request", switches))
    if len(seen.requests) > len(seen.bodies):
        problems.append(_Problem("it asks the model for itself", ("CLAUDE_CODE_DISABLE_TERMINAL_TITLE",)))
    return problems


def _cli(settings: Settings) -> Path | None:
    return settings.cli_path or find_cli()


async def _ask_version(cli: Path | None) -> str:
    """Return what the CLI says of its version where no request has told it, or nothing."""
    if cli is None:
        return ""
    env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    try:
        with anyio.move_on_after(_VERSION_WITHIN_S):
            ran = await anyio.run_process([cli, "--version"], check=False, stderr=subprocess.DEVNULL, env=env)
            told = re.match(rb"\d[\w.\-]*", ran.stdout)
            return told.group().decode() if told else ""
    except OSError:
        pass
    return ""


def _fingerprint(settings: Settings) -> str:
    """Return what a good result holds for: this CLI, SDK and package, and the policies that are in force."""
    cli = _cli(settings)
    files = [*([cli.resolve()] if cli else []), Path(__file__), *_policy_files()]
    return " ".join([claude_agent_sdk.__version__, *(_stamp(file) for file in files)])


def _stamp(file: Path) -> str:
    try:
        return f"{file} {file.stat().st_size} {file.stat().st_mtime_ns}"
    except OSError:
        return f"{file} -"


def _policies() -> list[str]:
    """Say what this machine's managed settings do to variables that a worker needs.

    They go before the variables that a CLI is started with and those of `apply_flag_settings` (CLI 2.1.327).
    """
    own = ("CLAUDE_CODE_EXTRA_BODY", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY", "API_TIMEOUT_MS", *_CACHING)
    needed = {*Login(payer="gateway").environment(), *own}
    told = []
    for file in _policy_files():
        set_there = ", ".join(sorted(needed & _variables(file)))
        told.append(
            f"The policy in {file} sets {set_there}, which a worker needs for itself: have it taken out."
            if set_there
            else f"There is a policy in {file}, which may be why."
        )
    return told


def _variables(file: Path) -> set[str]:
    try:
        told = json.loads(file.read_text())
    except (OSError, ValueError):
        return set()
    env = told.get("env") if isinstance(told, dict) else None
    return set(env) if isinstance(env, dict) else set()


def _policy_files() -> list[Path]:
    """List the managed settings of this machine, where the CLI 2.1.327 looks for them."""
    folder = Path("/Library/Application Support/ClaudeCode" if sys.platform == "darwin" else "/etc/claude-code")
    files = [folder / "managed-settings.json", *sorted((folder / "managed-settings.d").glob("*.json"))]
    return [file for file in files if file.is_file()]
