"""`make upstream`: run the tests that depend on other projects against the newest releases of those projects.

Builds a separate environment from requirements.lock, upgrades litellm, DSPy and the Claude Agent SDK (whose wheel
contains the Claude Code CLI) in it, runs the self-check and the groups of tests below, and prints which versions
changed and which tests passed. The environment in `.venv` is not changed. Needs only Python's standard library and pip.

Exits with 1 if a group of tests failed, and with 2 if the environment could not be built.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
import venv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
ENVIRONMENT: Final = ROOT / ".venv-upstream"
LOCK: Final = ROOT / "requirements.lock"
# The packages to upgrade, with the extras whose dependencies must be upgraded with them.
UPSTREAM: Final = {"litellm": "[proxy]", "dspy": "[optuna]", "claude-agent-sdk": ""}
GROUPS: Final = {
    "what is reached inside them": ("test_litellm_seam.py", "test_sdk_seam.py"),
    "wire": ("test_wire.py", "test_wire_generated.py"),
    "streams and answers": ("test_answers.py",),
    "one request": ("test_one_request.py",),
    "failures": ("test_errors.py", "test_limit_wiring.py", "test_fallbacks.py"),
    "litellm's own features": ("test_registration.py", "test_litellm_features.py"),
    "agents": ("test_agents.py",),
    "DSPy": ("test_dspy.py",),
}
_SELF_CHECK: Final = """
import json
from dataclasses import asdict
from litellm_claude_code import provider
report = provider.self_check()
provider.close()
print(json.dumps({"cli": report.cli_version, "problems": report.problems}))
"""
_INSTALLED: Final = """
import json
from importlib import metadata
print(json.dumps({each.name: each.version for each in metadata.distributions()}))
"""


class NoEnvironment(Exception):
    """The environment could not be built. The message says why."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of one group of tests."""

    group: str
    passed: bool
    summary: str


def main() -> int:
    """Build the environment, upgrade it, run the tests and print the report; return the exit code."""
    parser = argparse.ArgumentParser(description="Test against the newest litellm, DSPy and Claude Agent SDK.")
    parser.add_argument("--pre", action="store_true", help="take pre-releases too")
    parser.add_argument("--keep", action="store_true", help="test the environment as it is, without upgrading it")
    parser.add_argument("--only", choices=["self-check", *GROUPS], nargs="*", help="run these groups only")
    asked = parser.parse_args()
    try:
        remarks = [] if asked.keep else upgrade(with_pre_releases=asked.pre)
    except NoEnvironment as error:
        print(f"No environment to test: {error}", file=sys.stderr)
        return 2
    cli, results = test([group for group in ("self-check", *GROUPS) if not asked.only or group in asked.only])
    report(remarks, results, cli=cli)
    return 0 if all(result.passed for result in results) else 1


def upgrade(*, with_pre_releases: bool) -> list[str]:
    """Build the environment, upgrade the three packages, and return remarks for the report."""
    if not python().is_file():
        say(f"building {ENVIRONMENT.name} from {LOCK.name}")
        venv.create(ENVIRONMENT, with_pip=True)
    need(pip("install", "--require-hashes", "--requirement", str(LOCK)))
    need(pip("install", "--no-deps", "--editable", str(ROOT)))
    remarks = []
    versions = {name: newest(name, with_pre_releases=with_pre_releases) for name in UPSTREAM}
    for name, extras in UPSTREAM.items():
        say(f"{name} {versions[name]}")
        remarks += install(name, extras, versions[name], with_pre_releases=with_pre_releases)
    # Again, because pip exchanges a package that lacks a dependency for an older one when it installs the next.
    need(pip("install", "--no-deps", *(f"{name}=={version}" for name, version in versions.items())))
    return remarks


def newest(name: str, *, with_pre_releases: bool) -> str:
    """Return the newest version of a package in the index, without regard to its dependencies."""
    more = ["--pre"] if with_pre_releases else []
    asked = ["--dry-run", "--no-deps", "--ignore-installed", "--report", "-", *more, name]
    told = json.loads(need(pip("install", *asked)).stdout)
    return str(told["install"][0]["metadata"]["version"])


def install(name: str, extras: str, version: str, *, with_pre_releases: bool) -> list[str]:
    """Install one version of a package with its dependencies, and return remarks for the report.

    Dependencies that the index does not have are left out; the remark names them.
    """
    more = ["--pre"] if with_pre_releases else []
    if pip("install", *more, f"{name}{extras}=={version}").returncode == 0:
        return []
    need(pip("install", *more, "--no-deps", f"{name}=={version}"))
    left_out = [unmet for unmet in complaints(name) if pip("install", *more, unmet).returncode != 0]
    without = ", ".join(left_out) if left_out else "the versions that its other dependencies ask for"
    return [f"{name} {version} was installed with --no-deps: this index has no fitting {without}."]


def complaints(name: str) -> Iterator[str]:
    """Yield the requirements of a package that the environment does not meet, as reported by `pip check`."""
    for line in pip("check").stdout.splitlines():
        unmet = re.match(rf"{re.escape(name)} \S+ has requirement (.+?), but you have ", line)
        missing = re.match(rf"{re.escape(name)} \S+ requires (\S+), which is not installed", line)
        if found := unmet or missing:
            yield found[1]


def test(groups: Sequence[str]) -> tuple[str, list[Result]]:
    """Run the groups; return the CLI's version from the self-check, and the results."""
    cli, results = "", []
    for group in groups:
        say(f"testing: {group}")
        if group == "self-check":
            cli, result = self_check()
            results.append(result)
        else:
            results.append(run_tests(group))
    return cli, results


def self_check() -> tuple[str, Result]:
    """Run the self-check on the CLI in the environment."""
    ran = run([str(python()), "-c", _SELF_CHECK])
    if ran.returncode != 0:
        last = (ran.stderr.strip().splitlines() or ["no output"])[-1]
        return "", Result(group="self-check", passed=False, summary=last)
    told = json.loads(ran.stdout.splitlines()[-1])
    summary = " ".join(told["problems"]) or "passed"
    return told["cli"], Result(group="self-check", passed=not told["problems"], summary=summary)


def run_tests(group: str) -> Result:
    """Run one group of tests, and show pytest's output if it fails."""
    started = time.monotonic()
    files = [str(ROOT / "tests" / name) for name in GROUPS[group]]
    ran = run([str(python()), "-m", "pytest", "-q", "--no-header", *files])
    if ran.returncode != 0:
        print(ran.stdout)
        print(ran.stderr, file=sys.stderr)
    counted = re.findall(r"^(?=.*\d+ (?:passed|failed|error))(.*?) in [\d.]+s", ran.stdout, re.MULTILINE)
    summary = counted[-1].strip("= ") if counted else f"pytest ended with {ran.returncode}"
    return Result(group=group, passed=ran.returncode == 0, summary=f"{summary}, {time.monotonic() - started:.0f} s")


def report(remarks: Sequence[str], results: Sequence[Result], *, cli: str) -> None:
    """Print which versions changed, and the result of each group of tests."""
    locked, installed = locked_versions(), json.loads(need(run([str(python()), "-c", _INSTALLED])).stdout)
    rows = [(name, locked.get(name, "-"), installed.get(name, "-")) for name in UPSTREAM]
    rows.append(("Claude Code CLI", "see below" if not cli else "in the SDK's wheel", cli or "unknown"))
    others = [
        (name, locked[name], version)
        for name, version in sorted(installed.items())
        if name not in UPSTREAM and name in locked and locked[name] != version
    ]
    print()
    print(table(("package", "locked", "newest"), [*rows, *others]))
    for remark in remarks:
        print(f"\n{remark}")
    print()
    print(table(("tests", "result", ""), [(r.group, "pass" if r.passed else "FAIL", r.summary) for r in results]))


def locked_versions() -> dict[str, str]:
    """Return the versions in requirements.lock. If a package has one per Python version, the last one counts."""
    return dict(re.findall(r"^([\w.-]+)==([^\s;\\]+)", LOCK.read_text(), re.MULTILINE))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a plain-text table, with each column as wide as its widest cell."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    cells = ([cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines)
    return "\n".join("  ".join(line).rstrip() for line in cells)


def python() -> Path:
    """Return the path of the environment's interpreter."""
    return ENVIRONMENT / "bin" / "python"


def pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pip in the environment."""
    return run([str(python()), "-m", "pip", "--disable-pip-version-check", *with_quiet(arguments)])


def with_quiet(arguments: Sequence[str]) -> list[str]:
    """Return pip's arguments, with `--quiet` added for an installation, whose output is of no use here."""
    return [arguments[0], "--quiet", *arguments[1:]] if arguments[0] == "install" else list(arguments)


def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command in the repository's root folder, with litellm's bundled price list instead of the network's."""
    env = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    env.pop("PYTHONPATH", None)
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def need(ran: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """Return the command if it succeeded. Raises `NoEnvironment` with its last lines of stderr if it failed."""
    if ran.returncode != 0:
        said = "\n".join(ran.stderr.strip().splitlines()[-5:])
        raise NoEnvironment(f"`{' '.join(map(str, ran.args[1:6]))} …` failed:\n{said}")
    return ran


def say(what: str) -> None:
    """Print a line of progress."""
    print(f"==> {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
