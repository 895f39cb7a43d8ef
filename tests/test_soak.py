"""Calls of every kind, several in flight: no call sees another's content, no resource grows, nothing is left behind.

`make soak` makes two thousand calls, eight at a time; a normal test run makes fewer.
"""

import asyncio
import gc
import json
import os
import random
import re
from pathlib import Path
from typing import Any

import litellm
import psutil
import pytest

import litellm_claude_code

from .support.home import HOME
from .support.processes import claude_processes
from .support.requests import TOOLS
from .support.scripts import Forker
from .support.waiting import wait_until

pytestmark = pytest.mark.processes

IS_LONG = "SOAK_CALLS" in os.environ
CALLS, AT_ONCE = int(os.environ.get("SOAK_CALLS", "24")), 8 if IS_LONG else 3  # each at once costs processes
MARK = re.compile(r"mark-(\d+)-")


async def one(number: int, where: dict[str, Any], dice: random.Random) -> int:
    """Make one call of a random kind, and check that it gets its own answer.

    Return how many requests it certainly made: a cancelled call may have made none.
    """
    mark = f"mark-{number}-"
    messages = [{"role": "user", "content": f"{mark} {'word ' * dice.randrange(200)}"}]
    if dice.random() < 0.8:
        messages.insert(0, {"role": "system", "content": f"{mark} You are number {dice.randrange(6)}."})
    if dice.random() < 0.3:
        messages[-1:] = [
            {"role": "user", "content": f"{mark} first"},
            {"role": "assistant", "content": f"{mark} answered"},
            messages[-1],
        ]
    request: dict[str, Any] = {
        "model": f"claude_code/{dice.choice(['sonnet', 'haiku'])}",
        "messages": messages,
        **where,
    }
    kind = dice.choice(["plain", "plain", "stream", "tools", "two answers", "cancelled", "left"])
    if kind == "cancelled":
        asking = asyncio.create_task(litellm.acompletion(**request))
        await asyncio.sleep(dice.random() * 0.06)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        return 0
    if kind in ("stream", "left"):
        stream: Any = await litellm.acompletion(**request, stream=True)
        text = ""
        async for chunk in stream:
            text += chunk.choices[0].delta.content or ""
            if kind == "left" and text:
                return 1
        texts = [text]
    else:
        mores: dict[str, dict[str, Any]] = {"tools": {"tools": TOOLS}, "two answers": {"n": 2}}
        more = mores.get(kind, {})
        response: Any = await litellm.acompletion(**request, **more)
        texts = [choice.message.content for choice in response.choices]
    for text in texts:
        assert MARK.findall(text) == [str(number)]
    return len(texts)


def test_mixed_calls(forks: Forker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LITELLM_CLAUDE_CODE_SPARE_WORKERS")  # as users have it
    record = tmp_path / "bodies.jsonl"
    command = "import runpy; runpy.run_module('litellm_claude_code.testing', run_name='__main__', alter_sys=True)"
    served = forks.start(command, "--record", str(record), home=tmp_path)
    told = json.loads(wait_until((tmp_path / "out").read_text, (tmp_path / "errors").read_text))
    where = {"api_base": told["base_url"], "api_key": told["api_key"], "timeout": 120}
    own = psutil.Process()
    weights: list[float] = []
    before = cached_files()

    async def all_of_them() -> int:
        gate = asyncio.Semaphore(AT_ONCE)

        async def gated(number: int) -> int:
            async with gate:
                made = await one(number, where, random.Random(number))
                if number % (CALLS // 20) == 0:
                    gc.collect()
                    weights.append(own.memory_info().rss / 2**20)
            return made

        return sum(await asyncio.gather(*(gated(number) for number in range(CALLS))))

    try:
        litellm_claude_code.close()
        made = asyncio.run(all_of_them())
        stats = litellm_claude_code.stats()
    finally:
        litellm_claude_code.close()
        served.program.terminate()
        served.wait()

    bodies = [json.loads(line) for line in record.read_text().splitlines()]
    assert len(bodies) >= made > CALLS * 0.5
    for body in bodies:
        body = body.get("body", body)
        assert len(set(MARK.findall(json.dumps(body)))) == 1
    early, late = sum(weights[5:9]) / 4, sum(weights[-4:]) / 4  # the first ones fill caches
    assert late - early < 30, weights
    assert stats["boots"] < 36 + CALLS / 20, stats  # up to a pool of them, and few that are replaced
    assert claude_processes() == []
    # What is remembered of the CLI, and a lock.
    assert {path.name for path in cached_files() - before} <= {"cli.json", "starting"}


def cached_files() -> set[Path]:
    """Give the files in this package's cache folder. Scripts of other tests that were killed may have left locks."""
    return {path for path in (HOME / "cache" / "litellm_claude_code").rglob("*") if path.is_file()}
