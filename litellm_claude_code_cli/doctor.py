"""`doctor`: check that everything works, and print the findings."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer

from .checkup import Finding, Verdict, findings
from .exits import ExitCode, exit_on_error
from .provider import complete_model

if TYPE_CHECKING:
    from rich.console import Console

_MARKS: Final = {"good": ("✓", "green"), "note": ("!", "yellow"), "bad": ("✗", "red"), "skipped": ("-", "dim")}
_TITLES: Final = {
    "versions": "Installed",
    "cli": "Claude Code",
    "login": "Who pays",
    "limits": "Limits",
    "overhead": "Overhead",
    "call": "Call",
    "settings": "Settings (LITELLM_CLAUDE_CODE_…)",
}
_NEVER_CUT: Final = 100_000


def doctor(
    offline: Annotated[bool, typer.Option("--offline", help="Skip the login and the call to a model.")] = False,
    call: Annotated[bool, typer.Option(help="Make one tiny call to a model.")] = True,
    model: Annotated[
        str, typer.Option("--model", "-m", help="The model to call.", autocompletion=complete_model)
    ] = "haiku",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print the details of every check.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all details as JSON.")] = False,
) -> None:
    """Check that everything works: versions, login, limits, overhead, settings.

    The installed Claude Code is tested on loopback, and so is the overhead of a call. Then one tiny request goes to a
    model, and is paid like your other calls. `--no-call` leaves it out. Only problems are printed in detail, unless you
    add `--verbose`.

    ```
    litellm-claude-code doctor
    litellm-claude-code doctor --offline --verbose
    ```

    Exit codes: 0 everything works, 1 a check found a problem.
    """
    from rich.console import Console

    found: list[Finding] = []
    # A terminal shows what goes on; elsewhere, the status prints nothing.
    console = Console(highlight=False, quiet=as_json)
    with exit_on_error():
        with console.status("Checking the installation, which takes some seconds…"):
            for finding in findings(is_offline=offline, model=model, is_asking=call):
                found.append(finding)
                if verbose or finding.verdict in ("note", "bad"):
                    _print(finding, console)
        is_healthy = all(finding.verdict != "bad" for finding in found)
        if as_json:
            print(json.dumps({"is_healthy": is_healthy, "findings": [asdict(finding) for finding in found]}, indent=2))
        elif not verbose:
            _print_summary(found, console, is_healthy=is_healthy)
    raise typer.Exit(ExitCode.OK if is_healthy else ExitCode.UNEXPECTED)


def _print(finding: Finding, console: Console) -> None:
    _print_line(finding.verdict, _TITLES[finding.about], console)
    _print_sentences(finding.sentences, console)


def _print_summary(found: list[Finding], console: Console, *, is_healthy: bool) -> None:
    """Print one line for all good checks, and who pays."""
    good = [finding for finding in found if finding.verdict == "good"]
    names = ", ".join(finding.about for finding in good)
    if is_healthy:
        _print_line("good", f"Everything works (checked: {names}).", console)
        _print_sentences([finding.sentences[0] for finding in good if finding.about == "login"], console)
    elif good:
        _print_line("good", f"No problem with: {names}.", console)


def _print_line(verdict: Verdict, title: str, console: Console) -> None:
    from rich.text import Text

    sign, colour = _MARKS[verdict]
    console.print(Text.assemble((sign, colour), " ", (title, "bold")), soft_wrap=True)


def _print_sentences(sentences: list[str], console: Console) -> None:
    # Lines are wrapped for terminals only: piped output is more often searched than read.
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else _NEVER_CUT
    wrapper = textwrap.TextWrapper(columns, break_long_words=False, break_on_hyphens=False)
    wrapper.initial_indent = wrapper.subsequent_indent = "    "
    for sentence in sentences:
        console.print(wrapper.fill(sentence), markup=False, emoji=False, soft_wrap=True)
