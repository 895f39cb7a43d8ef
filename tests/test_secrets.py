"""Keys, prompts, tools and images are in no argument list, log, exception, warning, `repr` or file of a failed call."""

import asyncio
import base64
import contextlib
import gc
import logging
import os
import signal
import threading
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import litellm
import openai
import psutil
import pytest

import litellm_claude_code
from litellm_claude_code.testing import Answer, Failure, RawBody, Reply, StandIn, Text, answer

from .support.home import HOME
from .support.limits import limited
from .support.processes import claude_processes
from .support.waiting import wait_until

MARK = "wryneck"
KEY, TOKEN = f"sk-ant-api03-{MARK}-key", f"sk-ant-oat01-{MARK}-token"
PIXELS = base64.b64encode(f"\x89PNG {MARK}-image".encode()).decode()
TRACES = (MARK, PIXELS[:16], PIXELS[-16:])
REQUEST: dict[str, Any] = {
    "model": "claude_code/sonnet",
    "messages": [
        {"role": "system", "content": f"{MARK}-system"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": f"{MARK}-prompt"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXELS}"}},
            ],
        },
    ],
    "tools": [
        {"type": "function", "function": {"name": f"{MARK}-tool", "description": f"{MARK}-what", "parameters": {}}}
    ],
    "max_retries": 0,
    "timeout": 60,
}
ANSWER = f"{MARK}-answer, that goes on"

API: dict[str, Reply] = {
    **{str(status): Failure(status) for status in (400, 401, 402, 403, 404, 413, 429, 500, 503, 529)},
    "too long": Failure(400, message="prompt is too long: 210000 tokens > 200000 maximum"),
    "a page of a proxy's": RawBody(502, b"<html>Bad gateway</html>"),
    "a stream cut": answer(ANSWER, cut_after=4, chunk_chars=5),
    "a stream that fails": answer(ANSWER, error_after=(4, Failure(529)), chunk_chars=5),
    "silence": answer(ANSWER, hang_after=3, chunk_chars=5),
    "a limit": limited(1),
}
SLOWS = ("429", "529", "a stream that fails", "a limit")
"""After these, later calls wait or are refused."""


def with_message(content: Any, role: str = "user") -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content}]}


def tool(**function: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": function}]}


BAD: dict[str, dict[str, Any]] = {
    "an unknown role": with_message(f"{MARK}-prompt", role="robot"),
    "a surrogate": with_message(f"{MARK}-prompt \ud800"),
    "a part that is none": with_message([f"{MARK}-prompt"]),
    "a broken image": with_message([{"type": "image_url", "image_url": {"url": f"data:image/png;base64,@{MARK}"}}]),
    "an image's path": with_message([{"type": "image_url", "image_url": {"url": f"/nonexistent/{MARK}"}}]),
    "a broken tool call": {
        "messages": [
            {"role": "user", "content": "Hello"},
            {
                "role": "assistant",
                "tool_calls": [
                    {"id": "1", "type": "function", "function": {"name": "x", "arguments": f'{{"{MARK}": '}}
                ],
            },
            {"role": "tool", "tool_call_id": "1", "content": f"{MARK}-result"},
        ]
    },
    "parameters that are no schema": tool(name="x", parameters={"type": f"{MARK}-type"}),
    "a tool without a name": tool(description=f"{MARK}-what"),
    "a schema that is none": {
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": f"{MARK}-type"}}}
    },
    "a header": {"extra_headers": {"x-secret": f"{MARK}-header"}},
    "what is not JSON": {"extra_body": {"x": f"{MARK}-body".encode()}},
    "a rounded integer": {"extra_body": {"x": [f"{MARK}-body", 2**60]}},
    "a fenced key": {"extra_body": {"system": f"{MARK}-system"}},
}


class Ears:
    """What the process says where others can read it."""

    def __init__(self, log: pytest.LogCaptureFixture) -> None:
        self._log = log
        self.said: list[str] = []

    def hear(self, error: BaseException) -> None:
        self.said += ["".join(traceback.format_exception(error)), repr(error)]
        inner: BaseException | None = error
        while inner is not None:
            self.said += [repr(inner), str(inner), repr(vars(inner)), repr(inner.args)]
            inner = inner.__cause__ or inner.__context__ or getattr(inner, "original_exception", None)

    def look_around(self) -> None:
        """Take in what can be seen at this moment: argument lists, objects and files."""
        for process in psutil.process_iter(["cmdline"]):
            self.said.append(" ".join(process.info["cmdline"] or []))
        gc.unfreeze()  # what was made on import, too (conftest.py)
        things = gc.get_objects()
        gc.freeze()
        ours = {kind for kind in set(map(type, things)) if is_ours(kind)}
        self.said += [repr(thing) for thing in things if type(thing) in ours]
        for file in HOME.rglob("*"):
            with contextlib.suppress(OSError):
                self.said += [str(file), *([file.read_text(errors="replace")] if file.is_file() else [])]
        self.said += [repr(litellm_claude_code.stats()), repr(litellm_claude_code.rate_limit_status())]
        self.said += [f"{record.name} {record.getMessage()} {record.exc_text}" for record in self._log.records]

    def assert_nothing_was_said(self) -> None:
        for text in self.said:
            for trace in TRACES:
                where = text.find(trace)
                assert where < 0, text[max(0, where - 300) : where + 100]


def is_ours(kind: type) -> bool:
    module = kind.__module__ if isinstance(kind.__module__, str) else ""
    return module.startswith("litellm_claude_code.") and not module.startswith("litellm_claude_code.testing")


@pytest.fixture
def ears(
    stand_in: StandIn, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any
) -> Iterator[Ears]:
    litellm_claude_code.close()
    (HOME / "tmp").mkdir(exist_ok=True)
    monkeypatch.setenv("TMPDIR", str(HOME / "tmp"))
    monkeypatch.setenv("CLAUDE_CODE_OAUTH_TOKEN", TOKEN)
    monkeypatch.setattr(stand_in, "_api_key", None)
    caplog.set_level(logging.DEBUG)
    for name in ("LiteLLM", "LiteLLM Router"):  # at DEBUG, litellm prints what is sent: that is its own business
        caplog.set_level(logging.INFO, logger=name)
    ears = Ears(caplog)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        yield ears
        litellm_claude_code.close()
        gc.collect()
        ears.look_around()
        ears.said += [str(warning.message) for warning in warned]
    ears.assert_nothing_was_said()


def fails(ears: Ears, stand_in: StandIn, **more: Any) -> Exception:
    request = {**REQUEST, "api_base": stand_in.base_url, "api_key": KEY, **more}
    try:
        response = litellm.completion(**request)
        if request.get("stream"):
            list(response)
    except openai.OpenAIError as error:
        ears.hear(error)
        return error
    raise AssertionError("it did not fail")


def is_answered(stand_in: StandIn) -> bool:
    with contextlib.suppress(litellm.RateLimitError):
        return bool(litellm.completion(**REQUEST, api_base=stand_in.base_url, api_key=KEY))
    return False


def test_when_the_api_fails(ears: Ears, stand_in: StandIn) -> None:
    for name, reply in API.items():
        for stream in (False, True):
            stand_in.script(reply, *([reply] if name == "404" else []))
            fails(ears, stand_in, stream=stream, **({"timeout": 1} if name == "silence" else {}))
            stand_in.reset()
            if name in SLOWS:
                stand_in.script("Well.")  # so that the next does not wait for an overloaded service to recover
                wait_until(lambda: is_answered(stand_in))  # a limit lasts a second
    ears.look_around()


def test_when_the_input_is_bad(ears: Ears, stand_in: StandIn) -> None:
    for more in BAD.values():
        fails(ears, stand_in, **more)
    fails(ears, stand_in, stream=True, n=2)
    assert stand_in.requests == []


def test_when_the_login_is_dead_or_may_not_be_sent(
    ears: Ears, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails(ears, stand_in, api_key=None)
    monkeypatch.setenv("LITELLM_CLAUDE_CODE_SEND_LOGIN_TO", stand_in.base_url)
    stand_in.script(Failure(401), Failure(401))
    fails(ears, stand_in, api_key=None)
    identity = litellm_claude_code.whoami(api_base=stand_in.base_url)
    assert identity["source"] == "CLAUDE_CODE_OAUTH_TOKEN"
    ears.said.append(repr(identity))


def test_when_the_process_is_killed_or_the_caller_leaves(ears: Ears, stand_in: StandIn) -> None:
    stand_in.respond = lambda request: Answer(content=[Text(ANSWER)], hang_after=3)

    def kill_when_asked(count: int) -> None:
        stand_in.wait_for(count, timeout_s=60)
        ears.look_around()
        for pid in claude_processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    for count, stream in ((1, False), (2, True)):
        killer = threading.Thread(target=kill_when_asked, args=(count,))
        killer.start()
        fails(ears, stand_in, stream=stream)
        killer.join()

    async def leave() -> None:
        request = {**REQUEST, "api_base": stand_in.base_url, "api_key": KEY}
        asking = asyncio.ensure_future(litellm.acompletion(**request))
        await asyncio.to_thread(stand_in.wait_for, 3, 60)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError) as raised:
            await asking
        ears.hear(raised.value)

    asyncio.run(leave())


@pytest.mark.parametrize(
    ("script", "checks"),
    [
        ("exit 1", False),
        ("env >&2; exit 1", False),
        ("echo $ANTHROPIC_API_KEY >&2; exit 1", False),
        ("echo '{'", False),
        ("exec sleep 60", False),
        ("exit 1", True),
    ],
)
def test_when_the_cli_does_not_work(
    ears: Ears, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, checks: bool
) -> None:
    cli = tmp_path / "claude"
    cli.write_text(f"#!/bin/sh\n{script}\n")
    cli.chmod(0o700)
    monkeypatch.setenv("LITELLM_CLAUDE_CODE_CLI_PATH", str(cli))
    monkeypatch.setenv("LITELLM_CLAUDE_CODE_SELF_CHECK", str(checks))
    monkeypatch.setenv("LITELLM_CLAUDE_CODE_BOOT_TIMEOUT_S", "2")
    for stream in (False, True):
        fails(ears, stand_in, stream=stream)
