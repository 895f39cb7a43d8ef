"""`run`: any Python program, with the provider registered in it and in the Python processes that it starts.

The program runs in an interpreter of its own, started as `python` would be: `sys.argv`, `sys.path`, `__main__`, exit
code, signals and tracebacks are Python's, because it is Python that makes them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

_AT_START_UP: Final = Path(__file__).with_name("at_start_up")
"""A folder that holds a `sitecustomize` module, which Python imports as it starts, in child processes too."""


def run(
    arguments: Annotated[
        list[str],
        typer.Argument(help="What you would give to `python`: a script, or `-m` and a module, and its arguments."),
    ],
) -> None:
    r"""Run a Python program that knows `claude_code/…` models, with no change to it.

    Everything after `run` is what you would write after `python`. litellm and DSPy then take `claude_code/sonnet`, say,
    wherever the program lets you name a model:

    ```
    litellm-claude-code run -m evolution.skills.evolve_skill \
        --optimizer-model claude_code/opus --eval-model claude_code/haiku
    litellm-claude-code run train.py --lm claude_code/sonnet
    litellm-claude-code run -m jupyter lab
    ```

    The Python processes that the program starts know `claude_code/…`, too.
    """
    python_path = os.pathsep.join([str(_AT_START_UP), *filter(None, [os.environ.get("PYTHONPATH")])])
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *arguments], {**os.environ, "PYTHONPATH": python_path})
