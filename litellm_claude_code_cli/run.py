"""`run`: run any Python program with the provider registered, in the Python processes that it starts, too.

The command replaces itself by a new interpreter, as `python` would start it. `sys.argv`, `sys.path`, `__main__`, exit
code, signals and tracebacks are therefore Python's own.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

_AT_START_UP: Final = Path(__file__).with_name("at_start_up")
"""A folder with a `sitecustomize` module, which Python imports at start-up, in child processes too."""


def run(
    arguments: Annotated[
        list[str],
        typer.Argument(help="The arguments of `python`: a script, or `-m` and a module, and then its arguments."),
    ],
) -> None:
    r"""Run a Python program with `claude_code/…` models, without changing the program.

    Write after `run` what you would write after `python`. If the program accepts a model name for litellm or DSPy,
    you can now give it `claude_code/sonnet`, for example:

    ```
    litellm-claude-code run -m evolution.skills.evolve_skill \
        --optimizer-model claude_code/opus --eval-model claude_code/haiku
    litellm-claude-code run train.py --lm claude_code/sonnet
    litellm-claude-code run -m jupyter lab
    ```

    Python processes that the program starts have the provider, too.
    """
    python_path = os.pathsep.join([str(_AT_START_UP), *filter(None, [os.environ.get("PYTHONPATH")])])
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *arguments], {**os.environ, "PYTHONPATH": python_path})
