"""The self-check passes on the real CLI, and says what is wrong with one that does otherwise.

What a CLI does wrong is made real: by a script that starts the real one in another environment, without a flag, or
with its frames changed on the way, and by a policy in a mount namespace of its own. Such a test runs the checks that
notice it; others run all of them.
"""

import asyncio
import gc
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from litellm_claude_code.errors import CallFailed
from litellm_claude_code.install import find_cli
from litellm_claude_code.selfcheck import Report, ensure_checked, wire_checks
from litellm_claude_code.selfcheck.run import self_check
from litellm_claude_code.selfcheck.wire_checks import (
    CHECKS,
    Check,
    check_endings,
    check_failures,
    check_nothing_else,
    check_reset,
    check_rich_body,
    check_what_a_call_sets,
)
from litellm_claude_code.settings import Settings
from litellm_claude_code.tested_versions import CLI_BY_SDK
from litellm_claude_code.testing import StandIn

from .support.cli_frames import BETWEEN, INSTEAD, WITHOUT_FLAG
from .support.policy import POLICY_FILE, run_under_policy
from .support.processes import claude_processes
from .support.scripts import Forker
from .support.waiting import wait_until, wait_until_async

CLI = find_cli()
Script = Callable[..., Path]


@pytest.fixture(autouse=True)
def _no_process_is_left(one_stand_in: StandIn) -> Iterator[None]:  # whose end takes the tests' home folder away
    before = set(claude_processes())
    yield
    gc.collect()  # what was not closed warns here
    wait_until(lambda: not set(claude_processes()) - before)


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Write an executable that stands for the CLI."""

    def write(text: str, interpreter: str = "/bin/sh") -> Path:
        path = tmp_path / "claude"
        path.write_text(f"#!{interpreter}\n{text}\n")
        path.chmod(0o700)
        return path

    return write


def check(cli: Path, *checks: Check, **more: float) -> Report:
    """Run the given checks, or all."""
    return asyncio.run(self_check(Settings(cli_path=cli, **more), checks or CHECKS))  # type: ignore[arg-type]


def test_each_check_is_one_of_those_that_run_and_the_last_judges_the_traffic_of_all() -> None:
    assert set(CHECKS) == {value for name, value in vars(wire_checks).items() if name.startswith("check_")}
    assert CHECKS[:2] == (check_rich_body, check_reset)  # the second looks for what the first has said
    assert CHECKS[-1] is check_nothing_else


STARTED = "echo started >> {folder}/starts; [ -e {folder}/broken ] && exit 3"
"""The first line of a script that counts its starts in a file, and fails at once if there is the file `broken`."""


def starts(folder: Path) -> int:
    return (folder / "starts").read_text().count("started")


async def test_the_installed_cli_passes_once_for_all_callers_until_it_changes_without_a_login_or_a_proxy(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, "the-login")
    cli = script(f'{STARTED.format(folder=tmp_path)}\nenv >> {tmp_path}/seen\nexec {CLI} "$@"')
    names = [tmp_path / name for name in ("a", "b", "c")]  # another name is, to this process, another CLI
    for each in names:
        each.symlink_to(cli)
    leaving, *staying = (asyncio.create_task(ensure_checked(Settings(cli_path=names[0]))) for _ in range(5))
    await wait_until_async((tmp_path / "starts").exists)
    leaving.cancel()  # the check goes on for the other callers when one of them leaves
    await asyncio.gather(*staying)
    assert leaving.cancelled()
    assert starts(tmp_path) == 3
    assert "NO_PROXY=127.0.0.1" in (tmp_path / "seen").read_text()
    assert "the-login" not in (tmp_path / "seen").read_text()
    await ensure_checked(Settings(cli_path=names[0]))
    await ensure_checked(Settings(cli_path=names[1]))
    assert starts(tmp_path) == 3
    os.utime(cli, (1, 1))
    (tmp_path / "broken").touch()
    with pytest.raises(CallFailed, match="does not start"):
        await ensure_checked(Settings(cli_path=names[2]))
    assert starts(tmp_path) > 3


async def test_a_bad_result_is_raised_and_lasts_for_this_process_only(script: Script, tmp_path: Path) -> None:
    cli = script(f'{STARTED.format(folder=tmp_path)}\nunset CLAUDE_CODE_DISABLE_THINKING\nexec {CLI} "$@"')
    (tmp_path / "other").symlink_to(cli)
    for _ in range(2):
        with pytest.raises(CallFailed, match="CLAUDE_CODE_DISABLE_THINKING") as raised:
            await ensure_checked(Settings(cli_path=cli))
        assert raised.value.failure.kind == "self_check"
        assert starts(tmp_path) == 3
    (tmp_path / "broken").touch()
    with pytest.raises(CallFailed, match="does not start"):
        await ensure_checked(Settings(cli_path=tmp_path / "other"))
    assert starts(tmp_path) > 3


def test_a_good_report_says_nothing() -> None:
    assert Report(cli=CLI, cli_version="2.1.327", sdk_version="0.2.170").sentence() == ""


TRAFFIC = "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"
VARIABLES = {
    "CLAUDE_CODE_DISABLE_THINKING": ((check_reset,), "It sends `thinking`, which is not in the call: "),
    "CLAUDE_CODE_MAX_RETRIES": ((check_failures,), "It sends another request after an error 529: "),
    "CLAUDE_CODE_DISABLE_EXPERIMENTAL_BETAS": ((check_failures,), "It sends another request after an error 400: "),
    "CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK": (
        (check_failures,),
        "It sends another request after a stream that is cut off: ",
    ),
    TRAFFIC: ((check_reset, check_nothing_else), "It makes requests of its own (HEAD /api/hello): "),
}


@pytest.mark.parametrize("name", VARIABLES)
def test_a_variable_without_effect_is_named(script: Script, name: str) -> None:
    noticed_by, sentence = VARIABLES[name]
    report = check(script(f'unset {name}\nexec {CLI} "$@"'), *noticed_by)
    assert report.problems[0].startswith(f"{sentence}{name}")
    assert all(name in problem for problem in report.problems)
    assert all(problem in report.sentence() for problem in report.problems)
    assert f"pip install 'claude-agent-sdk=={list(CLI_BY_SDK)[-1]}'" in report.sentence()


def test_an_extra_request_for_a_title_is_noticed(script: Script) -> None:
    report = check(script(f'unset {TRAFFIC} CLAUDE_CODE_DISABLE_TERMINAL_TITLE\nexec {CLI} "$@"'), check_rich_body)
    assert report.problems[0].startswith("It makes a model request of its own: CLAUDE_CODE_DISABLE_TERMINAL_TITLE")


FLAGS = {
    "--max-budget-usd": (
        2,
        check_endings,
        "Its budget does not end the turn after an answer that ends at max_tokens: --max-budget-usd has no effect.",
    ),
    "--tools": (2, check_reset, "It sends `tools`, which is not in the call: --tools"),
    "--include-partial-messages": (
        1,
        check_rich_body,
        "It does not deliver all events of an answer: --include-partial-messages",
    ),
}


@pytest.mark.parametrize("flag", FLAGS)
def test_a_flag_without_effect_is_named(script: Script, flag: str) -> None:
    words, noticed_by, sentence = FLAGS[flag]
    report = check(script(WITHOUT_FLAG.format(flag=flag, words=words, cli=str(CLI)), sys.executable), noticed_by)
    assert report.problems[0].startswith(sentence)


# Passes frames on to the real CLI. A frame may be changed, or answered in its place.
STEPS = {
    "the body is dropped": (
        (check_rich_body,),
        "env.pop('CLAUDE_CODE_EXTRA_BODY', None)",
        "`max_tokens`, `messages`, `output_config`, `stop_sequences`, `thinking`, `tool_choice`, `tools` in its "
        "request differ from the call: CLAUDE_CODE_EXTRA_BODY has no effect.",
    ),
    "caching stays on": (
        (check_reset,),
        "if env.get('DISABLE_PROMPT_CACHING'): env['DISABLE_PROMPT_CACHING'] = ''",
        "It sets cache marks, although the call has none: DISABLE_PROMPT_CACHING",
    ),
    "caching stays off": (
        (check_what_a_call_sets,),
        "if 'DISABLE_PROMPT_CACHING' in env: env['DISABLE_PROMPT_CACHING'] = '1'",
        "It does not set the cache marks of the call: DISABLE_PROMPT_CACHING",
    ),
    "the effort is another": (
        (check_reset,),
        "if 'CLAUDE_CODE_EFFORT_LEVEL' in env: env['CLAUDE_CODE_EFFORT_LEVEL'] = 'high'",
        "It sends `output_config`, which is not in the call: CLAUDE_CODE_EFFORT_LEVEL has no effect.",
    ),
    "the model is dropped": (
        (check_what_a_call_sets,),
        "request.get('settings', {}).pop('model', None)",
        "It does not accept a request by `apply_flag_settings` and `set_model`: ",
    ),
    "the system prompt is dropped": (
        (check_reset,),
        "request.pop('system_prompt', None); request.pop('only_if_model_is_current', None)",
        "The system prompt does not arrive as written: --system-prompt-snapshot or `system_prompt` in `set_model` has "
        "no effect.",
    ),
    "the system prompt is refused": (
        (check_reset,),
        INSTEAD.format(when="subtype == 'set_model'", reply={"subtype": "error", "error": "unknown"}),
        "It does not accept a request by `apply_flag_settings` and `set_model`: ",
    ),
    "rewinding is claimed and not done": (
        (check_rich_body, check_reset),
        INSTEAD.format(
            when="subtype == 'rewind_conversation'", reply={"subtype": "success", "response": {"rewound": True}}
        ),
        "After a call, its own system blocks differ from those of a new process: /clear or rewind_conversation has no "
        "effect.",
    ),
    "rewinding is not done": (
        (check_reset,),
        INSTEAD.format(when="subtype == 'rewind_conversation'", reply={"subtype": "success", "response": {}}),
        "It does not remove a call by `/clear` and `rewind_conversation`: ",
    ),
    "settings are refused": (
        (check_reset,),
        INSTEAD.format(when="subtype == 'apply_flag_settings'", reply={"subtype": "error", "error": "unknown"}),
        "It does not start, or does not answer `apply_flag_settings`: ",
    ),
    "the body is refused": (
        (check_reset,),
        INSTEAD.format(
            when="'user' in env.get('CLAUDE_CODE_EXTRA_BODY', '')", reply={"subtype": "error", "error": "not allowed"}
        ),
        "It does not accept a request by `apply_flag_settings` and `set_model`: ",
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_without_effect_is_named(script: Script, name: str) -> None:
    noticed_by, change, sentence = STEPS[name]
    report = check(script(BETWEEN.format(cli=str(CLI), change=change), sys.executable), *noticed_by)
    assert any(problem.startswith(sentence) for problem in report.problems), report.problems


PROGRAMS = {
    "exits at once": ("echo 'Your licence has run out.' >&2; exit 3", "Your licence has run out."),
    "prints text": ("echo Hello; echo This is another program.", "does not start, or does not answer"),
    "never answers": ("exec sleep 600", "did not answer in time"),
    "repeats what it reads": ("exec cat", "did not answer in time"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_that_is_not_claude_code_is_reported_as_such(script: Script, name: str) -> None:
    text, sentence = PROGRAMS[name]
    report = check(script(text), boot_timeout_s=0.5 if "in time" in sentence else 60)
    assert not report.is_finished
    assert sentence in report.sentence()
    assert str(report.cli) in report.sentence()
    assert "of unknown version" in report.sentence()


def test_a_missing_cli_is_reported_as_such(tmp_path: Path) -> None:
    report = check(tmp_path / "nothing")
    assert not report.is_finished
    assert "does not start" in report.sentence()


def test_an_older_cli_is_reported_with_its_version(script: Script) -> None:
    report = check(script("test \"$1\" = --version || exit 1; echo '1.0.3 (Claude Code)'"))
    assert report.cli_version == "1.0.3"
    assert "The Claude Code CLI 1.0.3" in report.sentence()


POLICY_ENV = {
    "CLAUDE_CODE_EFFORT_LEVEL": "high",
    "CLAUDE_CODE_EXTRA_BODY": "{}",
    "CLAUDE_CODE_MAX_RETRIES": "1",
    "DISABLE_PROMPT_CACHING": "",
}
POLICIES: dict[str, dict[str, object]] = {
    "variables": {"env": POLICY_ENV},
    "apiKeyHelper": {"apiKeyHelper": "echo of-the-company"},
    "awsAuthRefresh": {"awsAuthRefresh": "echo of-the-company"},
    "models": {"availableModels": ["opus"]},
}
UNDER_EACH = f"""
import asyncio, json, pathlib, sys
from litellm_claude_code.selfcheck.run import self_check
from litellm_claude_code.settings import Settings
told = {{}}
for name, policy in json.loads(sys.argv[1]).items():
    pathlib.Path({POLICY_FILE!r}).write_text(json.dumps(policy))
    told[name] = asyncio.run(self_check(Settings())).sentence()
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told_under(one_stand_in: StandIn, forks: Forker, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the check says under each machine-wide policy."""
    told = run_under_policy(forks, UNDER_EACH, json.dumps(POLICIES), home=tmp_path_factory.mktemp("policies"))
    return dict(json.loads(told))


def test_a_policy_that_sets_variables_is_named_with_each(told_under: dict[str, str]) -> None:
    told, names = told_under["variables"], ", ".join(POLICY_ENV)
    assert f"{POLICY_FILE} sets {names}, which can change who pays, where requests go or what they contain" in told
    assert f"The policy in {POLICY_FILE} sets {names}, which this package must set" in told


@pytest.mark.parametrize("name", ["apiKeyHelper", "awsAuthRefresh"])
def test_a_policy_whose_program_would_see_requests_is_refused(told_under: dict[str, str], name: str) -> None:
    told = told_under[name]
    assert f"sets {name}, so Claude Code would start a program that can read the request" in told
    assert f"The policy in {POLICY_FILE} may be the cause." in told


def test_a_policy_that_bars_models_is_named(told_under: dict[str, str]) -> None:
    told = told_under["models"]
    assert "It does not accept a request by `apply_flag_settings` and `set_model`" in told
    assert f"The policy in {POLICY_FILE} may be the cause." in told
