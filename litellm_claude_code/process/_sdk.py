"""Everything that goes beyond the public interface of claude-agent-sdk, and what its exceptions mean.

Read in claude-agent-sdk 0.2.184; `tested_versions.py` has the versions it was tested with. tests/test_sdk_seam.py names
each private name used here, and fails with a sentence if one is gone. No other module uses private names of the SDK;
tests/test_layers.py lists the modules that use its public ones. `install.py` knows where the wheel has the CLI, because
it must not import the SDK: that takes half a second.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

from anyio.abc import Process
from anyio.streams.text import TextReceiveStream, TextSendStream
from claude_agent_sdk import (
    ClaudeAgentOptions,
    ClaudeSDKError,
    CLIJSONDecodeError,
    CLINotFoundError,
    ProcessError,
)
from claude_agent_sdk._internal._task_compat import spawn_detached
from claude_agent_sdk._internal.transport.subprocess_cli import SubprocessCLITransport

from .. import cli_protocol as cli
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

LARGEST_FRAME_BYTES: Final = 256 << 20
# Specific before general. The exceptions' own texts may quote a prompt.
_LOST: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (TimeoutError, "the process did not answer in time"),
    (ProcessError, "the process ended"),
    (CLIJSONDecodeError, "the process wrote something that is not JSON"),
    (ClaudeSDKError, "the connection to the process broke"),
    (ConnectionBroken, "the connection to the process broke"),
    (OSError, "the connection to the process broke"),
)


def command_line(options: ClaudeAgentOptions) -> list[str]:
    """Return the command that the SDK makes of its options."""
    return SubprocessCLITransport(prompt=_no_prompt(), options=options)._build_command()


class Subprocess(SubprocessCLITransport):
    """The SDK's subprocess transport for a process that has been spawned, and is sent prompts later.

    The SDK does the framing. This package starts and ends the process, because the SDK has two problems here. It
    passes on this process's whole environment, and raises `KeyError` if another thread removes a variable while it
    reads them. At exit it signals all processes that it has started (`_ACTIVE_CHILDREN`). It does so
    even in a forked child, although the processes belong to the parent; and if asyncio is checking at the same time
    whether a process has ended, asyncio logs a warning on stderr.
    """

    def __init__(self, process: Process, *, stderr: Callable[[str], None]) -> None:
        """Take over a process, and start to read its stderr: `stderr` is called with each line."""
        options = ClaudeAgentOptions(max_buffer_size=LARGEST_FRAME_BYTES, stderr=stderr)
        super().__init__(prompt=_no_prompt(), options=options)
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._stdin_stream = TextSendStream(process.stdin)
        self._stdout_stream = TextReceiveStream(process.stdout)
        self._stderr_stream = TextReceiveStream(process.stderr)
        self._stderr_task = spawn_detached(self._handle_stderr())
        self._ready = True

    async def connect(self) -> None:
        """Do nothing: the process runs, and is connected. The SDK's client calls this."""

    @property
    def pid(self) -> int | None:
        """Return the process id, or None after `close`."""
        return self._process.pid if self._process is not None else None

    def send_signal(self, signal: int) -> None:
        """Send a signal to the process, if it still runs."""
        if self._process is not None and self._process.returncode is None:
            # asyncio's method polls the process first, and so may take the exit status before asyncio's child watcher,
            # which then logs a warning on stderr that the status is unknown.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal)

    def close_pipes(self) -> None:
        """Close this Python process's ends of the pipes, without their event loop: that is the parent's after a fork.

        uvloop does not expose the files, so they stay open.
        """
        # The SDK's process is anyio's, which wraps asyncio's, which has the subprocess transport with the pipes.
        asyncio_process = getattr(self._process, "_process", None)
        subprocess = getattr(asyncio_process, "_transport", None)
        pipes = [subprocess.get_pipe_transport(number) for number in range(3)] if subprocess is not None else []
        for pipe in pipes:
            if pipe is not None and (file := pipe.get_extra_info("pipe")) is not None:
                file.close()


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
    if isinstance(error, StepRefused):
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
