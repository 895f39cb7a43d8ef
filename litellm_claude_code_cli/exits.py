"""How a subcommand ends: with an exit code for scripts, and one line on stderr if there was an error."""

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
    """The exit codes. docs/command-line.md has the table for users."""

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
    """Print the sentence to stderr as one line, and exit."""
    line = "".join(character if character.isprintable() else " " for character in sentence)
    with contextlib.suppress(OSError):
        print(f"litellm-claude-code: {' '.join(line.split())}", file=sys.stderr)
    sys.exit(code)


@contextlib.contextmanager
def exit_on_error() -> Iterator[None]:
    """Turn an exception in this block into an exit code and a line on stderr, never a traceback."""
    try:
        yield
    except BrokenPipeError:
        # Python flushes stdout at exit, which must not raise the same error again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(ExitCode.NOBODY_READS)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would print a traceback at exit
        sys.exit(ExitCode.INTERRUPTED)
    except Exception as error:
        fail(*describe(error))


def describe(error: Exception) -> tuple[ExitCode, str]:
    """Return the exit code for an exception, and a sentence about it.

    Invalid settings are usage errors. Any other exception that is not one of litellm's is a bug: the sentence says
    where it was raised.
    """
    error = getattr(error, "original_exception", None) or error
    from litellm_claude_code import cause_of
    from litellm_claude_code.settings import SettingsError

    if isinstance(error, SettingsError):
        return ExitCode.USAGE, str(error)
    code = next((code for kind, code in _table() if isinstance(error, kind)), None)
    if (cause := cause_of(error)) is not None and cause.kind == "billing_error":
        code = ExitCode.NOBODY_PAYS
    if code is None:
        place = traceback.extract_tb(error.__traceback__)[-1:]
        where = f" in {place[0].filename}, line {place[0].lineno}" if place else ""
        return ExitCode.UNEXPECTED, f"unexpected {type(error).__name__}{where}. This is a bug. Please report it."
    return code, _sentence(error)


def _table() -> list[tuple[type[BaseException] | tuple[type[BaseException], ...], ExitCode]]:
    """Return the exit codes for litellm's exceptions, specific classes before general ones."""
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
