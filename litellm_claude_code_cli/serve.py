"""`serve`: run litellm's proxy over this provider, for other programs and machines."""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import socket
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 means any free port.")] = 4000,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE.yaml", help="A configuration for litellm's proxy. By default, one is generated."),
    ] = None,
    profiles: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Also serve the agents in this file (docs/agents.md).")
    ] = None,
    models: Annotated[
        Literal["listed", "any"],
        typer.Option(
            help="`any`: other Claude ids, such as claude-3-5-sonnet-20241022, get their family's current model."
        ),
    ] = "listed",
    master_key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="File with the key that clients must send. You can set LITELLM_MASTER_KEY instead."
        ),
    ] = None,
    share_my_login: Annotated[
        bool, typer.Option("--share-my-login", help="Let your own Claude login pay for calls from other machines.")
    ] = False,
    drop_params: Annotated[
        bool, typer.Option("--drop-params", help="Leave out parameters that a model does not take, with a warning.")
    ] = False,
    max_requests: Annotated[
        int | None,
        typer.Option(min=1, help="Maximum number of model requests in progress or waiting. Default: four per process."),
    ] = None,
    max_wait_s: Annotated[
        float | None,
        typer.Option(min=0, help="Refuse a request (429) that would wait longer for a process. Default: no limit."),
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="Users with keys and limits of their own (docs/serving.md)."),
    ] = None,
    log_format: Annotated[
        Literal["text", "json"], typer.Option(help="Form of the log: a line of text or JSON for each request.")
    ] = "text",
    open_metrics: Annotated[
        bool, typer.Option("--open-metrics", help="Serve /metrics without a key. By default, it needs the master key.")
    ] = False,
    max_body_mb: Annotated[float, typer.Option(min=0.001, help="Maximum size of a request's body.")] = 32,
    body_timeout_s: Annotated[float, typer.Option(min=0.1, help="Maximum time for a client to send a body.")] = 60,
    grace_s: Annotated[
        int, typer.Option(min=0, help="Maximum time to wait for requests in progress before stopping.")
    ] = 300,
    print_config: Annotated[
        bool,
        typer.Option("--print-config", help="Print the generated configuration, as a template for your own, and exit."),
    ] = False,
) -> None:
    """Serve `claude_code/…` models to other programs, in the formats of OpenAI and Anthropic.

    This is litellm's proxy behind a gate that checks the key, the limits and the fields of each request. It lists
    `sonnet`, `opus`, `haiku` and full ids, and also accepts them with the prefix `claude_code/`. If you do not set a
    key, it generates one and prints it.

    ```
    litellm-claude-code serve --master-key-file key.txt
    OPENAI_BASE_URL=http://127.0.0.1:4000/v1 OPENAI_API_KEY=… python my_program.py
    ANTHROPIC_BASE_URL=http://127.0.0.1:4000 ANTHROPIC_API_KEY=… python my_program.py
    ```
    """
    # litellm reads this when it is imported. The server must start without the network.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    if drop_params:
        os.environ["LITELLM_CLAUDE_CODE_DROP_PARAMS"] = "true"
    if print_config:
        from litellm_claude_code.models import names
        from litellm_claude_code.proxy.config import generate

        print(json.dumps(generate(names()), indent=2))
        return
    if find_spec("fastapi") is None:
        _end('litellm\'s proxy is not installed. Run: pip install "litellm_claude_code[proxy]"')

    with _bound(host, port) as listening:
        # A third of litellm's import time is garbage collection that finds nothing.
        gc.disable()
        from litellm.exceptions import AuthenticationError, BadRequestError

        from litellm_claude_code.proxy.config import ConfigError
        from litellm_claude_code.proxy.server import ServeOptions
        from litellm_claude_code.proxy.server import serve as serve_node

        try:
            serve_node(
                ServeOptions(
                    host=host,
                    config=config,
                    profiles=profiles,
                    models=models,
                    master_key_file=master_key_file,
                    shares_login=share_my_login,
                    max_requests=max_requests,
                    max_wait_s=max_wait_s,
                    keys=keys,
                    log_format=log_format,
                    open_metrics=open_metrics,
                    max_body_mb=max_body_mb,
                    body_timeout_s=body_timeout_s,
                    grace_s=grace_s,
                ),
                listening,
            )
        except (ConfigError, AuthenticationError, BadRequestError) as error:
            _end(str(error))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            _cannot_listen(host, port, error)  # another process took the port while litellm was loaded


@contextlib.contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """Provide a socket that is bound but does not listen yet. Bound before litellm is loaded, which takes seconds."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        _end(f"Cannot listen on {host}: {getattr(error, 'strerror', 'not a host name')}. Check --host.")
    with socket.socket(family, kind, protocol) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(address)
        except OSError as error:
            _cannot_listen(host, port, error)
        yield bound


def _cannot_listen(host: str, port: int, error: OSError) -> NoReturn:
    is_about_host = error.errno == errno.EADDRNOTAVAIL
    advice = "Check --host" if is_about_host else "Choose another --port; 0 means any free port"
    _end(f"Cannot listen on {host}, port {port}: {error.strerror}. {advice}.")


def _end(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(2)
