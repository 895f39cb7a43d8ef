"""`ask`: ask one question and print the answer to stdout as it arrives."""

from __future__ import annotations

import base64
import contextlib
import json
import mimetypes
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer

from .exits import ExitCode, exit_on_error, fail
from .provider import boot_no_spares, complete_model, full_name, load_litellm


def ask(
    prompt: Annotated[
        str | None,
        typer.Argument(
            metavar="PROMPT", help="The question. Text piped to stdin is appended to it; `-` means stdin alone."
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            help="The model. `litellm-claude-code models` lists them.",
            autocompletion=complete_model,
        ),
    ] = "sonnet",
    system: Annotated[str | None, typer.Option("--system", "-s", metavar="TEXT", help="The system prompt.")] = None,
    stream: Annotated[bool, typer.Option(help="Print the answer as it arrives, or when it is complete.")] = True,
    json_schema: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", exists=True, dir_okay=False, help="Ask for JSON that matches the schema in this file."
        ),
    ] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Attach an image. Can be repeated."),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(metavar="TOKENS", min=1, help="Maximum length of the answer.")
    ] = None,
    timeout_s: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=0.1, help="Maximum time to wait for the answer.")
    ] = 600,
    usage: Annotated[bool, typer.Option("--usage", help="Print tokens and cost to stderr.")] = False,
) -> None:
    """Ask Claude a question. Only the answer goes to stdout.

    ```
    litellm-claude-code ask "What is the capital of France?"
    git diff | litellm-claude-code ask "Write a commit message." -m opus
    litellm-claude-code ask - -s "Translate to French." < letter.txt
    litellm-claude-code ask "Total?" --image bill.png --json-schema bill.json
    ```

    Exit codes: 0 answered, 2 usage, 3 request refused, 4 not logged in, login rejected or out of credit, 5 limit
    reached, 6 timeout, 7 service unavailable or answer cut off, 8 answer incomplete, 130 Ctrl-C.

    As for every call, your Claude login pays unless ANTHROPIC_BASE_URL and ANTHROPIC_AUTH_TOKEN name a gateway, or
    LITELLM_CLAUDE_CODE_AUTH=api_key picks ANTHROPIC_API_KEY.
    """
    schema = _read_schema(json_schema) if json_schema else None
    images = [_read_image(path) for path in image or []]
    text = _with_stdin(prompt)
    request: dict[str, Any] = {
        "model": full_name(model),
        "messages": [
            *([{"role": "system", "content": system}] if system else []),
            {"role": "user", "content": [*images, {"type": "text", "text": text}] if images else text},
        ],
        "timeout": timeout_s,
    }
    if schema is not None:
        described = {"name": "answer", "schema": schema, "strict": True}
        request["response_format"] = {"type": "json_schema", "json_schema": described}
    if max_tokens is not None:
        request["max_tokens"] = max_tokens
    with exit_on_error():
        litellm = load_litellm()
        boot_no_spares()
        _announce_check()
        answer = _print_stream(litellm, request) if stream else _print_whole(litellm, request)
        if usage:
            print(_took(litellm, answer), file=sys.stderr)
    _check(answer, schema)


def _announce_check() -> None:
    """Say on a terminal why the first answer takes longer."""
    if sys.stderr is None or not sys.stderr.isatty():
        return
    from litellm_claude_code.selfcheck import is_check_due
    from litellm_claude_code.settings import SettingsError, from_environment

    with contextlib.suppress(SettingsError):  # the call raises it, too
        if is_check_due(from_environment()):
            print("Testing this version of Claude Code on loopback, once. This takes a few seconds.", file=sys.stderr)


def _with_stdin(prompt: str | None) -> str:
    """Return the question: the argument, followed by the text from stdin."""
    piped = ""
    if prompt == "-" or (sys.stdin is not None and not sys.stdin.isatty()):
        try:
            piped = sys.stdin.buffer.read().decode()
        except UnicodeDecodeError:
            raise typer.BadParameter("stdin is not UTF-8 text. Convert it first.") from None
    given = "" if prompt in (None, "-") else prompt
    text = "\n\n".join(part for part in (given, piped) if part and part.strip())
    if not text:
        raise typer.BadParameter('there is no question. Give one, as in `ask "What is 2 + 2?"`, or pipe it in.')
    return text


def _read_schema(path: Path) -> dict[str, Any]:
    try:
        schema = json.loads(path.read_bytes())
    except ValueError as error:
        raise typer.BadParameter(f"{path} is not JSON: {error}.", param_hint="--json-schema") from None
    if not isinstance(schema, dict):
        raise typer.BadParameter(
            f"{path} is not a JSON schema. It must contain a JSON object.", param_hint="--json-schema"
        )
    return schema


def _read_image(path: Path) -> dict[str, Any]:
    kind = mimetypes.guess_type(path.name)[0]
    if kind is None or not kind.startswith("image/"):
        raise typer.BadParameter(
            f"{path} is not an image, judging by its name. Use a .png, .jpg, .gif or .webp file.", param_hint="--image"
        )
    data = base64.b64encode(path.read_bytes()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{data}"}}


def _print_whole(litellm: ModuleType, request: dict[str, Any]) -> Any:
    answer = litellm.completion(**request)
    _write(_line(answer.choices[0].message.content or ""))
    return answer


def _print_stream(litellm: ModuleType, request: dict[str, Any]) -> Any:
    """Print the answer as it arrives, and return it as one response. A line break follows even if the stream fails."""
    chunks, last = [], "\n"
    try:
        for chunk in litellm.completion(**request, stream=True, stream_options={"include_usage": True}):
            chunks.append(chunk)
            if said := chunk.choices[0].delta.content:
                last = said
                _write(said)
    finally:
        _write(_line(last)[len(last) :])
    return litellm.stream_chunk_builder(chunks)


def _line(text: str) -> str:
    return text if text.endswith("\n") else f"{text}\n"


def _write(text: str) -> None:
    if sys.stdout.isatty():
        # Control characters in an answer must not reach the terminal.
        text = "".join(character for character in text if character.isprintable() or character in "\n\t")
    sys.stdout.buffer.write(text.encode(sys.stdout.encoding, errors="replace"))
    sys.stdout.flush()


def _took(litellm: ModuleType, answer: Any) -> str:
    cost_usd = litellm.completion_cost(completion_response=answer, model=full_name(answer.model))
    used = answer.usage
    return (
        f"{answer.model}: {used.prompt_tokens} tokens in, {used.completion_tokens} out, ${cost_usd:.6f} at API prices"
    )


def _check(answer: Any, schema: dict[str, Any] | None) -> None:
    """Exit with an error if the answer is cut off, declined, or does not match the schema."""
    choice = answer.choices[0]
    if choice.finish_reason == "length":
        fail(
            ExitCode.INCOMPLETE, "the answer is incomplete, because it reached --max-tokens or the model's own maximum."
        )
    if choice.finish_reason == "content_filter":
        fail(ExitCode.REFUSED, "the model declined to answer. Rephrase the question, or try another model.")
    if schema is not None:
        import jsonschema

        try:
            jsonschema.validate(json.loads(choice.message.content or ""), schema)
        except ValueError:
            fail(ExitCode.INCOMPLETE, "the answer is not JSON, although --json-schema asks for it.")
        except jsonschema.ValidationError as error:
            fail(ExitCode.INCOMPLETE, f"the answer is JSON, but does not match the schema at {error.json_path}.")
