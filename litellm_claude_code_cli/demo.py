"""`demo`: an evolution run with DSPy, on scripted answers or on the user's login."""

from __future__ import annotations

from typing import Annotated

import typer

from .provider import complete_model, load_litellm


def demo(
    live: Annotated[bool, typer.Option("--live", help="Use your own login, for some 210 calls.")] = False,
    model: Annotated[
        str, typer.Option("--model", "-m", help="Routes the tickets.", autocompletion=complete_model)
    ] = "haiku",
    optimizer_model: Annotated[
        str, typer.Option(help="Writes instructions.", autocompletion=complete_model)
    ] = "sonnet",
    budget: Annotated[int, typer.Option(min=1, help="Answers that GEPA may use.")] = 160,
    threads: Annotated[int, typer.Option(min=1, help="Calls in flight.")] = 8,
) -> None:
    """Watch DSPy's GEPA improve a program that routes support tickets.

    Every call goes through litellm and the real Claude Code CLI. Unless `--live` is given, a scripted model answers:
    no login is needed and nothing is spent. Takes about half a minute.

    ```
    litellm-claude-code demo
    litellm-claude-code demo --live --budget 80
    ```
    """
    load_litellm()
    from .evolution import Options, demonstrate

    demonstrate(Options(is_live=live, model=model, optimizer_model=optimizer_model, budget=budget, threads=threads))
