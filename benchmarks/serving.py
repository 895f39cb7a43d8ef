"""The start, memory and overhead per request of `litellm-claude-code serve`: `python benchmarks/serving.py`.

README.md in this folder says how to read the output.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import surroundings
from measuring import THREADS, Batch, Goal, Part, Row, interleave, rows_table, run, table, warmed_up
from surroundings import Address

_STARTS: Final = 3
_PAUSE_S: Final = 0.05
_COUNTED_PER_ROUND: Final = 4
_CALLS_AT_ONCE: Final = 160
_KEY: Final = "sk-of-the-benchmark-0123456789"


@dataclass(kw_only=True)
class Server:
    """A running server, and how long its start took."""

    url: str
    process: psutil.Process
    started_in_s: float

    @property
    def pss_mb(self) -> float:
        """Its proportional set size. Its Claude Code processes are not included."""
        return float(getattr(self.process.memory_full_info(), "pss", math.nan)) / 1e6

    @property
    def cpu_s(self) -> float:
        times = self.process.cpu_times()
        return times.user + times.system


@contextmanager
def serve(address: Address) -> Iterator[Server]:
    """Start `litellm-claude-code serve` with its generated configuration, until it answers."""
    command = [sys.executable, "-m", "litellm_claude_code_cli", "serve", "--port", "0"]
    log = Path(tempfile.mkdtemp()) / "log.txt"
    env = {
        **os.environ,
        "ANTHROPIC_BASE_URL": address.base_url,
        "ANTHROPIC_AUTH_TOKEN": address.api_key,
        "LITELLM_MASTER_KEY": _KEY,
        "PYTHONUNBUFFERED": "1",
    }
    with log.open("wb") as out:
        began = time.perf_counter()
        process = psutil.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=env)
        try:
            while "models: " not in (said := log.read_text()):
                if process.poll() is not None:
                    raise RuntimeError(f"the server ended:\n{said[-2000:]}")
                time.sleep(0.02)
            started_in_s = time.perf_counter() - began
            url = next(word for word in said.split() if word.startswith("http://"))
            yield Server(url=url, process=process, started_in_s=started_in_s)
        finally:
            process.terminate()
            try:
                process.wait(60)
            except psutil.TimeoutExpired:
                process.kill()


class OpenAIClient:
    """OpenAI's client as a contender."""

    def __init__(self, server: Server) -> None:
        import openai

        self._client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=_KEY, max_retries=0)

    def call(self, user: str) -> str:
        import contenders

        asked: Any = contenders.Question(user=user).messages()
        response = self._client.chat.completions.create(
            model="sonnet", messages=asked, max_tokens=contenders.MAX_TOKENS
        )
        return str(response.choices[0].message.content)

    def settle(self) -> None:
        pass

    def close(self) -> None:
        self._client.close()


def measure_starts(address: Address) -> Part:
    """Start the server a few times, and weigh it a second later."""
    seconds, pss_mb = [], []
    for _ in range(_STARTS):
        with serve(address) as server:
            time.sleep(1.0)  # for the work in the background after the first answer
            seconds.append(server.started_in_s)
            pss_mb.append(server.pss_mb)
    median_s, mb = f"{statistics.median(seconds):.1f}", f"{statistics.median(pss_mb):.0f}"
    head = ("from the command to the first answer", "starts", "median s", "max s", "PSS MB")
    line = ("litellm-claude-code serve", str(_STARTS), median_s, f"{max(seconds):.1f}", mb)
    return Part(lines=[table(head, [line])], goals=[], data={"seconds": seconds, "pss_mb": pss_mb})


def measure_requests(address: Address, calls: int) -> Part:
    """Make calls through one server and in this process, one at a time and from many threads."""
    import contenders  # here, within the scratch home: litellm and the SDK read the environment on import

    with serve(address) as server:
        here, client = contenders.claude_code(address), OpenAIClient(server)
        each = _COUNTED_PER_ROUND + 1
        rows = [
            Row(name="claude_code/, in-process", contender=here, calls_per_round=each, pause_s=_PAUSE_S),
            Row(name="openai client → serve", contender=client, calls_per_round=each, pause_s=_PAUSE_S),
        ]
        batches = [Batch(name=name, ask=ask, calls=_CALLS_AT_ONCE)
                   for name, ask in (("in-process", here.call), ("openai client → serve", client.call))]  # fmt: skip
        try:
            warmed_up(rows, rest_s=_PAUSE_S)
            interleave(rows, rounds=math.ceil(calls / _COUNTED_PER_ROUND), rest_s=_PAUSE_S)
            for batch in batches:
                batch.warm_up()
                cpu_s = server.cpu_s
                batch.play()
            server_ms = 1000 * (server.cpu_s - cpu_s) / _CALLS_AT_ONCE
            numbers = {
                **{f"{batch.name}, calls/s": batch.per_s for batch in batches},
                "the server's own CPU, ms a request": server_ms,
                "the server's memory after all requests, MB PSS": server.pss_mb,
            }
        finally:
            client.close()
            here.close()
    on_top_ms = rows[1].median_ms - rows[0].median_ms
    return Part(
        lines=[
            rows_table("50 ms between calls", rows),
            "",
            table((f"{THREADS} threads, answers at once", ""), [(name, f"{n:.1f}") for name, n in numbers.items()]),
        ],
        goals=[
            Goal(name="a request through the proxy, on top of in-process", value=on_top_ms, unit=" ms", limits=(25,))
        ],
        data={"rows": {row.name: row.data() for row in rows}, "numbers": numbers},
    )


def _parts(options: argparse.Namespace) -> Iterator[tuple[str, Part]]:
    with surroundings.stand_in() as address:
        yield "starts", measure_starts(address)
        yield "requests", measure_requests(address, options.calls)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Start, memory and overhead of `litellm-claude-code serve`.")
    parser.add_argument("--calls", type=int, default=60, metavar="N", help="timed calls a row")
    run(parser, _parts)
