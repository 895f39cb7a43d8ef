"""What is kept of a request when it has ended: for the log, the metrics and the usage of a user. No content."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import Final

_log: Final = logging.getLogger(__name__)
RECORD: Final = "request"
"""The attribute of a log record that has the `Record`."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One request to the gate, after its end."""

    id: str
    user: str | None
    """The name of the key's user. None for the master key, and without a key."""
    method: str
    path: str
    model: str | None
    """One of the server's model names. None if there is none, or another one."""
    status: int | None
    """None if the client left before the response began."""
    took_s: float
    queued_s: float
    """How much of it the request waited for a process."""
    tokens_in: int
    tokens_out: int
    cost_usd: float
    is_left: bool

    def log(self) -> None:
        """Write one line to the log, as text or as JSON (`logs.py`)."""
        left = ", client left" if self.is_left else ""
        text = f"{self.method} {self.path} {self.status or '-'} {self.took_s:.3f} s {self.id}{left}"
        _log.info("%s", text, extra={RECORD: self})

    def fields(self) -> dict[str, object]:
        """Return the fields of the line of JSON."""
        return {
            "id": self.id,
            "user": self.user,
            "method": self.method,
            "path": self.path,
            "model": self.model,
            "status": self.status,
            "ms": round(1000 * self.took_s, 1),
            "queue_ms": round(1000 * self.queued_s, 1),
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "cost_usd": round(self.cost_usd, 8),
            "client_left": self.is_left,
        }


def as_json(record: logging.LogRecord, *, when: str, text: str) -> str:
    """Return a log record as one line of JSON, with `text` as its message."""
    request = getattr(record, RECORD, None)
    fields = request.fields() if isinstance(request, Record) else {"level": record.levelname.lower(), "message": text}
    return json.dumps({"time": when, **fields}, ensure_ascii=False)
