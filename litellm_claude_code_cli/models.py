"""`models`: list the names of models, the models behind them, and what these take and cost."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any, Final, TypedDict

import typer

from .exits import exit_on_error
from .provider import ALIASES, PREFIX, load_litellm

_CAPABILITIES: Final = {
    "tools": "supports_function_calling",
    "images": "supports_vision",
    "PDFs": "supports_pdf_input",
    "schema": "supports_response_schema",
    "thinking": "supports_reasoning",
    "caching": "supports_prompt_caching",
    "search": "supports_web_search",
}
_PIPED_COLUMNS: Final = 200


class Model(TypedDict):
    """One entry of the list. Prices are those of the API, in US dollars per million tokens."""

    name: str
    model: str
    context_tokens: int | None
    answer_tokens: int | None
    capabilities: list[str]
    usd_in: float | None
    usd_out: float | None
    usd_cache_write: float | None
    usd_cache_read: float | None


def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list instead of a table.")] = False,
) -> None:
    """List the models: names, the model behind each alias, context, prices, capabilities.

    The installed Claude Code decides which model an alias means, so an alias moves on to new models. A full id does not
    change, and ids that are not listed work, too. LITELLM_CLAUDE_CODE_PROFILES names files of agents, which are listed
    with the models. No request is made.

    ```
    litellm-claude-code models
    litellm-claude-code models --json | jq -r '.[] | select(.usd_in < 2) | .name'
    ```
    """
    with exit_on_error():
        listed = _list()
        if as_json:
            print(json.dumps(listed, indent=2))
        else:
            _print_table([model for model in listed if "@" not in model["name"]], agents=_agents())


def _list() -> list[Model]:
    litellm = load_litellm()
    from litellm_claude_code import models as ours

    names = [*ALIASES, *sorted(ours.known_ids()), *(f"{alias}@{agent}" for agent in _agents() for alias in ALIASES)]
    entries = {name: litellm.model_cost.get(f"{PREFIX}/{name}", {}) for name in names}
    return [_model(name, ours.resolve(name.partition("@")[0]), entry) for name, entry in entries.items()]


def _agents() -> list[str]:
    from litellm_claude_code.agents.registry import known_profiles

    return sorted(known_profiles())


def _model(name: str, model: str, entry: dict[str, Any]) -> Model:
    takes = [word for word, key in _CAPABILITIES.items() if entry.get(key)]
    return Model(
        name=f"{PREFIX}/{name}",
        model=model,
        context_tokens=entry.get("max_input_tokens"),
        answer_tokens=entry.get("max_output_tokens"),
        capabilities=[*takes, *(["temperature"] if entry.get("supports_sampling_params", True) and entry else [])],
        usd_in=_per_million(entry.get("input_cost_per_token")),
        usd_out=_per_million(entry.get("output_cost_per_token")),
        usd_cache_write=_per_million(entry.get("cache_creation_input_token_cost")),
        usd_cache_read=_per_million(entry.get("cache_read_input_token_cost")),
    )


def _per_million(price: float | None) -> float | None:
    return None if price is None else round(price * 1e6, 6)


def _print_table(listed: list[Model], *, agents: list[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    shared = [word for word in listed[0]["capabilities"] if all(word in model["capabilities"] for model in listed)]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(f"{PREFIX}/…", no_wrap=True)
    for title in ("context", "answer", "$ in", "$ out"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("supports")
    for model in listed:
        name = model["name"].removeprefix(f"{PREFIX}/")
        table.add_row(
            name if name == model["model"] else f"{name} → {model['model']}",
            _thousands(model["context_tokens"]),
            _thousands(model["answer_tokens"]),
            _dollars(model["usd_in"]),
            _dollars(model["usd_out"]),
            ", ".join(word for word in model["capabilities"] if word not in shared),
        )
    console = Console(width=None if sys.stdout.isatty() else _PIPED_COLUMNS, highlight=False)
    console.print(table)
    console.print(f"\nAll support {', '.join(shared)}. Prices are API prices, in dollars per million tokens.")
    if agents:
        console.print(f"Agents: {', '.join(agents)}. Each works with any model, as in {ALIASES[0]}@{agents[0]}.")


def _thousands(tokens: int | None) -> str:
    return "" if tokens is None else f"{tokens // 1000}k"


def _dollars(price: float | None) -> str:
    return "" if price is None else f"{price:.2f}"
