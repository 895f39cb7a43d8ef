"""api.anthropic.com on the loopback interface: an HTTPS proxy that answers in its place, with a stand-in behind it."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import trustme

from litellm_claude_code.testing import StandIn

HOST = "api.anthropic.com"
ACCOUNT = {
    "accountUuid": "1",
    "emailAddress": "ada@example.org",
    "organizationUuid": "2",
    "organizationName": "Ada Ltd",
}


def log_in(config: Path, token: str) -> Path:
    """Write the files that `/login` writes to Claude Code's configuration folder; return the one with the token."""
    file = config / ".credentials.json"
    login = {"accessToken": token, "refreshToken": "sk-ant-ort01-MARKED", "expiresAt": 4_102_444_800_000}
    plan = {"subscriptionType": "max", "rateLimitTier": "default_claude_max_20x"}
    file.write_text(json.dumps({"claudeAiOauth": {**login, "scopes": ["user:inference", "user:profile"], **plan}}))
    (config / ".claude.json").write_text(json.dumps({"oauthAccount": ACCOUNT}))
    return file


class AnthropicHost:
    """The host that a program reaches if HTTPS_PROXY is `proxy` and NODE_EXTRA_CA_CERTS is `certificate`.

    The stand-in answers `POST /v1/messages`. The answer to `GET /api/oauth/usage` is `usage`, to all else a 404.
    `asked` lists the method and path of every request but those for messages.
    """

    hosts: tuple[str, ...] = (HOST,)

    def __init__(self, stand_in: StandIn, folder: Path) -> None:
        self.config = folder / "claude"
        """A Claude Code configuration folder with a subscription login."""
        self.config.mkdir()
        log_in(self.config, str(stand_in.api_key))
        self.usage: dict[str, Any] = {}
        self.asked: list[str] = []
        self.certificate = folder / "ca.pem"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.certificate)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*self.hosts).configure_cert(self._tls)
        self._behind = ("127.0.0.1", int(stand_in.base_url.rsplit(":", 1)[1]))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.proxy = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listening.accept()[0]
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError, ssl.SSLError), client:
            head, _ = _read_head(client)
            if head.split()[1].removesuffix(":443") not in self.hosts:
                return
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            with self._tls.wrap_socket(client, server_side=True) as tls:
                while True:
                    head, rest = _read_head(tls)
                    method, path, _ = head.split("\r\n")[0].split()
                    if method == "POST" and path.startswith("/v1/messages"):
                        self._relay(tls, head, rest)
                        return
                    self.asked.append(f"{method} {path}")
                    length = _length(head)
                    while len(rest) < length:
                        rest += tls.recv(65536)
                    found = self.answer(method, path, rest)
                    content = json.dumps(found or {}).encode()
                    status = "404 Not Found" if found is None else "200 OK"
                    kind = "content-type: application/json"
                    tls.sendall(f"HTTP/1.1 {status}\r\n{kind}\r\ncontent-length: {len(content)}\r\n\r\n".encode())
                    tls.sendall(content)

    def answer(self, method: str, path: str, body: bytes) -> dict[str, Any] | None:
        """Return the answer to a request that is not for messages, or None for a 404."""
        return self.usage if path.startswith("/api/oauth/usage") else None

    def _relay(self, client: ssl.SSLSocket, head: str, body: bytes) -> None:
        lines = head.split("\r\n")
        length = _length(head)
        kept = [line for line in lines if not line.lower().startswith("connection:")]
        while len(body) < length:
            body += client.recv(65536)
        with socket.create_connection(self._behind) as behind:
            behind.sendall("\r\n".join([*kept, "connection: close", "", ""]).encode() + body)
            while data := behind.recv(65536):
                client.sendall(data)


def _length(head: str) -> int:
    lines = head.lower().split("\r\n")
    return next((int(line.split(":")[1]) for line in lines if line.startswith("content-length:")), 0)


def _read_head(connection: socket.socket) -> tuple[str, bytes]:
    """Return the head of an HTTP request, and the part of its body that was read with it."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := connection.recv(65536)):
            raise ConnectionError
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    return head.decode(), rest
