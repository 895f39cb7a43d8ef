"""What pyproject.toml and requirements.lock promise: every import is declared, and every file is known by its hash."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from litellm_claude_code.tested_versions import COMPROMISED, TESTED, remark, warning

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
OWN = ("litellm_claude_code", "litellm_claude_code_cli", "litellm_claude_code_runs", "dspy_adapter")
# Imported where it is there: the pytest plugin of `litellm_claude_code.testing` is loaded by pytest itself.
OPTIONAL = {"pytest", "tomllib"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = [requirement for extra in PROJECT["optional-dependencies"].values() for requirement in extra]
DECLARED = [Requirement(text) for text in (*PROJECT["dependencies"], *EXTRAS)]
LOCK = (ROOT / "requirements.lock").read_text()


def imported() -> set[str]:
    found = set[str]()
    for file in (path for package in OWN for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {*OWN} - OPTIONAL


def locked(name: str) -> str:
    found = re.search(rf"^{re.escape(name)}==([^\s;\\]+)", LOCK, re.MULTILINE)
    assert found is not None, name
    return found[1]


def test_every_import_of_the_product_is_a_declared_dependency() -> None:
    declared = {canonicalize_name(requirement.name) for requirement in DECLARED}
    distributions = metadata.packages_distributions()
    for module in imported() - {"tomli"}:
        names = {canonicalize_name(name) for name in distributions[module]}
        assert names & declared, f"{module} is imported, and {', '.join(sorted(names))} is not declared"


@pytest.mark.parametrize("name", TESTED)
def test_every_tested_version_is_allowed_and_the_locked_one_is_tested(name: str) -> None:
    requirements = [requirement for requirement in DECLARED if requirement.name == name]
    assert requirements
    for requirement in requirements:
        assert all(version in requirement.specifier for version in TESTED[name])
    assert locked(name) in TESTED[name]
    assert all(remark(name, version) == "" for version in TESTED[name])


@pytest.mark.parametrize("name", COMPROMISED)
def test_a_compromised_release_is_excluded_and_warned_of(name: str) -> None:
    for version in COMPROMISED[name]:
        for requirement in DECLARED:
            if requirement.name == name:
                assert not requirement.specifier.contains(version, prereleases=True)
        assert "compromised" in warning(name, version)
    assert warning(name, TESTED[name][-1]) == ""


def test_the_message_for_an_untested_version_says_what_is_known_about_it() -> None:
    assert "newer than the last tested version, 1.109.1" in remark("litellm", "1.110.0")
    assert "older than the oldest tested version, 0.2.170" in remark("claude-agent-sdk", "0.2.99")
    assert "between the tested versions" in remark("litellm", "1.108.11")
    assert remark("starlette", "9") == ""


@pytest.mark.processes
def test_the_adapter_names_the_missing_extra() -> None:
    """With `dspy` set to None in `sys.modules`, Python raises the error of a module that is not installed."""
    code = "import sys; sys.modules['dspy'] = None; import dspy_adapter"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].endswith('Run: pip install "litellm_claude_code[dspy]"')
    assert "During handling" not in ran.stderr


def test_every_locked_file_is_known_by_its_hash() -> None:
    entries = re.split(r"^(?=[a-z0-9].*==)", LOCK, flags=re.MULTILINE)[1:]
    assert len(entries) > 100
    assert [entry.split("==")[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_the_docs_list_the_tested_versions() -> None:
    page = (ROOT / "docs" / "versions.md").read_text()
    for versions in TESTED.values():
        assert f"| {', '.join(versions)} |" in page
