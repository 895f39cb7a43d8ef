"""The start, memory and overhead per request of `litellm-claude-code serve`: `python benchmarks/serving.py`.

README.md in this folder says how to read the output.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import psutil
import surroundings
from measuring import Goal, Row, at_once, begins_echo, interleave, table
from surroundings import Address

_STARTS: Final = 3
_PAUSE_S: Final = 0.05
_COUNTED_PER_ROUND: Final = 4
_WARM_UP_ROUNDS: Final = 3
_THREADS: Final = 8
_CALLS_AT_ONCE: Final = 160
_WITHIN_S: Final = 120.0
_KEY: Final = "sk-of-the-benchmark-0123456789"

SERVE: Final = "litellm-claude-code serve"
LITELLM: Final = "litellm --config, the same models"
IN_PROCESS: Final = "claude_code/, in-process"
THROUGH_LITELLM: Final = "litellm_proxy/ → serve"
THROUGH_OPENAI: Final = "openai client → serve"
FIRST_HERE: Final = "first text, in-process"
FIRST_THERE: Final = "first text, litellm_proxy/ → serve"


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
    """Start `litellm-claude-code serve` with its generated configuration."""
    command = [sys.executable, "-m", "litellm_claude_code_cli", "serve", "--port", "0"]
    with _running(command, address) as (process, began, log):
        while "models: " not in (said := log.read_text()):
            _await(process, log)
        url = next(word for word in said.split() if word.startswith("http://"))
        yield Server(url=url, process=psutil.Process(process.pid), started_in_s=time.perf_counter() - began)


@contextmanager
def litellm_alone(address: Address) -> Iterator[Server]:
    """Start litellm's own command with the same models and this provider."""
    from litellm_claude_code import models
    from litellm_claude_code.proxy.config import generate

    config = generate(models.names())
    config["litellm_settings"] |= {
        "custom_provider_map": [{"provider": "claude_code", "custom_handler": "litellm_claude_code.provider"}]
    }
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    path = Path(tempfile.mkdtemp()) / "config.yaml"
    path.write_text(json.dumps(config))
    command = [str(Path(sys.executable).with_name("litellm")), "--config", str(path), "--host", "127.0.0.1"]
    with _running([*command, "--port", str(port)], address) as (process, began, log):
        while not _answers(f"http://127.0.0.1:{port}/health/liveliness"):
            _await(process, log)
        started_in_s = time.perf_counter() - began
        yield Server(url=f"http://127.0.0.1:{port}", process=psutil.Process(process.pid), started_in_s=started_in_s)


@contextmanager
def _running(command: list[str], address: Address) -> Iterator[tuple[subprocess.Popen[bytes], float, Path]]:
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
        process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=env)
        try:
            yield process, began, log
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def _await(process: subprocess.Popen[bytes], log: Path) -> None:
    if process.poll() is not None:
        raise RuntimeError(f"the server ended:\n{log.read_text()[-2000:]}")
    time.sleep(0.02)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as response:
            return bool(response.status == 200)
    except OSError:
        return False


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


@dataclass(kw_only=True)
class Start:
    """The measurements of repeated starts of one kind of server."""

    name: str
    begin: Callable[[], Any]
    seconds: list[float] = field(default_factory=list)
    pss_mb: list[float] = field(default_factory=list)

    def play(self) -> None:
        with self.begin() as server:
            time.sleep(1.0)  # for the work in the background after the first answer
            self.seconds.append(server.started_in_s)
            self.pss_mb.append(server.pss_mb)


def measure(calls: int) -> tuple[dict[str, str], list[Start], dict[str, Row], dict[str, float]]:
    """Return the machine, the starts, the rows by name, and the other numbers by name."""
    with ExitStack() as stack:
        stack.enter_context(surroundings.scratch_home())
        address = stack.enter_context(surroundings.stand_in())
        machine = surroundings.machine()
        print("\n".join(f"{name + ':':<18} {value}" for name, value in machine.items()), flush=True)
        starts = [
            Start(name=SERVE, begin=partial(serve, address)),
            Start(name=LITELLM, begin=partial(litellm_alone, address)),
        ]
        for _ in range(_STARTS):
            for start in starts:
                start.play()
        server = stack.enter_context(serve(address))
        rows, numbers = _requests(address, server, calls)
    return machine, starts, {row.name: row for row in rows}, numbers


def _requests(address: Address, server: Server, calls: int) -> tuple[list[Row], dict[str, float]]:
    import contenders  # here, within the scratch home: litellm and the SDK read the environment on import

    here = contenders.claude_code(address)
    there = contenders.Litellm(
        lambda alias: f"litellm_proxy/claude_code/{alias}", Address(base_url=server.url, api_key=_KEY)
    )
    client = OpenAIClient(server)
    each = {"calls_per_round": _COUNTED_PER_ROUND + 1, "pause_s": _PAUSE_S}
    rows = [
        Row(name=IN_PROCESS, contender=here, **each),
        Row(name=THROUGH_LITELLM, contender=there, **each),
        Row(name=THROUGH_OPENAI, contender=client, **each),
        Row(name=FIRST_HERE, contender=contenders.FirstChunk(here), is_answer=begins_echo, **each),
        Row(name=FIRST_THERE, contender=contenders.FirstChunk(there), is_answer=begins_echo, **each),
    ]
    try:
        interleave(rows, rounds=_WARM_UP_ROUNDS, rest_s=_PAUSE_S)
        for row in rows:
            row.forget()
        interleave(rows, rounds=math.ceil(calls / _COUNTED_PER_ROUND), rest_s=_PAUSE_S)
        numbers = {"in-process, calls/s": _per_s(here.call)}
        cpu_s = server.cpu_s
        numbers["openai client → serve, calls/s"] = _per_s(client.call)
        numbers["the server's own CPU, ms a request"] = 1000 * (server.cpu_s - cpu_s) / (_CALLS_AT_ONCE + _THREADS)
        numbers["the server's memory after all requests, MB PSS"] = server.pss_mb
    finally:
        client.close()
        here.close()
    return rows, numbers


def _per_s(call: Callable[[str], str]) -> float:
    """Return the calls per second of `_THREADS` threads, on warm processes."""
    at_once([partial(call, "Warm up.")] * _THREADS, threads=_THREADS, within_s=_WITHIN_S)
    began = time.perf_counter()
    at_once([partial(call, f"Say {n}.") for n in range(_CALLS_AT_ONCE)], threads=_THREADS, within_s=_WITHIN_S)
    return _CALLS_AT_ONCE / (time.perf_counter() - began)


def goals(starts: list[Start], rows: dict[str, Row]) -> list[Goal]:
    """Compare the medians with this project's goals."""
    ours, theirs = (statistics.median(start.seconds) for start in starts)
    overhead_ms = rows[THROUGH_OPENAI].median_ms - rows[IN_PROCESS].median_ms
    return [
        Goal(name="start, serve / litellm's own command", value=ours / theirs, unit="x", limits=(1.0,)),
        Goal(name="a request through the proxy, on top of in-process", value=overhead_ms, unit=" ms", limits=(25,)),
    ]


def report(starts: list[Start], rows: dict[str, Row], numbers: dict[str, float]) -> str:
    """Return the report: tables of what was measured, and whether the goals are met."""
    started = [
        (
            start.name,
            str(len(start.seconds)),
            f"{statistics.median(start.seconds):.1f}",
            f"{max(start.seconds):.1f}",
            f"{statistics.median(start.pss_mb):.0f}",
        )
        for start in starts
    ]
    asked = [
        (row.name, str(len(row.latencies_ms)), f"{row.median_ms:.1f}", f"{row.p90_ms:.1f}", f"{row.median_cpu_ms:.1f}")
        for row in rows.values()
    ]
    held = [(goal.name, f"{goal.value:.2f}{goal.unit}", "; ".join(goal.verdicts())) for goal in goals(starts, rows)]
    return "\n\n".join(
        [
            table(("from the command to the first answer", "starts", "median s", "max s", "PSS MB"), started),
            table(("50 ms between calls", "calls", "median ms", "p90 ms", "client's CPU ms"), asked),
            table((f"{_THREADS} threads, answers at once", ""), [(name, f"{n:.1f}") for name, n in numbers.items()]),
            table(("goal", "measured", "limit"), held),
        ]
    )


def main() -> None:
    """Measure and print the report."""
    parser = argparse.ArgumentParser(description="Start, memory and overhead of `litellm-claude-code serve`.")
    parser.add_argument("--calls", type=int, default=60, metavar="N", help="timed calls a row")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured to this file")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # so that everything is cleaned up
    began = time.monotonic()
    machine, starts, rows, numbers = measure(options.calls)
    print(f"\n{report(starts, rows, numbers)}\n\n{time.monotonic() - began:.0f} s")
    if options.json is not None:
        whole = {
            "machine": machine,
            "starts": {start.name: {"seconds": start.seconds, "pss_mb": start.pss_mb} for start in starts},
            "rows": {name: {"latencies_ms": row.latencies_ms, "cpu_ms": row.cpu_ms} for name, row in rows.items()},
            "numbers": numbers,
        }
        options.json.write_text(json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    main()
