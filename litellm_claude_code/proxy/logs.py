"""A log that cannot tell what was asked or answered, and with which key.

litellm logs exceptions and requests that failed with their texts, which may quote a prompt; so does a traceback. Here
a record of another package is cut down to where it comes from and the kind of exception: enough to search its source.
"""

from __future__ import annotations

import logging
import sys
import warnings
from typing import Final

OURS: Final = "litellm_claude_code"


class Reticent(logging.Formatter):
    """Formats our own records in full, and of others nothing that a request could have written."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        when = self.formatTime(record, "%Y-%m-%d %H:%M:%S")
        if record.name.split(".")[0] == OURS:
            return f"{when} {record.getMessage()}"
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
        return f"{when} {record.levelname} {record.name} {record.filename}:{record.lineno} {kind}".rstrip()


def keep_quiet(*, level: int = logging.INFO) -> None:
    """Send every record of this Python process to stderr, formatted by `Reticent`, and Python's warnings nowhere."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Reticent())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for logger in logging.Logger.manager.loggerDict.values():
        if isinstance(logger, logging.Logger) and logger.handlers:
            logger.handlers, logger.propagate = [], True
    logging.getLogger(OURS).setLevel(level)
    warnings.simplefilter("ignore")  # pydantic's quote values
