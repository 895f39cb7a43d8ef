"""Bodies that arrive slowly, or not at all: they take no place, and keep nobody else out."""

import asyncio
import json
from typing import Any

import pytest

from litellm_claude_code.proxy.bodies import Bodies, ClientLeft
from litellm_claude_code.proxy.gate import Gate, GateLimits
from litellm_claude_code.proxy.refused import Refused

KEY = "sk-0123456789abcdef"
BODY = json.dumps({"model": "sonnet", "messages": [{"role": "user", "content": "Hello"}]}).encode()


class Client:
    """One connection, as the server shows it to the gate: pieces of a body arrive when they are sent."""

    def __init__(self, gate: Gate | None = None) -> None:
        self._gate = gate
        self._pieces: asyncio.Queue[Any] = asyncio.Queue()
        self.told: list[Any] = []

    def send(self, piece: bytes, *, is_last: bool = False) -> None:
        self._pieces.put_nowait({"type": "http.request", "body": piece, "more_body": not is_last})

    def leave(self) -> None:
        self._pieces.put_nowait({"type": "http.disconnect"})

    async def receive(self) -> Any:
        return await self._pieces.get()

    async def hear(self, message: Any) -> None:
        self.told.append(message)

    async def be_served(self) -> int | None:
        assert self._gate is not None
        scope = {
            "type": "http", "method": "POST", "path": "/v1/chat/completions", "raw_path": b"/v1/chat/completions",
            "query_string": b"", "headers": [(b"x-api-key", KEY.encode())],
        }  # fmt: skip
        await self._gate(scope, self.receive, self.hear)
        return self.told[0]["status"] if self.told else None


async def answer(_scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


def make_gate(**limits: Any) -> Gate:
    limits = {"max_requests": 1, "max_body_bytes": 2**20, **limits}
    return Gate(answer, key=KEY, inner_key="inner", limits=GateLimits(**limits), check=lambda _body: None)


async def begin(reading: Any) -> "asyncio.Task[Any]":
    task: asyncio.Task[Any] = asyncio.ensure_future(reading)
    for _ in range(5):
        await asyncio.sleep(0)
    return task


async def test_clients_with_half_a_body_do_not_count_as_requests_in_progress() -> None:
    gate = make_gate()
    slow = [Client(gate) for _ in range(20)]
    waiting = []
    for client in slow:
        client.send(BODY[:10])
        waiting.append(await begin(client.be_served()))
    quick = Client(gate)
    quick.send(BODY, is_last=True)
    assert await quick.be_served() == 200
    for client, task in zip(slow, waiting, strict=True):
        client.send(BODY[10:], is_last=True)
        assert await task == 200


async def test_a_body_has_a_deadline() -> None:
    gate = make_gate(body_timeout_s=0.05)
    client = Client(gate)
    client.send(BODY[:10])
    assert await client.be_served() == 408
    assert b"within 0.05 s" in client.told[1]["body"]
    assert (b"connection", b"close") in client.told[0]["headers"]


async def test_a_client_that_leaves_with_half_a_body_gets_no_reply() -> None:
    client = Client(make_gate())
    client.send(BODY[:10])
    client.leave()
    assert await client.be_served() is None


async def test_the_client_that_is_silent_longest_makes_room_for_others() -> None:
    bodies = Bodies(max_bytes=2**20, within_s=600, memory_bytes=2**20)
    slow = [Client() for _ in range(3)]
    reading = []
    for client in slow:
        client.send(b"x" * 300_000)
        reading.append(await begin(bodies.read(client.receive, [])))
    slow[0].send(b"x")
    await begin(asyncio.sleep(0))
    quick = Client()
    for _ in range(4):
        quick.send(b"y" * 100_000)
    quick.send(b"y", is_last=True)
    assert len(await bodies.read(quick.receive, [])) == 400_001
    with pytest.raises(Refused, match="too slowly") as refused:
        await reading[1]
    assert refused.value.status == 408
    for number in (0, 2):
        slow[number].send(b"", is_last=True)
        assert len(await reading[number]) >= 300_000


async def test_a_declared_size_reserves_no_memory_and_a_false_one_has_no_effect() -> None:
    bodies = Bodies(max_bytes=1000, within_s=600)
    for declared in (b"1001", b"-1", b"9" * 5000, b"x", b""):
        with pytest.raises(Refused, match="larger"):
            await bodies.read(Client().receive, [(b"content-length", b"1"), (b"content-length", declared)])
    client = Client()
    client.send(b"x" * 1001, is_last=True)
    with pytest.raises(Refused, match="larger"):
        await bodies.read(client.receive, [(b"content-length", b"1")])
    client.leave()
    with pytest.raises(ClientLeft):
        await bodies.read(client.receive, [])
