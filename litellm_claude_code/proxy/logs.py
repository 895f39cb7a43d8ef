"""Logging without prompts, answers or keys.

litellm logs exceptions and failed requests with their texts, which may quote a prompt; so may a traceback. Therefore
log records of other packages are reduced to their source location and the exception type: enough to find the code.
"""

from __future__ import annotations

import logging
import sys
import warnings
from typing import Final

OURS: Final = "litellm_claude_code"


class Reticent(logging.Formatter):
    """Formats this package's records in full, and those of other packages without text that could be from a request."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        when = self.formatTime(record, "%Y-%m-%d %H:%M:%S")
        if record.name.split(".")[0] == OURS:
            return f"{when} {record.getMessage()}"
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
        return f"{when} {record.levelname} {record.name} {record.filename}:{record.lineno} {kind}".rstrip()


def keep_quiet(*, level: int = logging.INFO) -> None:
    """Send all log records of this Python process to stderr, formatted by `Reticent`, and ignore Python's warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Reticent())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for logger in logging.Logger.manager.loggerDict.values():
        if isinstance(logger, logging.Logger) and logger.handlers:
            logger.handlers, logger.propagate = [], True
    logging.getLogger(OURS).setLevel(level)
    warnings.simplefilter("ignore")  # pydantic's warnings quote values
