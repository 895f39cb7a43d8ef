"""`litellm-claude-code`: its output, and its exit codes."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import litellm
import pytest
from typer.testing import CliRunner, Result

import litellm_claude_code
from litellm_claude_code.models import ALIASES
from litellm_claude_code.testing import Answer, Failure, StandIn, Text, answer
from litellm_claude_code_cli import checkup, provider
from litellm_claude_code_cli.app import app
from litellm_claude_code_cli.ask import ask
from litellm_claude_code_cli.exits import ExitCode

from .support.anthropic_host import AnthropicHost
from .support.limits import usage
from .support.processes import RUN_COMMAND
from .support.requests import PIXEL
from .support.scripts import Forker, remember_check
from .support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("quiet_again")


def run(*arguments: str | Path, stdin: str | bytes = "") -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)


def assert_told(result: Result, code: ExitCode, told: str) -> None:
    """The command ended in `code` and said why, in one line on stderr."""
    assert result.exit_code == code, result.stderr
    assert re.fullmatch(f"litellm-claude-code: .*{told}.*\n", result.stderr)


@pytest.mark.parametrize("how", ["--stream", "--no-stream"])
def test_ask_prints_the_answer_and_nothing_else(gateway: StandIn, how: str) -> None:
    gateway.script("The capital of France\nis Paris.")
    result = run("ask", "Capital of France?", how, "-s", "Be brief.", "--max-tokens", "99", "-m", "claude_code/haiku")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "The capital of France\nis Paris.\n", "")
    body = gateway.requests[0].body
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Capital of France?"}]}]
    assert (body["model"], body["max_tokens"], body["system"][-1]["text"]) == ("claude-haiku-5-5", 99, "Be brief.")


@pytest.mark.parametrize(
    ("arguments", "stdin", "asked"),
    [
        (["Translate."], "one\ntwo\n", "Translate.\n\none\ntwo\n"),
        (["-"], "one\n", "one\n"),
        ([], "one\n", "one\n"),
        (["Why?"], "", "Why?"),
        (["Why?"], " \n", "Why?"),
    ],
)
def test_what_is_piped_in_belongs_to_the_question(
    gateway: StandIn, arguments: list[str], stdin: str, asked: str
) -> None:
    assert run("ask", *arguments, stdin=stdin).exit_code == 0
    assert gateway.requests[0].body["messages"][0]["content"] == [{"type": "text", "text": asked}]


def test_images_stand_before_the_question(gateway: StandIn, tmp_path: Path) -> None:
    (tmp_path / "dot.png").write_bytes(base64.b64decode(PIXEL))
    assert run("ask", "What is it?", "--image", tmp_path / "dot.png").exit_code == 0
    image, question = gateway.requests[0].body["messages"][0]["content"]
    assert image["source"]["data"] == PIXEL
    assert question["text"] == "What is it?"


def test_usage_goes_to_stderr(gateway: StandIn) -> None:
    gateway.script("Hello!")
    result = run("ask", "Hello?", "--usage")
    assert result.stdout == "Hello!\n"
    assert re.fullmatch(r"claude-sonnet-5-5: \d+ tokens in, \d+ out, \$0\.\d+ at API prices\n", result.stderr)


@pytest.mark.parametrize(
    ("said", "code", "told"),
    [
        ('{"city": "Paris"}', ExitCode.OK, None),
        ('{"city": 75}', ExitCode.INCOMPLETE, r"does not match the schema at \$\.city"),
        ("Paris!", ExitCode.INCOMPLETE, "not JSON"),
    ],
)
def test_an_answer_of_a_schema_is_checked(
    gateway: StandIn, tmp_path: Path, said: str, code: ExitCode, told: str | None
) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    (tmp_path / "city.json").write_text(json.dumps(schema))
    gateway.script(said)
    result = run("ask", "Capital of France?", "--json-schema", tmp_path / "city.json")
    assert result.stdout == f"{said}\n"
    assert gateway.requests[0].body["output_config"]["format"]["schema"]["properties"] == schema["properties"]
    assert result.exit_code == code
    if told:
        assert_told(result, code, told)


FAILURES: dict[str, tuple[Answer | Failure, ExitCode, str]] = {
    "a rejected key": (Failure(401, message="bad key"), ExitCode.NOBODY_PAYS, "401: bad key"),
    "a forbidden model": (Failure(403, message="not yours"), ExitCode.NOBODY_PAYS, "403 not yours"),
    "no credit": (
        Failure(400, message="Your credit balance is too low to access the Anthropic API."),
        ExitCode.NOBODY_PAYS,
        "Credit balance is too low",
    ),
    "a rate limit": (Failure(429, message="slow down"), ExitCode.LIMIT, "slow down"),
    "a bad request": (Failure(400, message="no such thing"), ExitCode.REFUSED, "no such thing"),
    "an overloaded service": (Failure(529), ExitCode.UNAVAILABLE, "529"),
    "an answer cut off": (Answer(content=[Text("word " * 20)], cut_after=6), ExitCode.UNAVAILABLE, "lost"),
    "an error in the stream": (
        Answer(content=[Text("word " * 20)], error_after=(6, Failure(529))),
        ExitCode.UNAVAILABLE,
        "fails this request on purpose|overloaded|Overloaded",
    ),
    "an answer too late": (Answer(content=[Text("late")], delay_s=30), ExitCode.TIMEOUT, "timeout of 1 s"),
    "a refusal": (answer("I cannot.", stop_reason="refusal"), ExitCode.REFUSED, "declined"),
    "a long answer": (answer("and then", stop_reason="max_tokens"), ExitCode.INCOMPLETE, "--max-tokens"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_script_can_tell_failures_apart(gateway: StandIn, name: str) -> None:
    reply, code, told = FAILURES[name]
    litellm_claude_code.warm_up("sonnet", "")
    gateway.script(reply)
    assert_told(run("ask", "Hello?", *(["--timeout", "1"] if code is ExitCode.TIMEOUT else [])), code, f"({told})")
    assert len(gateway.requests) <= 1


def test_the_error_for_a_reached_limit_says_when_it_resets(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", stand_in.base_url)
    monkeypatch.setenv("LITELLM_CLAUDE_CODE_SEND_LOGIN_TO", stand_in.base_url)
    monkeypatch.setenv("CLAUDE_CODE_OAUTH_TOKEN", str(stand_in.api_key))
    name = "anthropic-ratelimit-unified-"
    reached = {"status": "rejected", "reset": str(int(time.time()) + 3600), "representative-claim": "five_hour"}
    stand_in.script(Failure(429, headers={f"{name}{key}": value for key, value in reached.items()}))
    result = run("ask", "Hello?")
    litellm_claude_code.close()
    assert_told(result, ExitCode.LIMIT, r"5-hour limit .* resets (on [\d-]+ )?at \d\d:\d\d \(in (1 h|60 min)\)")


def test_the_error_for_a_missing_login_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
    assert_told(run("ask", "Hello?"), ExitCode.NOBODY_PAYS, "ANTHROPIC_BASE_URL names .* ANTHROPIC_AUTH_TOKEN")


def test_a_model_of_another_family_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert_told(run("ask", "Hello?", "-m", "gpt-4o"), ExitCode.REFUSED, "no model 'gpt-4o'")


def test_wrong_arguments_are_refused_before_anything_is_sent(gateway: StandIn, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no JSON")
    (tmp_path / "list.json").write_text("[]")
    misuses: list[tuple[list[str | Path], str]] = [
        (["ask"], "there is no question"),
        (["ask", "-"], "there is no question"),
        (["ask", "Hello?", "--image", tmp_path / "notes.txt"], "is not an image"),
        (["ask", "Hello?", "--image", tmp_path / "none.png"], "does not exist"),
        (["ask", "Hello?", "--json-schema", tmp_path / "notes.txt"], "is not JSON"),
        (["ask", "Hello?", "--json-schema", tmp_path / "list.json"], "must contain a JSON object"),
        (["ask", "two", "words"], "unexpected extra argument"),
        (["answer"], "No such command"),
        (["run"], "Missing argument"),
    ]
    for arguments, told in misuses:
        result = run(*arguments)
        assert result.exit_code == ExitCode.USAGE
        assert told in re.sub(r"[\s│]+", " ", result.stderr), result.stderr
    assert run("ask", stdin=b"\xff\xfe").exit_code == ExitCode.USAGE
    assert gateway.requests == []


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def test_the_wait_for_a_first_check_is_explained_on_a_terminal_only(
    gateway: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(stderr: io.TextIOWrapper) -> str:
        litellm_claude_code.close()
        stdout = io.TextIOWrapper(io.BytesIO())
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr), contextlib.suppress(SystemExit):
            ask("Hello?", stream=False, timeout_s=60, model="sonnet")
        stderr.flush()
        assert isinstance(stderr.buffer, io.BytesIO)
        return stderr.buffer.getvalue().decode()

    monkeypatch.setattr(sys, "stdin", None)
    assert told(Terminal(io.BytesIO())) == ""  # this CLI was checked before
    assert len(gateway.requests) == 1
    for name in ("new", "newer"):  # of which the check is over at once
        (tmp_path / name).write_text("#!/bin/sh\nexit 3\n")
        (tmp_path / name).chmod(0o700)
    monkeypatch.setenv("LITELLM_CLAUDE_CODE_CLI_PATH", str(tmp_path / "new"))
    announced, *failed = told(Terminal(io.BytesIO())).splitlines()
    assert announced.startswith("Testing this version of Claude Code on loopback, once.")
    monkeypatch.setenv("LITELLM_CLAUDE_CODE_CLI_PATH", str(tmp_path / "newer"))
    assert told(io.TextIOWrapper(io.BytesIO())).replace("newer", "new").splitlines() == failed
    litellm_claude_code.close()


def test_an_answer_cannot_steer_the_terminal(gateway: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)  # as in a process without one
    gateway.script("\x1b[31mred\x07\r\n\té")
    seen = io.BytesIO()
    with contextlib.redirect_stdout(Terminal(seen, encoding="utf-8", newline="")):
        ask("Hello?", stream=False, timeout_s=60, model="sonnet")
        assert seen.getvalue().decode() == "[31mred\n\té\n"


def test_a_stand_in_that_cannot_listen_says_so(stand_in: StandIn) -> None:
    port = stand_in.base_url.rpartition(":")[2]
    assert_told(run("stand-in", "--port", port), ExitCode.UNEXPECTED, f"127.0.0.1:{port}.* in use")


def test_models_shows_what_names_stand_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_DEFAULT_OPUS_MODEL", "claude-opus-4-8")
    every = {model["name"]: model for model in json.loads(run("models", "--json").stdout)}
    listed = {name: model for name, model in every.items() if "@" not in name}
    assert listed["claude_code/opus"]["model"] == "claude-opus-4-8"
    haiku = listed["claude_code/haiku"]
    info = litellm.get_model_info("claude_code/haiku")
    assert haiku["context_tokens"] == info["max_input_tokens"]
    assert info["input_cost_per_token"] is not None
    assert haiku["usd_in"] == pytest.approx(info["input_cost_per_token"] * 1e6)
    assert {"tools", "images", "schema"} <= set(haiku["capabilities"])
    assert "temperature" not in haiku["capabilities"]
    assert "temperature" in listed["claude_code/claude-haiku-4-5"]["capabilities"]

    table = run("models").stdout
    assert re.search(r"^haiku → claude-haiku-5-5 +1000k +128k +0\.10 +0\.50", table, re.MULTILINE)
    assert set(re.findall(r"^(\S+)(?: →| +\d)", table, re.MULTILINE)) == {
        name.removeprefix("claude_code/") for name in listed
    }


@pytest.mark.processes
def test_models_lists_the_agents(forks: Forker, tmp_path: Path) -> None:
    (tmp_path / "profiles.toml").write_text('[reader]\ntools = ["Read"]\n[writer]\ntools = ["Write"]\n')
    both = "from litellm_claude_code_cli.app import app; app(['models', '--json'], standalone_mode=False); app()"
    profiles = str(tmp_path / "profiles.toml")
    told, _ = forks.start(both, "models", home=tmp_path, LITELLM_CLAUDE_CODE_PROFILES=profiles).wait()
    listed, end = json.JSONDecoder().raw_decode(told)
    agent = next(model for model in listed if model["name"] == "claude_code/haiku@writer")
    assert (agent["model"], "tools" in agent["capabilities"]) == ("claude-haiku-5-5", False)
    assert told[end:].endswith("Agents: reader, writer. Each works with any model, as in sonnet@reader.\n")


@pytest.mark.processes
def test_claude_runs_the_bundled_cli(forks: Forker, tmp_path: Path) -> None:
    """The SDK's, or the one that a setting names."""
    arguments = ("claude", "setup-token", "--help")
    ran = forks.start(RUN_COMMAND, *arguments, home=tmp_path)
    out, errors = ran.wait()
    assert (ran.program.wait(), errors) == (0, "")
    assert "claude setup-token" in out
    (tmp_path / "claude").write_text('#!/bin/sh\necho "another $*"; exit 7\n')
    (tmp_path / "claude").chmod(0o700)
    ran = forks.start(RUN_COMMAND, *arguments, home=tmp_path, LITELLM_CLAUDE_CODE_CLI_PATH=str(tmp_path / "claude"))
    assert (*ran.wait(), ran.program.wait()) == ("another setup-token --help\n", "", 7)


def test_a_cli_path_without_a_program_is_an_error_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes").write_text("no program")
    for path, wrong in [("/nope", "no such file"), (tmp_path / "notes", "not a program"), (tmp_path, "not a program")]:
        litellm_claude_code.close()
        monkeypatch.setenv("LITELLM_CLAUDE_CODE_CLI_PATH", str(path))
        told = f"LITELLM_CLAUDE_CODE_CLI_PATH={path}: {wrong}"
        assert_told(run("ask", "Hello?"), ExitCode.REFUSED, told)
        assert_told(run("claude"), ExitCode.USAGE, told)
        found = findings(run("doctor", "--offline", "--json"))
        assert (list(found), found["settings"]["verdict"]) == (["versions", "settings"], "bad")
        assert found["settings"]["sentences"][0].startswith(told)


def findings(result: Result) -> dict[str, Any]:
    told = json.loads(result.stdout)
    assert told["is_healthy"] == (result.exit_code == 0)
    return {finding["about"]: finding for finding in told["findings"]}


def test_a_healthy_offline_doctor_needs_no_login_and_sends_no_request(stand_in: StandIn) -> None:
    result = run("doctor", "--offline", "--json")
    assert result.exit_code == 0, result.output
    found = findings(result)
    assert found["cli"]["data"]["problems"] == []
    assert (found["cli"]["verdict"], found["versions"]["verdict"]) == ("good", "good")
    assert found["overhead"]["data"]["warm_ms"] > 0
    assert 0 < found["overhead"]["data"]["tokens"] < 100
    assert {about for about, finding in found.items() if finding["verdict"] == "skipped"} == {"login", "limits", "call"}
    assert found["settings"]["data"]["spare_workers"] == 0
    assert stand_in.requests == []


def test_a_doctor_takes_newer_versions_as_good_and_a_compromised_one_as_bad(
    stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "litellm-1.199.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: litellm\nVersion: 1.199.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    newer = checkup._versions()
    assert (newer.verdict, newer.data["litellm"]) == ("good", "1.199.0")
    assert "litellm 1.199.0 is newer than the last tested version" in " ".join(newer.sentences)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: litellm\nVersion: 1.107.0\n")
    bad = checkup._versions()
    assert bad.verdict == "bad"
    assert "litellm 1.107.0 was a compromised release" in " ".join(bad.sentences)


@pytest.mark.usefixtures("one_self_check")
def test_a_healthy_doctor_prints_one_tick_and_who_pays(gateway: StandIn) -> None:
    result = run("doctor")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "✓ Everything works (checked: versions, cli, login, overhead, call, settings).\n"
        f"    The gateway at {gateway.base_url} pays (from ANTHROPIC_AUTH_TOKEN): its operator sets the prices.\n"
    )


@pytest.mark.usefixtures("one_self_check")
def test_a_doctor_notices_a_login_that_the_service_refuses_and_prints_the_details_of_the_problem_only(
    gateway: StandIn,
) -> None:
    gateway.script(Failure(401, message="expired"))
    result = run("doctor")
    assert result.exit_code == ExitCode.UNEXPECTED
    problem, sentence, *rest = result.stdout.splitlines()
    assert problem == "✗ Call"
    assert "expired" in sentence
    assert rest == ["✓ No problem with: versions, cli, login, overhead, settings."]


@pytest.mark.usefixtures("one_self_check")
def test_a_doctor_says_who_pays_and_makes_one_model_request(gateway: StandIn) -> None:
    result = run("doctor", "--verbose")
    assert result.exit_code == 0, result.output
    titles = re.findall(r"^[✓!✗-] (.*)$", result.stdout, re.MULTILINE)
    assert [title.split(" (")[0] for title in titles] == [
        "Installed",
        "Claude Code",
        "Who pays",
        "Limits",
        "Overhead",
        "Call",
        "Settings",
    ]
    assert f"The gateway at {gateway.base_url} pays (from ANTHROPIC_AUTH_TOKEN)" in result.stdout
    assert "claude-haiku-5-5 answered in" in result.stdout
    assert "SPARE_WORKERS=0  (from the environment)" in result.stdout
    assert len(gateway.requests) == 1


@pytest.mark.usefixtures("one_self_check")
def test_a_doctor_shows_the_limits_of_a_subscription(default_endpoint: AnthropicHost, stand_in: StandIn) -> None:
    default_endpoint.usage = usage(42)
    result = run("doctor", "--no-call", "--verbose")
    assert result.exit_code == 0, result.output
    assert re.search(
        r"A Claude subscription pays \(ada@example.org, Ada Ltd, plan max.*, from .*\.json\)", result.stdout
    )
    assert re.search(r"5-hour limit: 42% used, resets (on [\d-]+ )?at \d\d:\d\d", result.stdout)
    assert "weekly limit: 30% used" in result.stdout
    assert stand_in.requests == []


@pytest.mark.processes
@pytest.mark.usefixtures("one_self_check")
def test_a_doctor_notices_a_missing_login() -> None:
    found = findings(run("doctor", "--json"))
    assert found["login"]["verdict"] == "bad"
    assert "litellm-claude-code claude auth login" in " ".join(found["login"]["sentences"])
    assert found["call"]["verdict"] == "skipped"


@pytest.mark.processes
def test_a_doctor_notices_an_invalid_setting_and_a_cli_that_is_not_claude_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_CLAUDE_CODE_MAX_WORKERS", "many")
    found = findings(run("doctor", "--offline", "--json"))
    assert "LITELLM_CLAUDE_CODE_MAX_WORKERS is not valid" in found["settings"]["sentences"][0]
    monkeypatch.delenv("LITELLM_CLAUDE_CODE_MAX_WORKERS")
    litellm_claude_code.close()
    monkeypatch.setenv("LITELLM_CLAUDE_CODE_CLI_PATH", "/bin/false")
    found = findings(run("doctor", "--offline", "--json"))
    litellm_claude_code.close()
    assert found["cli"]["verdict"] == "bad"
    assert found["overhead"]["verdict"] == "bad"


@pytest.mark.processes
def test_help_completion_and_version_do_not_wait_for_litellm() -> None:
    code = """
import sys
from typer.testing import CliRunner
from litellm_claude_code_cli.app import app
commands = [command.name or command.callback.__name__ for command in app.registered_commands]
for arguments in [["--version"], ["--help"], *([command, "--help"] for command in commands), ["ask"]]:
    assert CliRunner().invoke(app, arguments).exit_code in (0, 2), arguments
assert not {"litellm", "litellm_claude_code", "claude_agent_sdk"} & set(sys.modules)
print(*commands)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ran.stderr == ""
    assert {"ask", "models", "doctor", "run", "serve", "stand-in"} <= set(ran.stdout.split())


def test_shell_completion_offers_all_aliases() -> None:
    assert set(provider.ALIASES) == set(ALIASES)
    assert provider.complete_model("o") == ["opus", "opusplan"]


def test_demo_says_where_the_demo_is() -> None:
    result = run("demo", "--live", "--budget", "80")
    assert result.exit_code == ExitCode.USAGE
    assert "`make demo` in a checkout" in result.stderr
    assert " demo " not in run("--help").stdout


@pytest.mark.processes
def test_the_command_has_three_names(forks: Forker, tmp_path: Path) -> None:
    as_a_module = "import runpy; runpy.run_module('litellm_claude_code', run_name='__main__', alter_sys=True)"
    out, errors = forks.start(as_a_module, "--version", home=tmp_path).wait()
    assert re.fullmatch(r"litellm-claude-code \d+\.\d+\.\d+\n", out), errors


def test_it_ends_quietly_if_its_output_is_no_longer_read(
    gateway: StandIn, forks: Forker, checked_cli: Path, tmp_path: Path
) -> None:
    gateway.script(Answer(content=[Text("word " * 400)], between_s=0.05))
    remember_check(checked_cli, tmp_path / "cache")
    os.mkfifo(tmp_path / "read")
    piped = f"import os; os.dup2(os.open({str(tmp_path / 'read')!r}, os.O_WRONLY), 1); "
    asking = forks.start(f"{piped}{RUN_COMMAND}", "ask", "Hello?", home=tmp_path)
    with (tmp_path / "read").open("rb", buffering=0) as reading:
        reading.read(10)
    assert asking.wait()[1] == ""
    assert asking.program.wait() == ExitCode.NOBODY_READS


def test_ctrl_c_ends_it_with_130_and_stops_the_request(
    gateway: StandIn, forks: Forker, checked_cli: Path, tmp_path: Path
) -> None:
    gateway.script(Answer(content=[Text("word " * 4000)], between_s=0.05))
    remember_check(checked_cli, tmp_path / "cache")
    interruptible = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    asking = forks.start(f"{interruptible}{RUN_COMMAND}", "ask", "Hello?", home=tmp_path)
    wait_until(lambda: len((tmp_path / "out").read_text()) >= 10, (tmp_path / "errors").read_text)
    os.killpg(asking.pid, signal.SIGINT)  # as a terminal does
    assert asking.wait()[1] == ""
    assert asking.program.wait() == ExitCode.INTERRUPTED
    gateway.wait_for_disconnect()
