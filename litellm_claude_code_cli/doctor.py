"""`doctor`: check that everything works, and print the findings."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from dataclasses import asdict
from typing import Annotated, Final

import typer

from .checkup import Finding, findings
from .exits import ExitCode, told_in_one_line
from .provider import complete_model

_MARKS: Final = {"good": ("✓", "green"), "note": ("!", "yellow"), "bad": ("✗", "red"), "skipped": ("-", "dim")}
_TITLES: Final = {
    "versions": "Installed",
    "cli": "Claude Code",
    "login": "Who pays",
    "limits": "Limits",
    "overhead": "Overhead",
    "call": "A call",
    "settings": "Settings (LITELLM_CLAUDE_CODE_…)",
}
_NEVER_CUT: Final = 100_000


def doctor(
    offline: Annotated[bool, typer.Option("--offline", help="Look at no login and ask no model.")] = False,
    call: Annotated[bool, typer.Option(help="Ask a model for one word, which costs a tiny request.")] = True,
    model: Annotated[
        str, typer.Option("--model", "-m", help="The model to ask.", autocompletion=complete_model)
    ] = "haiku",
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of sentences.")] = False,
) -> None:
    """Check that everything works: versions, login, limits, overhead, settings.

    The installed Claude Code is tested on loopback, and so is the overhead of a call. Then one tiny request goes to a
    model, and is paid like your other calls. `--no-call` leaves it out.

    ```
    litellm-claude-code doctor
    litellm-claude-code doctor --offline --json
    ```

    Exit codes: 0 everything works, 1 a check found a problem.
    """
    found: list[Finding] = []
    with told_in_one_line():
        for finding in findings(is_offline=offline, model=model, is_asking=call):
            found.append(finding)
            if not as_json:
                _print(finding)
        is_healthy = all(finding.verdict != "bad" for finding in found)
        if as_json:
            print(json.dumps({"is_healthy": is_healthy, "findings": [asdict(finding) for finding in found]}, indent=2))
    raise typer.Exit(ExitCode.OK if is_healthy else ExitCode.UNEXPECTED)


def _print(finding: Finding) -> None:
    from rich.console import Console
    from rich.text import Text

    sign, colour = _MARKS[finding.verdict]
    Console(highlight=False).print(Text.assemble((sign, colour), " ", (_TITLES[finding.about], "bold")))
    # Lines are wrapped for terminals only: piped output is more often searched than read.
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else _NEVER_CUT
    wrapper = textwrap.TextWrapper(columns, break_long_words=False, break_on_hyphens=False)
    wrapper.initial_indent = wrapper.subsequent_indent = "    "
    for sentence in finding.sentences:
        print(wrapper.fill(sentence))
