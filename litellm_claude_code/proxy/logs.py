"""Logging without prompts, answers or keys.

litellm logs exceptions and failed requests with their texts, which may quote a prompt; so may a traceback. Therefore
log records of other packages are reduced to their source location and the exception type: enough to find the code.
"""

from __future__ import annotations

import logging
import sys
import warnings
from datetime import datetime, timezone
from typing import Final, Literal

from .records import as_json

OURS: Final = "litellm_claude_code"
Form = Literal["text", "json"]


class RedactingFormatter(logging.Formatter):
    """Formats this package's records in full, and those of other packages without text that could be from a request."""

    def __init__(self, form: Form = "text") -> None:
        super().__init__()
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line: text in local time, or JSON in UTC."""
        if record.name.split(".")[0] == OURS:
            text = record.getMessage()
        else:
            kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
            text = f"{record.levelname} {record.name} {record.filename}:{record.lineno} {kind}".rstrip()
        if self._form == "json":
            when = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
            return as_json(record, when=when, text=text)
        return f"{self.formatTime(record, '%Y-%m-%d %H:%M:%S')} {text}"


def configure_logging(*, level: int = logging.INFO, form: Form = "text") -> None:
    """Send all log records of this Python process to stderr, without content, and ignore Python's warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter(form))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for logger in logging.Logger.manager.loggerDict.values():
        if isinstance(logger, logging.Logger) and logger.handlers:
            logger.handlers, logger.propagate = [], True
    logging.getLogger(OURS).setLevel(level)
    warnings.simplefilter("ignore")  # pydantic's warnings quote values
