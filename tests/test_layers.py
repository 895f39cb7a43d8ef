"""How the packages import each other: down the list of layers, without a circle, and public names only."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = "litellm_claude_code"
# The top-level modules and packages of `litellm_claude_code`. An import goes from one to another that is further down.
LAYERS = (
    "__main__",
    "proxy",
    "__init__",
    "provider",
    "registration",
    "dspy_cache",
    "dspy_scores",
    "after_import",
    "accounting",
    "answering",
    "background_loop",
    "agents",
    "pool",
    "selfcheck",
    "testing",
    "translation",
    "process",
    "proxied",
    "auth",
    "in_force",
    "call",
    "interrupts",
    "observer",
    "errors",
    "cause",
    "cloud_errors",
    "limits",
    "cloud_aliases",
    "cloud_availability",
    "models",
    "login",
    "clouds",
    "_litellm",
    "cache",
    "install",
    "trusted",
    "settings",
    "container",
    "cli_protocol",
    "tested_versions",
)
# Imports that point up the list, with the reason: `("pool.schedule", "provider"): "…"`. Today there are none.
UPWARDS: dict[tuple[str, str], str] = {}
_SDK = "the SDK takes half a second to import, which a program that makes no call does not wait for"
_CALLS = "a program that makes no call does not wait for what calls need"
_SPAWNED = "the SDK takes half a second to import, in which a process that was spawned before boots"
_DUE = "imports the SDK, and a self-check is rarely due"
_WEB = "starlette and uvicorn are loaded only if a stand-in is started"
# Imports within functions, with the reason. They go by the order of layers, too.
WITHIN_FUNCTIONS = {
    ("provider", "agents.process"): _SDK,
    ("provider", "agents.profile"): _SDK,
    ("provider", "agents.registry"): _SDK,
    ("provider", "agents.request"): _SDK,
    ("provider", "pool.pool"): _CALLS,
    ("provider", "process.aliases"): _SDK,
    ("provider", "process.folders"): _CALLS,
    ("provider", "process.whoami"): _SDK,
    ("answering", "selfcheck"): _CALLS,
    ("provider", "selfcheck.run"): _SDK,
    ("selfcheck.check", "selfcheck.run"): _DUE,
    ("process.cli_process", "process._sdk"): _SPAWNED,
    ("process.worker", "process._sdk"): _SPAWNED,
    ("pool.pool", "process._sdk"): _SPAWNED,
    ("registration", "agents.registry"): _SDK,
    ("proxy.server", "agents.profile"): _SDK,
    ("selfcheck.bench", "testing"): _WEB,
    ("selfcheck.run", "testing"): _WEB,
    ("selfcheck.wire_checks", "testing"): _WEB,
    ("testing", "testing.clouds"): _WEB,
    ("testing", "testing.server"): _WEB,
    ("testing.plugin", "testing.server"): _WEB,
}
# The modules that import the SDK's public names. Its private ones are for `process._sdk` only: tests/test_sdk_seam.py.
OF_THE_SDK = {
    "agents.options",
    "agents.profile",
    "agents.profile_parts",
    "agents.tools",
    "agents.trace",
    "process._sdk",
    "process.cli_process",
}
USERS = ("litellm_claude_code_cli", "dspy_adapter", "examples", "notebooks", "benchmarks")
PAGES = (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md"))
PYTHON_FILES = [
    str(file)
    for folder in (PACKAGE, "litellm_claude_code_runs", "tests", *USERS)
    for file in (ROOT / folder).rglob("*.py")
]


class Import(NamedTuple):
    """One import statement of one name."""

    module: str
    """What is imported from: absolute, and "" in `import name`."""
    name: str
    is_within_function: bool


def imports(source: str, *, package: str = "") -> Iterator[Import]:
    """Yield what a source imports when it runs: not what is imported for type checkers only."""

    def visit(node: ast.AST, is_within_function: bool) -> Iterator[Import]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            children: list[ast.stmt] | Iterator[ast.AST] = node.orelse
        else:
            children = ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (Import("", alias.name, is_within_function) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            module = ".".join([*parents, *([node.module] if node.module else [])])
            yield from (Import(module, alias.name, is_within_function) for alias in node.names)
        for child in children:
            yield from visit(child, is_within_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))

    yield from visit(ast.parse(source), False)


def name_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(file): file for file in (ROOT / PACKAGE).rglob("*.py")}


def short(module: str) -> str:
    """Return a module's name within the package."""
    return module.removeprefix(PACKAGE).removeprefix(".") or "__init__"


def edges() -> dict[tuple[str, str], bool]:
    """Return which module imports which other, and whether it does so within functions only."""
    found: dict[tuple[str, str], bool] = {}
    for importer, file in MODULES.items():
        package = importer if file.name == "__init__.py" else importer.rpartition(".")[0]
        for module, name, is_within_function in imports(file.read_text(), package=package):
            full = f"{module}.{name}" if module else name
            imported = full if full in MODULES else module
            if imported in MODULES and imported != importer:
                edge = short(importer), short(imported)
                found[edge] = found.get(edge, True) and is_within_function
    return found


EDGES = edges()


def layer(module: str) -> str:
    return module.split(".")[0]


def test_every_module_has_its_place_among_the_layers() -> None:
    there_are = {layer(short(module)) for module in MODULES}
    assert there_are - {*LAYERS} == set(), "Give a new module its place in LAYERS, above all that it imports."
    assert {*LAYERS} - there_are == set(), "Take a module that is gone out of LAYERS."


def test_imports_point_down() -> None:
    upwards = {
        (importer, imported)
        for importer, imported in EDGES
        if LAYERS.index(layer(importer)) > LAYERS.index(layer(imported))
    }
    assert upwards - {*UPWARDS} == set(), (
        "A module imports one that is above it in LAYERS. Move what both need into a module below them, or pass it in."
    )
    assert {*UPWARDS} - upwards == set(), "Take an import that is gone out of UPWARDS."


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for importer, imported in EDGES:
        graph.setdefault(importer, set()).add(imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        names = " → ".join(reversed(circle.args[1]))
        pytest.fail(f"{names}: move what these modules need of each other into one below them.")


def test_imports_within_functions_are_known_and_have_a_reason() -> None:
    within = {edge for edge, is_within_function in EDGES.items() if is_within_function}
    assert within - {*WITHIN_FUNCTIONS} == set(), (
        "A function imports a module of this package. Import it at the top, or give the reason in WITHIN_FUNCTIONS."
    )
    assert {*WITHIN_FUNCTIONS} - within == set(), "Take an import that is gone out of WITHIN_FUNCTIONS."


def test_the_provider_imports_none_of_the_packages_that_use_it() -> None:
    for module, file in MODULES.items():
        names = {layer(found.module or found.name) for found in imports(file.read_text(), package="-")}
        allowed = {"litellm_claude_code_cli"} if module.endswith("__main__") else set()
        assert names & {*USERS} <= allowed, f"{module} imports a package that is built on it: turn the import round."


def test_the_accounting_of_runs_is_imported_without_litellm() -> None:
    for file in (ROOT / "litellm_claude_code_runs").rglob("*.py"):
        names = {layer(found.module or found.name) for found in imports(file.read_text(), package=file.parent.name)}
        allowed = {*sys.stdlib_module_names, "litellm_claude_code_runs", "psutil", "tqdm"}
        assert names <= allowed, f"{file} imports {names - allowed}, for which `litellm-claude-code run` would wait."


def test_few_modules_import_the_sdk() -> None:
    importers = {
        short(module)
        for module, file in MODULES.items()
        for found in imports(file.read_text(), package="-")
        if (found.module or found.name).split(".")[0] == "claude_agent_sdk"
    }
    assert importers - OF_THE_SDK == set(), "Use process/cli_process.py or process/_sdk.py, or add it to OF_THE_SDK."
    assert OF_THE_SDK - importers == set(), "Take a module that no longer imports the SDK out of OF_THE_SDK."


def test_a_process_is_spawned_before_the_sdk_is_imported() -> None:
    at_once, to_do = set[str](), ["pool.pool", "answering", "selfcheck"]
    while to_do:
        importer = to_do.pop()
        at_once.add(importer)
        to_do += [imported for (by, imported), is_later in EDGES.items() if by == importer and not is_later]
        to_do = [module for module in to_do if module not in at_once]
    assert at_once & OF_THE_SDK == {"process.cli_process"}, "The first call would wait for the SDK before the boot."


def sources(folder: str) -> Iterator[tuple[Path, str]]:
    """Yield the Python of each file in a folder; of a notebook, that of its cells."""
    yield from ((file, file.read_text()) for file in (ROOT / folder).rglob("*.py"))
    for file in (ROOT / folder).rglob("*.ipynb"):
        cells = [cell["source"] for cell in json.loads(file.read_text())["cells"] if cell["cell_type"] == "code"]
        yield file, "\n".join(re.sub(r"^[%!].*", "", "".join(cell), flags=re.MULTILINE) for cell in cells)


@pytest.mark.parametrize("folder", USERS)
def test_what_is_built_on_the_provider_imports_public_names_only(folder: str) -> None:
    files = dict(sources(folder))
    assert files
    for file, source in files.items():
        for module, name, _ in imports(source, package="-"):
            parts = f"{module}.{name}".strip(".").split(".")
            is_private = parts[0] == PACKAGE and any(part.startswith("_") for part in parts)
            assert not is_private, f"{file} imports {'.'.join(parts)}: use a public name, or make this one public."


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_module_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"`([\w/]+\.py)`", page.read_text()))
    missing = [path for path in named if not any(known.endswith(f"/{path}") for known in PYTHON_FILES)]
    assert missing == [], f"{page.name} names {missing}: write where it is now."


def test_the_table_where_is_answers_with_modules() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text().partition("## Where is…")[2].partition("\n## ")[0]
    assert len(re.findall(r"`[\w/]+\.py`", table)) >= 7
