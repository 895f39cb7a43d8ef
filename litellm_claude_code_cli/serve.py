"""`serve`: run litellm's proxy over this provider, for other programs and machines."""

from __future__ import annotations

import gc
import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 4000,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE.yaml", help="A configuration of litellm's proxy, instead of ours.")
    ] = None,
    profiles: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Serve the agents of this file, too (docs/agents.md).")
    ] = None,
    master_key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Holds the key clients send. Or set LITELLM_MASTER_KEY.")
    ] = None,
    share_my_login: Annotated[
        bool, typer.Option("--share-my-login", help="Let your own Claude login pay for other machines' calls.")
    ] = False,
    max_requests: Annotated[
        int | None, typer.Option(min=1, help="Under way or waiting at once. By default four for each process.")
    ] = None,
    max_body_mb: Annotated[float, typer.Option(min=0.001, help="Largest body of a request.")] = 32,
    body_timeout_s: Annotated[float, typer.Option(min=0.1, help="How long a client may take to send a body.")] = 60,
    grace_s: Annotated[int, typer.Option(min=0, help="How long a stop waits for what is under way.")] = 300,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the configuration, to start one of your own from, and exit.")
    ] = False,
) -> None:
    """Serve `claude_code/…` models to other programs, in the formats of OpenAI and Anthropic.

    This is litellm's proxy behind a gate that checks the key, the limits and the fields of each request. It lists
    `sonnet`, `opus`, `haiku` and full ids, and takes them with the prefix `claude_code/`, too. If you give it no key,
    it generates one and prints it.

    ```
    litellm-claude-code serve --master-key-file key.txt
    OPENAI_BASE_URL=http://127.0.0.1:4000/v1 OPENAI_API_KEY=… python my_program.py
    ANTHROPIC_BASE_URL=http://127.0.0.1:4000 ANTHROPIC_API_KEY=… python my_program.py
    ```
    """
    # litellm reads this when it is imported. The server must start without the network.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    if print_config:
        from litellm_claude_code import models
        from litellm_claude_code.proxy.config import generate

        print(json.dumps(generate(models.names()), indent=2))
        return
    if find_spec("fastapi") is None:
        _end('litellm\'s proxy is not installed: pip install "litellm_claude_code[proxy]"')

    # A third of litellm's import time is garbage collection that finds nothing.
    gc.disable()
    from litellm.exceptions import AuthenticationError

    from litellm_claude_code.proxy.config import ConfigError
    from litellm_claude_code.proxy.server import Options
    from litellm_claude_code.proxy.server import serve as serve_node

    try:
        serve_node(
            Options(
                host=host,
                port=port,
                config=config,
                profiles=profiles,
                master_key_file=master_key_file,
                shares_login=share_my_login,
                max_requests=max_requests,
                max_body_mb=max_body_mb,
                body_timeout_s=body_timeout_s,
                grace_s=grace_s,
            )
        )
    except (ConfigError, AuthenticationError) as error:
        _end(str(error))


def _end(message: str) -> None:
    typer.echo(message, err=True)
    raise typer.Exit(2)
