"""Everything that goes beyond the public interface of claude-agent-sdk, and what its exceptions mean.

Read in claude-agent-sdk 0.2.184; `tested_versions.py` has the versions it was tested with. tests/test_sdk_seam.py names
each private name used here, and fails with a sentence if one is gone. No other module uses private names of the SDK;
tests/test_layers.py lists the modules that use its public ones. `install.py` knows where the wheel has the CLI, because
it must not import the SDK: that takes half a second.
"""

from __future__ import annotations

import errno
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKError, CLINotFoundError, Transport
from claude_agent_sdk._internal.transport.subprocess_cli import SubprocessCLITransport

from .. import cli_protocol as cli
from ..cli_protocol import Frame
from ..errors import (
    CallFailed,
    ConnectionBroken,
    Failure,
    InternalError,
    NoCli,
    StepRefused,
    WorkerLost,
    place_in_package,
)
from ..install import NO_CLI
from ..trusted import UntrustedFolder
from .connection import Connection

# Specific before general. The exceptions' own texts may quote a prompt.
_LOST: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (TimeoutError, "the process did not answer in time"),
    (ClaudeSDKError, "the connection to the process broke"),
    (OSError, "the connection to the process broke"),
)


def command_line(options: ClaudeAgentOptions) -> list[str]:
    """Return the command that the SDK makes of its options."""
    return SubprocessCLITransport(prompt=_no_prompt(), options=options)._build_command()


class ClientTransport(Transport):
    """What the SDK's client sees of a connection: the control frames that are meant for it."""

    def __init__(self, connection: Connection, *, initialize: Mapping[str, Any] | None = None) -> None:
        """Wrap a connection. The fields in `initialize` are added to the SDK's frame of this name."""
        self._connection = connection
        self._initialize = initialize

    async def connect(self) -> None:
        """Do nothing: the process runs, and is connected."""

    async def write(self, data: str) -> None:
        """Write data, with our own fields if it is the frame `initialize`."""
        if self._initialize and (extended := with_initialize_fields(data, self._initialize)) is not None:
            self._initialize, data = None, extended
        self._connection.write(data)

    async def read_messages(self) -> AsyncIterator[Frame]:
        """Yield the control frames until the process ends. What ended it is not raised: the SDK would log it."""
        while (frame := await self._connection.client_frames.get()) is not None:
            yield frame

    async def close(self) -> None:
        """Do nothing: the process is ended by `CliProcess.end`."""

    def is_ready(self) -> bool:
        """Return whether the process can be written to."""
        return not self._connection.exited.is_set()

    async def end_input(self) -> None:
        """Close the process's stdin."""
        self._connection.end_input()


async def _no_prompt() -> AsyncIterator[dict[str, Any]]:
    return
    yield {}


def with_initialize_fields(data: str, fields: Mapping[str, Any]) -> str | None:
    """Add fields to the frame `initialize`, which the SDK's client writes. Return None if `data` is another frame.

    The CLI takes fields that the SDK has no option for, such as a system prompt that is not on the command line.
    """
    if f'"{cli.INITIALIZE}"' not in data:  # so that other frames, which may be large, are not parsed
        return None
    frame = json.loads(data)
    if frame.get("request", {}).get("subtype") != cli.INITIALIZE:
        return None
    frame["request"].update(fields)
    return json.dumps(frame) + "\n"


def from_sdk(error: BaseException, *, is_sent: bool) -> CallFailed:
    """Convert an exception of the SDK or the operating system. `is_sent`: the request was already sent to the model."""
    if isinstance(error, CallFailed):
        return error
    if isinstance(error, NoCli | CLINotFoundError):
        return CallFailed(Failure(kind="cli_not_found", text=NO_CLI))
    if (text := _of_the_machine(error)) is not None:
        return CallFailed(Failure(kind="machine", text=text))
    if isinstance(error, StepRefused | ConnectionBroken):
        failure = Failure(kind="lost", text=str(error))
        return CallFailed(failure) if is_sent else WorkerLost(failure)
    text = next((text for kind, text in _LOST if isinstance(error, kind)), None)
    failure = Failure(kind="lost", text=text or f"unexpected {type(error).__name__}{place_in_package(error)}")
    failed = CallFailed(failure) if is_sent else WorkerLost(failure)
    if text is None:
        failed.__cause__ = InternalError(error)
    return failed


def _of_the_machine(error: BaseException | None) -> str | None:
    """Return a sentence for an error that would also stop another process. Looks through the exception's causes."""
    while error is not None:
        if isinstance(error, UntrustedFolder):
            return str(error)
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            return "too many files are open in this process or on this machine. Raise the limit with `ulimit -n`"
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            return f"cannot write or run {error.filename or 'a file'}: {error.strerror}"
        if isinstance(error, OSError) and error.errno in (errno.EAGAIN, errno.ENOMEM):
            return f"cannot start a process: {error.strerror}. Lower LITELLM_CLAUDE_CODE_MAX_WORKERS, or free memory"
        error = error.__cause__
    return None
