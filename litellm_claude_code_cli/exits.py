"""How a subcommand ends: exit codes that a script can tell apart, and one line on stderr that says what happened."""

from __future__ import annotations

import contextlib
import enum
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from typing import NoReturn


class ExitCode(enum.IntEnum):
    """What a script learns. docs/command-line.md has the table for users."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    REFUSED = 3
    NOBODY_PAYS = 4
    LIMIT = 5
    TIMEOUT = 6
    UNAVAILABLE = 7
    INCOMPLETE = 8
    INTERRUPTED = 130
    NOBODY_READS = 141


def fail(code: ExitCode, sentence: str) -> NoReturn:
    """Say why on stderr, in one line, and exit."""
    line = "".join(character if character.isprintable() else " " for character in sentence)
    with contextlib.suppress(OSError):
        print(f"litellm-claude-code: {' '.join(line.split())}", file=sys.stderr)
    sys.exit(code)


@contextlib.contextmanager
def told_in_one_line() -> Iterator[None]:
    """Turn what goes wrong within into an exit code and a line on stderr; never a traceback."""
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what Python flushes at exit goes there
        sys.exit(ExitCode.NOBODY_READS)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # an impatient second one would be a traceback at exit
        sys.exit(ExitCode.INTERRUPTED)
    except Exception as error:
        fail(*describe(error))


def describe(error: Exception) -> tuple[ExitCode, str]:
    """Return the exit code for an exception, and what to say of it. One that is not litellm's is told by its place."""
    error = getattr(error, "original_exception", None) or error
    from litellm_claude_code import cause_of

    code = next((code for kind, code in _table() if isinstance(error, kind)), None)
    if (cause := cause_of(error)) is not None and cause.kind == "billing_error":
        code = ExitCode.NOBODY_PAYS
    if code is None:
        place = traceback.extract_tb(error.__traceback__)[-1:]
        where = f" in {place[0].filename}, line {place[0].lineno}" if place else ""
        return ExitCode.UNEXPECTED, f"unexpected {type(error).__name__}{where}. This is a bug; please report it."
    return code, _sentence(error)


def _table() -> list[tuple[type[BaseException] | tuple[type[BaseException], ...], ExitCode]]:
    """List what litellm's exceptions mean to a script, the specific before the general."""
    from litellm import exceptions as of

    return [
        ((of.AuthenticationError, of.PermissionDeniedError), ExitCode.NOBODY_PAYS),
        (of.RateLimitError, ExitCode.LIMIT),
        (of.Timeout, ExitCode.TIMEOUT),
        ((of.BadRequestError, of.NotFoundError, of.UnprocessableEntityError), ExitCode.REFUSED),
        ((of.APIConnectionError, of.APIError, of.InternalServerError), ExitCode.UNAVAILABLE),
        ((of.ServiceUnavailableError, of.BadGatewayError), ExitCode.UNAVAILABLE),
    ]


def _sentence(error: Exception) -> str:
    """Return an exception's message without the class names that litellm puts in front of it."""
    text = str(getattr(error, "message", None) or error)
    name = type(error).__name__
    while (shorter := text.removeprefix("litellm.").removeprefix(f"{name}: ")) != text:
        text = shorter
    return text
