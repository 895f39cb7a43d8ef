"""`claude`: run the Claude Code CLI that calls use. The SDK's wheel contains it, but it is not on PATH."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from .exits import ExitCode, exit_on_error, fail
from .provider import load_litellm


def claude(
    arguments: Annotated[
        list[str] | None, typer.Argument(help="Arguments for Claude Code.", show_default=False)
    ] = None,
) -> None:
    """Run Claude Code itself: the CLI in the SDK's wheel, or the one that LITELLM_CLAUDE_CODE_CLI_PATH names.

    Use it once, to log in. All arguments after `claude` are passed to Claude Code.

    ```
    litellm-claude-code claude auth login     # in the browser; Claude Code keeps the login
    litellm-claude-code claude setup-token    # a token for CLAUDE_CODE_OAUTH_TOKEN, for machines without a browser
    litellm-claude-code claude --version
    ```
    """
    with exit_on_error():
        load_litellm()
        from litellm_claude_code.install import NO_CLI, find_cli
        from litellm_claude_code.settings import from_environment

        cli = find_cli(from_environment().cli_path)
    if cli is None:
        fail(ExitCode.UNEXPECTED, NO_CLI)
    sys.stdout.flush()
    try:
        os.execv(cli, [str(cli), *(arguments or [])])
    except OSError as error:
        fail(ExitCode.UNEXPECTED, f"cannot start {cli}: {error.strerror}.")
