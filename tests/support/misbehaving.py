"""Use a stand-in in every way that may leave a message or a resource behind."""

from __future__ import annotations

import socket

import httpx

from litellm_claude_code.testing import RawEvents, StandIn, answer

HEADERS = {"x-api-key": "stand-in-key", "anthropic-version": "2023-06-01"}
BODY = {"model": "claude-sonnet-5-5", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}], "stream": True}


def misbehave(stand_in: StandIn) -> None:
    """Have responses cut and hang, send no HTTP, and leave a connection open."""
    stand_in.script(answer("cut", cut_after=2), RawEvents(events=[], cut=True), answer("hung", hang_after=2))
    with httpx.Client(base_url=stand_in.base_url, headers=HEADERS, trust_env=False) as http:
        outcomes = [_outcome(http) for _ in range(4)]
    assert outcomes == [httpx.RemoteProtocolError, httpx.RemoteProtocolError, httpx.ReadTimeout, 200]
    with socket.create_connection(("127.0.0.1", int(stand_in.base_url.rpartition(":")[2]))) as connection:
        connection.sendall(b"this is not HTTP\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400")


def _outcome(http: httpx.Client) -> object:
    try:
        return http.post("/v1/messages", json=BODY, timeout=httpx.Timeout(60, read=0.5)).status_code
    except httpx.TransportError as error:
        return type(error)
