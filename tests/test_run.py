"""`litellm-claude-code run`: programs that we do not own, unchanged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from litellm_claude_code.testing import StandIn
from litellm_claude_code_cli.app import app

from .support.processes import COMMAND

pytestmark = pytest.mark.processes

# What a program sees of how it was started. It never imports litellm, so that each start takes a moment only.
REPORT = """
import json, os, sys
spec, is_main = globals().get("__spec__"), sys.modules["__main__"].__dict__ is globals()
loaded = sorted(set(sys.modules) & {"litellm", "litellm_claude_code", "runpy", "typer"})
print(json.dumps([__name__, sys.argv, sys.path, __file__, spec and spec.name, is_main, sys.stdin.read(), loaded]))
sys.exit(7)
"""
# What a stranger's `evolution.skills.evolve_skill` looks like: model names are arguments, for DSPy and for litellm.
EVOLVE_SKILL = """
import argparse, json, os, sys
assert "litellm" not in sys.modules  # so that a program can still prepare the environment for it
import dspy
from ..scoring import score

parser = argparse.ArgumentParser()
parser.add_argument("--optimizer-model")
parser.add_argument("--eval-model")
options = parser.parse_args()

program = dspy.Predict("question -> answer")
lm = dspy.LM(options.optimizer_model, cache=False)
assert "litellm_claude_code.dspy_cache" in sys.modules  # DSPy's cache knows who answers from the first call on
with dspy.context(lm=lm):
    answer = program(question="Of France?").answer
print(json.dumps({"answer": answer, "score": score(options.eval_model, answer), "argv": sys.argv[1:]}))
sys.exit(3)
"""
SCORING = """
import litellm

def score(model, answer):
    response = litellm.completion(model=model, messages=[{"role": "user", "content": f"Score {answer}"}])
    return response.choices[0].message.content
"""
# A provider map of its own, worker processes of every kind, and a child Python.
WORKERS = """
import json, multiprocessing, os, subprocess, sys
import litellm
from litellm import CustomLLM

class Echo(CustomLLM):
    def completion(self, *args, **kwargs):
        return litellm.mock_completion("echo", [], mock_response="echoed")

mine = [{"provider": "echo", "custom_handler": Echo()}]
litellm.custom_provider_map = mine

def ask(text, model="claude_code/haiku"):
    return litellm.completion(model=model, messages=[{"role": "user", "content": text}]).choices[0].message.content

if __name__ == "__main__":
    answers = {"main": ask("main"), "own": ask("own", model="echo/any")}
    for method in ("fork", "forkserver"):  # as for "spawn", the server of the latter is a new Python
        with multiprocessing.get_context(method).Pool(1) as pool:
            answers[method] = pool.apply(ask, (method,))
    child = [sys.executable, "-c", "import workers; print(workers.ask('child'))"]
    answers["child"] = subprocess.run(child, capture_output=True, text=True, check=True).stdout.strip()
    print(json.dumps(answers))
"""


def python(*arguments: str, cwd: Path, command: list[str] | None = None) -> subprocess.CompletedProcess[str]:
    python_path = os.pathsep.join([str(Path(__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [*(command or [sys.executable]), *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": python_path},
        input="typed",
        capture_output=True,
        text=True,
        timeout=240,
    )


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return python("run", *arguments, cwd=cwd, command=COMMAND)


@pytest.mark.parametrize(
    "arguments",
    [
        ["report.py", "--help", "-m", "--", "x y"],
        ["package/report.py"],
        ["-m", "package.report", "--version", "--model", "claude_code/haiku"],
        ["-W", "error", "-m", "package", "-m"],
        ["folder"],
    ],
    ids=" ".join,
)
def test_a_program_is_run_as_python_runs_it(tmp_path: Path, arguments: list[str]) -> None:
    for name in ("report.py", "package/__init__.py", "package/__main__.py", "package/report.py", "folder/__main__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("" if name.endswith("__init__.py") else REPORT)
    ours, pythons = run(*arguments, cwd=tmp_path), python(*arguments, cwd=tmp_path)
    assert (ours.returncode, ours.stdout, ours.stderr) == (pythons.returncode, pythons.stdout, pythons.stderr)
    assert ours.returncode == 7


@pytest.mark.parametrize("arguments", [["none.py"], ["-m", "none.at_all"], ["-c", "raise ValueError('é')"]])
def test_python_itself_reports_errors_of_the_program(tmp_path: Path, arguments: list[str]) -> None:
    ours, pythons = run(*arguments, cwd=tmp_path), python(*arguments, cwd=tmp_path)
    assert (ours.returncode, ours.stdout, ours.stderr) == (pythons.returncode, pythons.stdout, pythons.stderr)
    assert ours.returncode in (1, 2)


@pytest.mark.parametrize(
    ("given", "usd", "arguments"),
    [
        ("--max-usd 5 train.py --max-usd 9 --report x", 5, "train.py --max-usd 9 --report x"),
        ("--no-halt --max-usd=2 -m train --max-usd 9", 2, "-m train --max-usd 9"),
        ("-mtrain --max-usd 9", None, "-mtrain --max-usd 9"),
        ("-u train.py --help", None, "-u train.py --help"),
    ],
)
def test_own_options_come_before_the_program(given: str, usd: float | None, arguments: str) -> None:
    command: Any = get_command(app)
    parsed = command.commands["run"].make_context("run", given.split())
    assert (parsed.params["max_usd"], parsed.params["arguments"]) == (usd, arguments.split())


def test_another_sitecustomize_still_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('customized', __name__)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    ran = run("-c", "import sys, sitecustomize; print(sitecustomize.__file__)", cwd=tmp_path)
    assert ran.stdout.splitlines()[-2:] == ["customized sitecustomize", str(tmp_path / "sitecustomize.py")]


def test_a_program_that_takes_model_names_takes_ours(gateway: StandIn, tmp_path: Path) -> None:
    pytest.importorskip("dspy")
    for name, text in {
        "evolution/__init__.py": "",
        "evolution/scoring.py": SCORING,
        "evolution/skills/__init__.py": "",
        "evolution/skills/evolve_skill.py": EVOLVE_SKILL,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    gateway.script("[[ ## answer ## ]]\nParis\n\n[[ ## completed ## ]]", "ten")
    models = ["--optimizer-model", "claude_code/opus", "--eval-model", "claude_code/haiku"]
    ran = run("-m", "evolution.skills.evolve_skill", *models, cwd=tmp_path)
    assert ran.returncode == 3, ran.stderr
    assert json.loads(ran.stdout) == {"answer": "Paris", "score": "ten", "argv": models}
    assert [request.body["model"] for request in gateway.requests] == ["claude-opus-5-5", "claude-haiku-5-5"]


def test_a_programs_own_providers_and_its_workers_keep_ours(gateway: StandIn, tmp_path: Path) -> None:
    (tmp_path / "workers.py").write_text(WORKERS)
    ran = run("--report", "report.json", "workers.py", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    answers = json.loads(ran.stdout)
    assert answers.pop("own") == "echoed"
    assert answers == {name: f"You said: {name}" for name in ("main", "fork", "forkserver", "child")}
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["total"]["requests"] == len(gateway.requests) == 4
