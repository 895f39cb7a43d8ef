"""The typer application: its subcommands, and the options of the command itself."""

from __future__ import annotations

from importlib import metadata
from typing import Annotated

import typer

from .ask import ask
from .claude import claude
from .demo import demo
from .doctor import doctor
from .models import models
from .run import OwnOptionsFirst, run
from .serve import serve
from .stand_in import stand_in

PROGRAM = "litellm-claude-code"
_ANOTHER_PROGRAMS = {"ignore_unknown_options": True, "allow_interspersed_args": False}

app = typer.Typer(
    name=PROGRAM,
    help="Call Claude through Claude Code from litellm and DSPy. Model names start with `claude_code/`.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.command()(ask)
app.command()(models)
app.command()(doctor)
app.command(cls=OwnOptionsFirst)(run)
app.command()(serve)
app.command(hidden=True, context_settings={"ignore_unknown_options": True, "allow_extra_args": True})(demo)
app.command(name="stand-in")(stand_in)
app.command(context_settings=_ANOTHER_PROGRAMS)(claude)


def main() -> None:
    """Run the command line and exit."""
    app(prog_name=PROGRAM)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        print(f"{PROGRAM} {metadata.version('litellm_claude_code')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Handle the options before a subcommand."""
