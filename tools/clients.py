"""`make clients`: run other people's frameworks and clients on `claude_code/`, and write the table of docs/clients.md.

Each program in `examples/clients` is one row. Its header (PEP 723) says what to install and what must work. For each
row, this installs the newest versions from the registries into an environment of its own (`.venv-clients/NAME`), runs
the program on the real Claude Code CLI and scripted answers, checks what it printed, and removes the environment.

Needs `.venv`, PyPI, and for some rows npm. Exits with 1 if a row is not as its header says, and with 2 if there is no
such client.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT: Final = Path(__file__).resolve().parent.parent
PROGRAMS: Final = ROOT / "examples" / "clients"
PAGE: Final = ROOT / "docs" / "clients.md"
ENVIRONMENTS: Final = ROOT / ".venv-clients"
# How the table calls each way of using the models, and a line that a program must print for each feature.
WAYS: Final = {"in-process": "In your process", "serve": "Over `serve`"}
FEATURES: Final = {
    "answer": r"The capital of France is Paris\.",
    "stream": r"[2-9]\d* parts: The capital of France is Paris\.",
    "tools": r".*sunny in Paris",
    "structured output": r".*Paris.*2100000",
    "partial output": r".*Paris.*2100000",
    "optimization": r".*capital",
    "edits": r".*sunny in Paris",
    "thinking": r"Think of the map\.$",
}
_COLUMNS: Final = ("client", "version", "to type", "works", "remarks")
_LIMIT_S: Final = 300


class ClientFailed(Exception):
    """A client could not be installed, or did not do what its program says. The message says what went wrong."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Client:
    """The header of one program.

    `type` is the line that a user types, and is in the program. `works` are keys of `FEATURES`. `version_of` is the
    package whose version the table shows, of PyPI or npm. `settings` are the environment variables that the client
    needs: the program's in process, the server's otherwise. It must fail without them.
    """

    program: Path
    name: str
    way: str
    type: str
    works: tuple[str, ...]
    version_of: str
    python: tuple[str, ...] = ()
    npm: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    remarks: str = ""

    @property
    def slug(self) -> str:
        return self.program.stem.removeprefix("use_")

    @property
    def environment(self) -> Path:
        return ENVIRONMENTS / self.slug

    def row(self, version: str) -> str:
        """Return the client's row in the table of the page."""
        link = f"[{self.name}](../{self.program.relative_to(ROOT)})"
        settings = ", ".join(f"`{name}={value}`" for name, value in self.settings.items())
        remarks = ". ".join(each for each in (settings and f"needs {settings}", self.remarks) if each)
        typed = self.type.replace("|", "\\|")
        return f"| {link} | {version} | `{typed}` | {', '.join(self.works)} | {remarks} |"


def clients() -> list[Client]:
    """Return the clients of all programs, by name."""
    return [read(program) for program in sorted(PROGRAMS.glob("use_*"))]


def read(program: Path) -> Client:
    """Return the client of a program, from its header. The header's lines begin with `#`, or `//` in JavaScript."""
    found = re.search(r"^(#|//) /// script\n((?:\1.*\n)+?)\1 ///$", program.read_text(), re.MULTILINE)
    if not found:
        raise ClientFailed(f"{program.name} has no header")
    header = tomllib.loads(re.sub(r"^(#|//) ?", "", found[2], flags=re.MULTILINE))
    told = dict(header["tool"]["client"])
    told["works"], told["npm"] = tuple(told["works"]), tuple(told.get("npm", ()))
    return Client(program=program, python=tuple(header.get("dependencies", ())), **told)


def main() -> int:
    """Run the clients that were asked for, print the table, and return the exit code."""
    parser = argparse.ArgumentParser(description="Run frameworks and clients on claude_code/ and scripted answers.")
    parser.add_argument("names", nargs="*", help="clients to run, such as instructor; all by default")
    parser.add_argument("--write", action="store_true", help="put the rows that passed into docs/clients.md")
    parser.add_argument("--keep", action="store_true", help="keep the environments, and use those that were kept")
    asked = parser.parse_args()
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    known = {client.slug: client for client in clients()}
    if unknown := set(asked.names) - set(known):
        print(f"No such client: {', '.join(sorted(unknown))}. There are: {', '.join(known)}.", file=sys.stderr)
        return 2
    chosen = [known[name] for name in asked.names or known]
    rows: dict[Client, str] = {}
    with Bench() as bench:
        for client in chosen:
            if row := row_if_it_works(bench, client, keep=asked.keep):
                rows[client] = row
                if asked.write:
                    PAGE.write_text(with_rows(PAGE.read_text(), {client: row}))
    report(rows)
    failed = [client.name for client in chosen if client not in rows]
    if failed:
        print(f"\nFailed: {', '.join(failed)}.")
    return 1 if failed else 0


def row_if_it_works(bench: Bench, client: Client, *, keep: bool) -> str | None:
    """Return the row of a client. If it fails, print why, and return None."""
    try:
        return client.row(bench.version_if_it_works(client, keep=keep))
    except ClientFailed as error:
        print(f"FAILED {client.name}: {error}", file=sys.stderr, flush=True)
        return None


class Bench:
    """The stand-in, and the servers over it: one for each set of settings, started when a client needs it."""

    def __enter__(self) -> Bench:
        from litellm_claude_code.testing import StandIn

        (ENVIRONMENTS / "cache").mkdir(parents=True, exist_ok=True)
        self._open = ExitStack()
        self._stand_in = self._open.enter_context(StandIn(respond=respond))
        self._servers: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def version_if_it_works(self, client: Client, *, keep: bool) -> str:
        """Install and run one client; return its version. Raises `ClientFailed`."""
        started = time.monotonic()
        try:
            if not (keep and client.environment.exists()):
                install(client)
            self._check(client)
            version = version_of(client)
        finally:
            if not keep:
                shutil.rmtree(client.environment, ignore_errors=True)
        say(f"{client.name} {version}: {', '.join(client.works)} ({time.monotonic() - started:.0f} s)")
        return version

    def _check(self, client: Client) -> None:
        """Run a client, and once more without its settings to see that it needs them. Raises `ClientFailed`."""
        check(client, self._run(client))
        if client.settings:
            without = dataclasses.replace(client, settings={})
            try:
                check(without, self._run(without))
            except ClientFailed:
                return
            raise ClientFailed(f"it works without {', '.join(client.settings)}: remove `settings` from its header")

    def _run(self, client: Client) -> str:
        """Run the program in a folder and a home of its own; return its stdout."""
        # In the environment, because Node looks for packages next to the program.
        program = shutil.copy(client.program, client.environment)
        home = client.environment / "home"
        shutil.rmtree(home, ignore_errors=True)
        (home / "work").mkdir(parents=True)
        # Our own cache is shared, because it remembers the self-check of a CLI. Others would remember answers.
        (home / ".cache").mkdir()
        (home / ".cache" / "litellm_claude_code").symlink_to(ENVIRONMENTS / "cache", target_is_directory=True)
        env = self._environment(client) | {
            "HOME": str(home),
            "PATH": f"{client.environment / 'bin'}:{client.environment / 'node_modules/.bin'}:{os.environ['PATH']}",
        }
        command = {".py": str(client.environment / "bin/python"), ".mjs": "node", ".sh": "bash"}[client.program.suffix]
        before = len(self._stand_in.requests)
        try:
            ran = subprocess.run(
                [command, str(program)],
                cwd=home / "work",
                env=env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=_LIMIT_S,
            )
        except subprocess.TimeoutExpired as error:
            raise ClientFailed(f"no end within {_LIMIT_S} s:\n{last_lines(error.stdout)}") from None
        if ran.returncode != 0:
            raise ClientFailed(f"exit code {ran.returncode}:\n{last_lines(ran.stdout)}\n{last_lines(ran.stderr)}")
        if len(self._stand_in.requests) == before:
            raise ClientFailed(f"it made no request:\n{last_lines(ran.stdout)}\n{last_lines(ran.stderr)}")
        return ran.stdout

    def _environment(self, client: Client) -> dict[str, str]:
        """Return the variables for a program: nothing of the user's own but what a program needs to run at all."""
        passed = ("LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
        env = {name: os.environ[name] for name in passed if name in os.environ}
        env["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
        if client.way == "in-process":
            stand_in = {"ANTHROPIC_BASE_URL": self._stand_in.base_url, "ANTHROPIC_AUTH_TOKEN": self._stand_in.api_key}
            return {**env, **stand_in, **client.settings}
        return {**env, **self._served(client.settings)}

    def _served(self, settings: Mapping[str, str]) -> dict[str, str]:
        """Return the variables that lead a client to the server with these settings. Starts it if need be."""
        key = tuple(sorted(settings.items()))
        if key not in self._servers:
            self._servers[key] = self._open.enter_context(
                serving(
                    {"ANTHROPIC_BASE_URL": self._stand_in.base_url, "ANTHROPIC_AUTH_TOKEN": self._stand_in.api_key},
                    settings,
                )
            )
        return self._servers[key]


@contextmanager
def serving(stand_in: Mapping[str, str], settings: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Run `litellm-claude-code serve`, and yield the variables that clients of OpenAI and Anthropic read."""
    say("starting serve" + "".join(f" {name}={value}" for name, value in settings.items()))
    key = f"sk-{secrets.token_hex(16)}"
    log = ENVIRONMENTS / f"serve-{len(settings)}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "litellm-claude-code"), "serve", "--port", "0"],
            env={**os.environ, **stand_in, **settings, "LITELLM_MASTER_KEY": key, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        url = address(process, log)
        yield {
            "OPENAI_BASE_URL": f"{url}/v1",
            "OPENAI_API_KEY": key,
            "ANTHROPIC_BASE_URL": url,
            "ANTHROPIC_API_KEY": key,
        }
    finally:
        process.terminate()
        process.wait()


def address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until a server answers, and return its address. Raises `ClientFailed` if it ends before that."""
    while process.poll() is None:
        if found := re.search(r"http://[\d.]+:\d+", log.read_text()):
            try:
                with urllib.request.urlopen(f"{found[0]}/health/readiness"):
                    return found[0]
            except OSError:
                pass
        time.sleep(0.2)
    raise ClientFailed(f"serve did not start:\n{last_lines(log.read_text())}")


def install(client: Client) -> None:
    """Build the client's environment from the registries."""
    say(f"installing {client.name}")
    shutil.rmtree(client.environment, ignore_errors=True)
    client.environment.mkdir(parents=True)
    if client.python:
        uv = str(Path(sys.executable).parent / "uv")
        need([uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(client.environment)])
        packages = list(client.python)
        if client.way == "in-process":
            packages += ["--editable", str(ROOT)]
        # A compromised release (pyproject.toml), which a client that pins nothing might get.
        (client.environment / "constraints.txt").write_text("litellm!=1.107.*\n")
        into = ["--python", str(client.environment / "bin/python"), "-c", str(client.environment / "constraints.txt")]
        need([uv, "pip", "install", "--quiet", *into, *packages])
    if client.npm:
        need(["npm", "install", "--silent", "--no-save", "--prefix", str(client.environment), *client.npm])


def version_of(client: Client) -> str:
    """Return the version that is installed of the package that names the client."""
    package = client.environment / "node_modules" / client.version_of / "package.json"
    if package.is_file():
        return str(json.loads(package.read_text())["version"])
    asked = f"from importlib.metadata import version; print(version({client.version_of!r}))"
    return need([str(client.environment / "bin/python"), "-c", asked]).stdout.strip()


def check(client: Client, printed: str) -> None:
    """Raise `ClientFailed` if a program did not print what each of its features must."""
    for feature in client.works:
        if not re.search(rf"^{feature}: {FEATURES[feature]}", printed, re.MULTILINE):
            raise ClientFailed(f"no line like '{feature}: {FEATURES[feature]}' in:\n{last_lines(printed)}")


def respond(request: Any) -> Any:
    """Be the model: call the tool that the question is about, fill in a schema, or name the capital of France."""
    from litellm_claude_code.testing import Thinking, ToolUse, answer

    body = request.body
    if "output_config" in body and "format" in body["output_config"]:
        return CITY_JSON
    last = list(takewhile(lambda message: message["role"] != "assistant", reversed(body["messages"])))
    contents = [message["content"] for message in last]
    blocks = [block for content in contents if isinstance(content, list) for block in content]
    tools = {tool["name"]: tool for tool in body.get("tools", ())}
    texts = [content for content in contents if isinstance(content, str)]
    text = " ".join([*texts, *(block["text"] for block in blocks if block["type"] == "text")])
    forced = body.get("tool_choice", {}).get("name")
    if "<IMPROVED_VARIABLE>" in json.dumps(body.get("system", "")):  # TextGrad's optimizer
        return "<IMPROVED_VARIABLE>The capital of France is Paris.</IMPROVED_VARIABLE>"
    if "weather.txt" in text:  # an edit, as aider asks for it
        return "weather.txt\n```\nsunny in Paris\n```\n"
    if "new instruction" in text:  # GEPA's reflection
        return "```\nName the capital of the country.\n```"
    if "Italy" in text and "capital" in json.dumps(body.get("system", "")):
        return "The capital of Italy is Rome."
    if "sunny in" in json.dumps(last):
        said = "It is sunny in Paris."
    elif name := forced or tool_for(text, tools):
        return answer(ToolUse(name, argument_for(tools[name])))
    else:
        said = "The capital of France is Paris."
    if "final_answer" in tools:  # smolagents ends with it
        return answer(ToolUse("final_answer", {"answer": said}))
    if body.get("thinking", {}).get("type", "disabled") != "disabled":
        return answer(Thinking("Think of the map."), said)
    return said


CITY: Final = {"name": "Paris", "population": 2100000}
CITY_JSON: Final = json.dumps(CITY)


def tool_for(text: str, tools: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Return the tool that a question asks for: one about the weather, a city, or a command."""
    for name, tool in tools.items():
        properties = tool.get("input_schema", {}).get("properties", {})
        if set(CITY) <= set(properties):
            return name
        if "weather" in name and "weather" in text:
            return name
        if "echo sunny" in text and {"command", "cmd"} & set(properties):
            return name
    return None


def argument_for(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call: a city with its population, a command, or the name of a city."""
    properties = tool["input_schema"].get("properties", {})
    if set(CITY) <= set(properties):
        return dict(CITY)
    for name in ("command", "cmd"):
        if name in properties:
            # Its output is not in its text: a client that only says what it would run does not pass.
            command = ["printf", "sun%s", "ny in Paris"]
            return {name: command if properties[name].get("type") == "array" else shlex.join(command)}
    return {"city": "Paris"}


def with_rows(page: str, rows: Mapping[Client, str]) -> str:
    """Return the page with these rows in the table of their way, in the order of the names."""
    for client, row in rows.items():
        head, table, rest = split_at_table(page, client.way)
        mark = row.split("|")[1]
        lines = sorted([*(line for line in table if line.split("|")[1] != mark), row], key=str.casefold)
        page = head + "".join(f"{line}\n" for line in lines) + rest
    return page


def split_at_table(page: str, way: str) -> tuple[str, list[str], str]:
    """Return the page up to the first row of a way's table, its rows, and the rest."""
    found = re.search(rf"^## {re.escape(WAYS[way])}\n.*?^\|[-|]+\|\n", page, re.MULTILINE | re.DOTALL)
    if not found:
        raise ValueError(f"{PAGE.name} has no table under {WAYS[way]!r}")
    rows = re.match(r"(?:\|.*\n)*", page[found.end() :])
    assert rows is not None
    return page[: found.end()], rows[0].splitlines(), page[found.end() + rows.end() :]


def report(rows: Mapping[Client, str]) -> None:
    """Print the tables as the page has them."""
    for way, heading in WAYS.items():
        if of_this_way := [row for client, row in rows.items() if client.way == way]:
            print(f"\n{heading}\n\n| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}")
            print("\n".join(sorted(of_this_way, key=str.casefold)))


def need(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command. Raises `ClientFailed` with its last lines if it fails."""
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise ClientFailed(f"`{' '.join(command)[:200]}` failed:\n{last_lines(ran.stdout + ran.stderr)}")
    return ran


def last_lines(text: str | bytes | None) -> str:
    """Return the end of what a program printed."""
    said = text.decode(errors="replace") if isinstance(text, bytes) else text or ""
    return "\n".join(line[:400] for line in said.strip().splitlines()[-15:])


def say(what: str) -> None:
    """Print a line of progress."""
    print(f"==> {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
