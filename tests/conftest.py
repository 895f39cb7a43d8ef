"""Fixtures of all tests: a temporary home folder, one stand-in for the Messages API, and checks for leftovers."""

import asyncio
import gc
import os
import shutil
import signal
import sys
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from .support.home import HOME  # sets the environment, so it comes before litellm

asyncio.set_event_loop(None)  # otherwise litellm's OpenAI client creates one here, and never closes it

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell sets it for a background job
    signal.signal(signal.SIGINT, signal.default_int_handler)

gc.disable()  # until all is imported: a sixth of the time goes into collections that find nothing

import filelock  # noqa: E402 - the environment above must come first
import hypothesis  # noqa: E402
import litellm  # noqa: E402
import pytest  # noqa: E402
from xdist.scheduler import LoadFileScheduling  # noqa: E402

import litellm_claude_code  # noqa: E402
from litellm_claude_code import Settings  # noqa: E402
from litellm_claude_code.install import find_cli, sdk_version  # noqa: E402
from litellm_claude_code.selfcheck import Report, ensure_checked  # noqa: E402
from litellm_claude_code.tested_versions import CLI_BY_SDK  # noqa: E402
from litellm_claude_code.testing import StandIn  # noqa: E402

from .support.anthropic_host import AnthropicHost  # noqa: E402
from .support.kernels import forking_kernels  # noqa: E402
from .support.processes import wait_until_ended  # noqa: E402
from .support.redis import redis_server  # noqa: E402
from .support.scripts import Forker, forker  # noqa: E402
from .support.served import Served, serving  # noqa: E402
from .support.waiting import wait_until  # noqa: E402

gc.enable()
gc.freeze()  # so that a later collection takes a moment: litellm alone makes 400,000 objects

# The speed of examples says nothing on a busy machine, and they share the stand-in on purpose.
# In CI the examples are always the same, so that a change does not fail because of an older bug.
hypothesis.settings.register_profile(
    "any machine",
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
    derandomize=bool(os.environ.get("CI")),
)
hypothesis.settings.load_profile("any machine")

pytest_plugins = ["litellm_claude_code.testing.plugin"]


# Files that share a server, or the process that servers are forked from.
SHARING_A_SERVER = (
    "test_serve",
    "test_serve_gate",
    "test_serve_fence",
    "test_serve_real_proxy",
    "test_docs_serving",
    "test_serve_nodes",
    "test_serve_left",
    "test_serve_recorded",
    "test_serve_operator",
    "test_agents_proxy",
)
# Files that share the processes that programs with DSPy, or kernels, are forked from.
SHARING_DSPY = ("test_run_halts", "test_run_interrupts", "test_notebooks")
# What takes longest starts first, because several processes share the tests. All others cost less than 20 s of CPU.
SLOWEST = (
    *SHARING_A_SERVER,
    *SHARING_DSPY,
    "test_optimizers",
    "test_dspy",
    "test_clouds",
    "test_agents",
    "test_selfcheck",
    "test_run",
    "test_cancelling",
    "test_errors",
    "test_lifetime",
    "test_command_line",
    "test_limit_wiring",
    "test_demo",
    "test_time_limits",
)


# `--dist loadgroup` would do, but xdist 3.8 loses the groups on pytest 9.2
class KeptTogether(LoadFileScheduling):  # type: ignore[misc]  # xdist is not typed
    """Runs all tests of a file in one process, and all files that share something costly in one process too."""

    def _split_scope(self, nodeid: str) -> str:
        file = Path(super()._split_scope(nodeid)).stem
        return next((files[0] for files in (SHARING_A_SERVER, SHARING_DSPY) if file in files), file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> KeptTogether | None:
    return KeptTogether(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Add the mark `processes` to tests whose fixtures start processes, and run the slowest files first."""
    for item in items:
        if "one_stand_in" in getattr(item, "fixturenames", ()):
            item.add_marker("processes")
    place = {stem: number for number, stem in enumerate(SLOWEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))
    sys.addaudithook(refuse_to_start)


STARTS = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system"})
may_start: set[int] | None = None
"""The threads that may start a process now; None means all of them."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test that starts a process without the mark `processes`, which `make quick` relies on."""
    global may_start
    is_marked = any(item.get_closest_marker(name) for name in ("processes", "live"))
    # The pool of an earlier test may be about to replace a worker.
    others = {thread.ident or 0 for thread in threading.enumerate()} - {threading.get_ident()}
    may_start = None if is_marked else others
    try:
        return (yield)
    finally:
        may_start = None


def refuse_to_start(event: str, _: object, starts: frozenset[str] = STARTS) -> None:
    # A default argument: the interpreter calls hooks until its very end, when a module's names are None.
    if event in starts and may_start is not None and threading.get_ident() not in may_start:
        raise RuntimeError("This test starts a process, but it has no mark that says so: pytest.mark.processes.")


@pytest.fixture(scope="session")
def checked_cli(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that remembers that the CLI has passed the self-check, which costs as much as importing litellm twice.

    The pytest processes of one run share it.
    """
    file = HOME / "cache" / "litellm_claude_code" / "cli.json"
    ours = tmp_path_factory.getbasetemp()
    shared = (ours.parent if "PYTEST_XDIST_WORKER" in os.environ else ours) / file.name
    with filelock.FileLock(shared.with_suffix(".lock")):
        if not shared.exists():
            asyncio.run(ensure_checked(Settings()))
            shutil.copy(file, shared)
    shutil.copy(shared, file)
    return file


@pytest.fixture(scope="session")
def one_stand_in(checked_cli: Path) -> Iterator[StandIn]:
    with StandIn(models=["*"]) as stand_in:  # for tests it is a gateway, too, and there a model has any name
        yield stand_in
    litellm_claude_code.provider.close()
    wait_until_ended()  # scripts of tests may have been killed, whose processes then end by themselves
    left = list((HOME / "cache" / "litellm_claude_code" / "empty").glob("*"))
    assert [path.name for path in left if path.exists()] == []  # a dangling link is ours (process/folders.py)
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture
def stand_in(one_stand_in: StandIn) -> Iterator[StandIn]:
    """The stand-in that all tests share, so that workers stay warm. It is reset before each test."""
    under_way = {"busy", "resetting"}  # from a call that an earlier test did not wait for
    wait_until(lambda: not under_way & litellm_claude_code.stats().get("workers", {}).keys(), litellm_claude_code.stats)
    one_stand_in.reset()
    respond = one_stand_in.respond
    yield one_stand_in
    one_stand_in.respond, one_stand_in.validate = respond, True
    one_stand_in.fields = ()


@pytest.fixture
def default_endpoint(stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AnthropicHost]:
    """api.anthropic.com on loopback, with a Claude Code subscription login; the stand-in answers."""
    litellm_claude_code.close()
    host = AnthropicHost(stand_in, tmp_path)
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(host.config))
    monkeypatch.setenv("HTTPS_PROXY", host.proxy)
    monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(host.certificate))
    yield host
    litellm_claude_code.close()
    host.close()


@pytest.fixture(scope="session")
def one_server(one_stand_in: StandIn) -> Iterator[Served]:
    options = ("--max-requests", "6", "--max-body-mb", "1")
    spares = "1"  # as users have it
    with serving(HOME / "served", one_stand_in, *options, LITELLM_CLAUDE_CODE_SPARE_WORKERS=spares) as server:
        yield server
    wait_until_ended(server.claude_config)


@pytest.fixture
def server(stand_in: StandIn, one_server: Served) -> Served:
    """The server that all tests share, over the stand-in that all tests share."""
    return one_server


@pytest.fixture(scope="session")
def forks() -> Iterator[Forker]:
    """For programs that use litellm."""
    of_the_first_call = ("litellm.litellm_core_utils.default_encoding", "litellm.proxy._types")  # half a second of CPU
    with forker("claude_agent_sdk", "litellm", *of_the_first_call) as started:
        yield started


@pytest.fixture(scope="session")
def server_forks(forks: Forker) -> Iterator[Forker]:
    """For programs that run litellm's proxy, which takes as long to import as litellm itself."""
    with forks.with_imports("litellm.proxy.proxy_server") as started:
        yield started


@pytest.fixture(scope="session")
def dspy_forks(forks: Forker) -> Iterator[Forker]:
    """For programs that use DSPy and GEPA."""
    pytest.importorskip("dspy")
    with forks.with_imports("dspy", "gepa") as started:
        yield started


@pytest.fixture(scope="session")
def kernel_forks(forks: Forker) -> Iterator[Forker]:
    """For the kernels of notebooks that draw. They import DSPy themselves: one sets a variable for it before."""
    for name in ("ipykernel", "matplotlib"):
        pytest.importorskip(name)
    with forks.with_imports("ipykernel.kernelapp", "matplotlib.pyplot") as started:
        yield started


@pytest.fixture
def forked_kernels(kernel_forks: Forker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have Jupyter fork its kernels."""
    with forking_kernels(kernel_forks, tmp_path_factory.mktemp("kernel")):
        yield


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with redis_server(tmp_path_factory.mktemp("redis")) as port:
        yield port


@pytest.fixture
def login(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A subscription token that a setting allows to be sent to the stand-in, and a pool that knows no limits yet."""
    litellm_claude_code.close()
    monkeypatch.setenv("CLAUDE_CODE_OAUTH_TOKEN", str(stand_in.api_key))
    monkeypatch.setenv("LITELLM_CLAUDE_CODE_SEND_LOGIN_TO", stand_in.base_url)
    yield monkeypatch
    litellm_claude_code.close()


@pytest.fixture
def gateway(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """The stand-in as the gateway that the environment names."""
    monkeypatch.setenv("ANTHROPIC_BASE_URL", stand_in.base_url)
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", str(stand_in.api_key))
    return stand_in


@pytest.fixture
def quiet_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the test, undo what a command changes in the process."""
    monkeypatch.setattr(litellm, "suppress_debug_info", False)
    monkeypatch.setenv("LITELLM_CLAUDE_CODE_SPARE_WORKERS", "0")


@pytest.fixture
def one_self_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `doctor` have a good report without a self-check, whose seconds of CPU only its own test should cost."""
    report = Report(cli=find_cli(), cli_version=CLI_BY_SDK.get(sdk_version(), ""), sdk_version=sdk_version())
    monkeypatch.setattr(litellm_claude_code.provider, "self_check", lambda: report)


@pytest.fixture(autouse=True)
def _litellm_as_it_was() -> Iterator[None]:
    before = (litellm.drop_params, litellm.modify_params, list(litellm.custom_provider_map))
    yield
    callbacks: Any = litellm.logging_callback_manager
    callbacks._reset_all_callbacks()
    litellm.drop_params, litellm.modify_params, litellm.custom_provider_map = before


@pytest.fixture(autouse=True)
def _no_profiles() -> Iterator[None]:
    yield
    if registry := sys.modules.get("litellm_claude_code.agents.registry"):
        registry.clear()


@pytest.fixture(scope="session")
def told_by_the_cli(one_stand_in: StandIn) -> dict[str, object]:
    """The real CLI's reply to `initialize`."""
    from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient

    async def ask() -> dict[str, object]:
        env = {"ANTHROPIC_BASE_URL": one_stand_in.base_url, "ANTHROPIC_API_KEY": one_stand_in.api_key or ""}
        env["CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"] = "1"
        async with ClaudeSDKClient(ClaudeAgentOptions(setting_sources=[], tools=[], env=env)) as client:
            info: dict[str, object] = await client.get_server_info() or {}
        return info

    return asyncio.run(ask())
