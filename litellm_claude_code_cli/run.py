"""`run`: run any Python program with the provider registered, in the Python processes that it starts, too.

The program is a new interpreter, as `python` would start it: `sys.argv`, `sys.path`, `__main__`, exit code and
tracebacks are Python's own. This process waits for its end (`supervisor.py`).
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer
from typer.core import TyperCommand

_AT_START_UP: Final = Path(__file__).with_name("at_start_up")
"""A folder with a `sitecustomize` module, which Python imports at start-up, in child processes too."""


class OwnOptionsFirst(TyperCommand):
    """A command whose own options come first. All arguments from the first other one on belong to the program."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Separate the program's arguments from the command's own with `--`."""
        takes_value = {name: not getattr(option, "is_flag", False) for option in self.params for name in option.opts}
        takes_value |= {name: False for option in self.params for name in option.secondary_opts} | {"--help": False}
        place = 0
        while place < len(args) and (name := args[place].partition("=")[0]) in takes_value:
            place += 2 if takes_value[name] and "=" not in args[place] else 1
        return super().parse_args(ctx, [*args[:place], "--", *args[place:]] if place < len(args) else args)


def run(
    arguments: Annotated[
        list[str],
        typer.Argument(help="The arguments of `python`: a script, or `-m` and a module, and then its arguments."),
    ],
    max_usd: Annotated[
        float | None, typer.Option(metavar="DOLLARS", help="What the run may spend, at API prices.")
    ] = None,
    max_calls: Annotated[
        int | None, typer.Option(metavar="REQUESTS", min=1, help="How many requests the run may make.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(metavar="TOKENS", min=1, help="How many tokens it may use, input and output.")
    ] = None,
    max_time_s: Annotated[
        float | None, typer.Option("--max-time", metavar="SECONDS", help="How long it may take. No call starts later.")
    ] = None,
    on_limit: Annotated[
        Literal["raise", "wait"] | None,
        typer.Option(help="At a usage limit of the subscription: halt the run, or wait for the reset."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Write the report of the run as JSON.")
    ] = None,
    progress: Annotated[
        bool | None, typer.Option("--progress", help="Show requests, scores, dollars and tokens during the run.")
    ] = None,
    drop_params: Annotated[
        bool | None,
        typer.Option("--drop-params", help="Leave out parameters that the model does not take, with a warning."),
    ] = None,
    halt: Annotated[
        bool | None,
        typer.Option("--halt/--no-halt", help="End the program at a refused login, a limit or a spent budget."),
    ] = None,
    stand_in: Annotated[
        bool, typer.Option("--stand-in", help="Try the program: made-up answers on this machine, nothing is spent.")
    ] = False,
) -> None:
    r"""Run a Python program with `claude_code/…` models, without changing the program.

    Write after `run` and its options what you would write after `python`. If the program accepts a model name for
    litellm or DSPy, you can now give it `claude_code/sonnet`, for example:

    ```
    litellm-claude-code run -m evolution.skills.evolve_skill \
        --optimizer-model claude_code/opus --eval-model claude_code/haiku
    litellm-claude-code run --max-usd 5 --report night.json train.py --lm claude_code/sonnet
    litellm-claude-code run --stand-in train.py --lm claude_code/sonnet
    litellm-claude-code run -m jupyter lab
    ```

    Python processes that the program starts have the provider, too, and share the budget. If the login is refused, a
    limit is reached or the budget is spent, the program is ended. A summary of its calls goes to stderr.

    Exit codes: the program's own, but 3, 4 or 5 (see `ask`) if the run was halted, and 130 after Ctrl-C.
    """
    from .supervisor import supervise

    given: dict[str, object] = {
        "MAX_USD": max_usd,
        "MAX_CALLS": max_calls,
        "MAX_TOKENS": max_tokens,
        "MAX_TIME_S": max_time_s,
        "ON_LIMIT": on_limit,
        "REPORT": report,
        "PROGRESS": progress,
        "DROP_PARAMS": drop_params,
        "HALT": halt,
    }
    prefix = "LITELLM_CLAUDE_CODE_"
    settings = {f"{prefix}{name}": str(value) for name, value in given.items() if value is not None}
    python_path = os.pathsep.join([str(_AT_START_UP), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {f"{prefix}HALT": "true", **os.environ, **settings, "PYTHONPATH": python_path}
    to = environment.pop(f"{prefix}REPORT", None)
    shows = environment.pop(f"{prefix}PROGRESS", "false").lower() in ("1", "true", "yes", "on")
    with contextlib.ExitStack() as held:
        variables = held.enter_context(_answering()) if stand_in else {}
        supervise(
            [sys.executable, *arguments],
            {**environment, **variables},
            report=Path(to) if to else None,
            has_progress=shows,
            answered_by="The stand-in" if stand_in else None,
        )


@contextlib.contextmanager
def _answering() -> Iterator[dict[str, str]]:
    """Start a stand-in, and yield the variables that make a program use it.

    DSPy gets a cache of its own, so that a later run does not find made-up answers.
    """
    from litellm_claude_code.settings import STAND_IN_VARIABLE
    from litellm_claude_code.testing import StandIn
    from litellm_claude_code.testing.made_up import respond

    with StandIn(respond=respond) as server, tempfile.TemporaryDirectory() as cache:
        yield {STAND_IN_VARIABLE: f"{server.base_url} {server.api_key}", "DSPY_CACHEDIR": cache}
