"""`make demo`, or `python -m examples.support_tickets` in a checkout."""

from __future__ import annotations

import os
from typing import Annotated

import typer

# Before litellm is imported: it would ask the network for prices.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
# Before tqdm is imported, with this package: GEPA's bar is no use next to our lines.
os.environ["TQDM_DISABLE"] = "1"


def demo(
    live: Annotated[bool, typer.Option("--live", help="Use your own login, for about 210 calls.")] = False,
    model: Annotated[str, typer.Option("--model", "-m", help="The model that routes the tickets.")] = "haiku",
    optimizer_model: Annotated[str, typer.Option(help="The model that writes the instructions.")] = "sonnet",
    budget: Annotated[int, typer.Option(min=1, help="Maximum number of answers that GEPA rates.")] = 160,
    threads: Annotated[int, typer.Option(min=1, help="Number of calls at once.")] = 8,
) -> None:
    """Watch DSPy's GEPA improve a program that routes support tickets.

    Every call goes through litellm and the real Claude Code CLI. Unless `--live` is given, a scripted model answers:
    no login is needed and nothing is spent. Takes about half a minute.
    """
    import litellm  # here, so that `--help` does not wait for it

    from .evolve import Options, demonstrate

    litellm.suppress_debug_info = True
    demonstrate(Options(is_live=live, model=model, optimizer_model=optimizer_model, budget=budget, threads=threads))


if __name__ == "__main__":
    app = typer.Typer(rich_markup_mode="markdown", pretty_exceptions_enable=False, add_completion=False)
    app.command()(demo)
    app(prog_name="python -m examples.support_tickets")
