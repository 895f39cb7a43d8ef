"""Odd machines: other users' folders, odd environments, programs that start together, containers."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import litellm
import pytest

import litellm_claude_code
from litellm_claude_code.cache import cache_folder
from litellm_claude_code.container import ContainerLimits, container_limits
from litellm_claude_code.install import absolute_path
from litellm_claude_code.testing import StandIn
from litellm_claude_code.trusted import UntrustedFolder, read_trusted, trusted_folder

from .support.scripts import Forker

ASK = """
import json, sys, litellm, litellm_claude_code
try:
    print(litellm.completion(**json.loads(sys.argv[1])).choices[0].message.content)
except litellm.exceptions.APIConnectionError as error:
    print(error)
"""
NOBODY = 65534
is_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's folder")


def request(stand_in: StandIn) -> dict[str, Any]:
    message = {"role": "user", "content": "Hi"}
    where = {"api_base": stand_in.base_url, "api_key": stand_in.api_key}
    return {"model": "claude_code/sonnet", "messages": [message], "max_retries": 0, **where}


class Ask(Protocol):
    def __call__(self, before: str = "", **env: str) -> tuple[str, str]: ...


@pytest.fixture
def ask(stand_in: StandIn, forks: Forker, tmp_path: Path) -> Ask:
    """Ask in a process of its own, after some other code; return what it printed and what it said on stderr."""

    def ask(before: str = "", **env: str) -> tuple[str, str]:
        ours = {name: os.environ[name] for name in ("CLAUDE_CONFIG_DIR", "XDG_CACHE_HOME")}
        env = {**ours, "LITELLM_CLAUDE_CODE_SELF_CHECK": "false", **env}
        out, errors = forks.start(before + ASK, json.dumps(request(stand_in)), home=tmp_path, **env).wait()
        return out.strip(), errors.strip()

    return ask


NAMES = ("NAÏVE", "OPTIND", "UID", "PPID", "with space", "a.b-c", "BASH_FUNC_x%%", "1")


def test_a_call_works_whatever_the_variables_are_called_and_runs_no_program_of_the_working_folder(
    ask: Ask, tmp_path: Path
) -> None:
    for folder in (tmp_path, tmp_path / "bin"):
        folder.mkdir(exist_ok=True)
        for name in ("setpriv", "setsid", "sh", "sleep", "git"):
            (folder / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/was-run\nexit 1\n")
            (folder / name).chmod(0o755)
    there = f"import os; os.chdir({str(tmp_path)!r})"
    # The working folder is in it four times: by an empty entry at the start, in the middle and at the end, and by name.
    path = f":bin::./bin:.:{os.environ['PATH']}:"
    assert ask(there, **dict.fromkeys(NAMES, "1\n2"), PATH=path) == ("You said: Hi", "")
    assert not (tmp_path / "was-run").exists()


def test_only_absolute_entries_of_path_are_passed_on() -> None:
    assert absolute_path(":a:/b:./c:/d:") == "/b:/d"
    assert absolute_path("") == absolute_path(None) == os.defpath


def test_variables_may_come_and_go_while_processes_start(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """`os.environ` as a thread sees it while others remove variables: a name that is listed may be gone."""

    class Changing(os._Environ):  # type: ignore[type-arg]
        times = itertools.count(1)

        def __iter__(self) -> Iterator[str]:
            gone = ["GONE_MEANWHILE", "LITELLM_CLAUDE_CODE_GONE_MEANWHILE"] if next(self.times) % 4 else []
            return iter([*super().__iter__(), *gone])

    known: Any = os.environ
    changing = Changing(known._data, known.encodekey, known.decodekey, known.encodevalue, known.decodevalue)
    monkeypatch.setattr(os, "environ", changing)
    with pytest.raises(KeyError):
        dict(os.environ)
    litellm_claude_code.close()
    assert litellm.completion(**request(stand_in)).choices[0].message.content == "You said: Hi"


@pytest.mark.parametrize("files", [10, 13, 16])
def test_too_few_file_descriptors_are_a_clear_error(ask: Ask, files: int) -> None:
    out, errors = ask(f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({files}, {files}))")
    assert out == "You said: Hi" or "too many files are open" in out, (out, errors)
    assert "Traceback" not in errors


@is_root
def test_a_folder_that_another_user_made_is_refused(ask: Ask, tmp_path: Path) -> None:
    caches = {}
    for number, owned in enumerate(("", "litellm_claude_code", "litellm_claude_code/run", "litellm_claude_code/empty")):
        folder = tmp_path / str(number) / owned
        folder.mkdir(parents=True)
        os.chown(folder, NOBODY, NOBODY)
        caches[str(tmp_path / str(number))] = folder
    first, *others = caches
    in_each = "".join(
        f"{ASK}\nlitellm_claude_code.close()\nimport os; os.environ['XDG_CACHE_HOME'] = {cache!r}\n" for cache in others
    )
    out, errors = ask(in_each, XDG_CACHE_HOME=first)
    told = out.splitlines()
    assert (len(told), errors) == (4, "")
    for line, folder in zip(told, caches.values(), strict=True):
        assert f"{folder} belongs to another user" in line
        assert "XDG_CACHE_HOME" in line


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o702])
def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(mode)
    with pytest.raises(UntrustedFolder, match=r"chmod go-w"):
        trusted_folder(tmp_path / "open")
    if not mode & 0o1000:
        with pytest.raises(UntrustedFolder, match=r"chmod go-w"):
            trusted_folder(tmp_path / "open" / "below")
    else:
        assert trusted_folder(tmp_path / "open" / "below").stat().st_mode & 0o777 == 0o700


@is_root
def test_links_are_followed_only_if_no_other_user_could_have_made_them(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    (tmp_path / "mine").mkdir()
    (tmp_path / "link").symlink_to("mine/../mine")
    assert trusted_folder(tmp_path / "link" / "below") == tmp_path / "link" / "below"
    assert (tmp_path / "mine" / "below").is_dir()
    (tmp_path / "laid").symlink_to("mine")
    os.chown(tmp_path / "laid", NOBODY, NOBODY, follow_symlinks=False)
    (tmp_path / "loop").symlink_to("loop")
    for name in ("laid", "loop"):
        with pytest.raises(UntrustedFolder):
            trusted_folder(tmp_path / name / "below")
    tmp_path.chmod(0o700)


def test_a_folder_must_be_absolute() -> None:
    with pytest.raises(UntrustedFolder, match="absolute"):
        trusted_folder(Path("~/cache"))


@is_root
def test_a_file_is_read_only_if_it_is_ours(tmp_path: Path) -> None:
    for name in ("mine", "others", "open"):
        (tmp_path / name).write_text("text")
    os.chown(tmp_path / "others", NOBODY, NOBODY)
    (tmp_path / "open").chmod(0o666)
    (tmp_path / "link").symlink_to("mine")
    os.mkfifo(tmp_path / "pipe")
    assert read_trusted(tmp_path / "mine") == "text"
    for name in ("others", "open", "link", "pipe"):
        with pytest.raises(OSError):  # noqa: PT011 - which one is not promised
            read_trusted(tmp_path / name)


SHAPES = ["[]", "null", "1", '"x"', "{", "[" * 100_000, "\x00", '{"cli": 1}', '{"models": []}']
VALUES: list[Any] = [[], [1], 1, "x", {"sonnet": 1}, {"sonnet": ["x"]}, {"sonnet": None}, {"x": "y"}]
# The names of models are read when `models.py` is imported: here without the package, which takes much longer.
READ_EACH = """
import importlib, importlib.util, json, sys, types

def import_alone(name):
    for loaded in [loaded for loaded in sys.modules if loaded.startswith("litellm_claude_code")]:
        del sys.modules[loaded]
    package = types.ModuleType("litellm_claude_code")
    package.__path__ = importlib.util.find_spec("litellm_claude_code").submodule_search_locations
    sys.modules["litellm_claude_code"] = package
    return importlib.import_module(f"litellm_claude_code.{name}")

for shape in json.loads(sys.argv[1]):
    cache = import_alone("cache")
    noted = shape if isinstance(shape, str) else json.dumps({"cli": cache._fingerprint(), "models": shape[0]})
    (cache.cache_folder() / "cli.json").write_text(noted)
    print(import_alone("models").resolve("sonnet"))
"""


@pytest.mark.processes
def test_cached_notes_of_any_shape_do_no_harm(forks: Forker, tmp_path: Path) -> None:
    shapes = [*SHAPES, *([value] for value in VALUES)]
    out, errors = forks.start(READ_EACH, json.dumps(shapes), home=tmp_path).wait()
    assert (out, errors) == ("claude-sonnet-5-5\n" * len(shapes), "")


START_OFTEN = """
import os, sys, time
from litellm_claude_code.process import folders
print("ready", flush=True)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.001)
for _ in range(300):
    folder = folders.private_folder()
    assert (folder / "lock").exists(), "another process removed it"
    folders.remove_private_folder()
"""


@pytest.mark.processes
def test_programs_that_start_together_keep_their_folders(forks: Forker, tmp_path: Path) -> None:
    homes = [tmp_path / str(number) for number in range(4)]
    for home in homes:
        home.mkdir()
    cache, go = tmp_path / "cache", tmp_path / "go"
    started = [forks.start(START_OFTEN, str(go), home=home, XDG_CACHE_HOME=str(cache)) for home in homes]
    for one in started:
        one.wait_until_ready()
    go.touch()
    assert [one.wait()[1] for one in started] == [""] * 4
    assert list((cache / "litellm_claude_code" / "run").iterdir()) == []


MOUNT_2 = "31 23 0:27 {top} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"
MOUNT_1 = "33 23 0:29 {top} /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}\n"
V1_NONE = str(2**63 - 4096)
TREES: dict[str, tuple[dict[str, str], ContainerLimits]] = {
    "no control groups": ({}, ContainerLimits()),
    "v2 in a container": (
        {
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": MOUNT_2.format(top="/"),
            "sys/fs/cgroup/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/memory.max": "1073741824\n",
        },
        ContainerLimits(cores=1.5, memory_bytes=2**30),
    ),
    "v2 without limits": (
        {
            "proc/self/cgroup": "0::/user.slice\n",
            "proc/self/mountinfo": MOUNT_2.format(top="/"),
            "sys/fs/cgroup/user.slice/cpu.max": "max 100000\n",
            "sys/fs/cgroup/user.slice/memory.max": "max\n",
        },
        ContainerLimits(),
    ),
    "v2 with a limit further up": (
        {
            "proc/self/cgroup": "0::/a.slice/b.service\n",
            "proc/self/mountinfo": MOUNT_2.format(top="/"),
            "sys/fs/cgroup/a.slice/cpu.max": "200000 100000\n",
            "sys/fs/cgroup/a.slice/memory.max": "max\n",
            "sys/fs/cgroup/a.slice/b.service/cpu.max": "400000 100000\n",
            "sys/fs/cgroup/a.slice/b.service/memory.high": "2147483648\n",
            "sys/fs/cgroup/other/memory.max": "1\n",
        },
        ContainerLimits(cores=2.0, memory_bytes=2**31),
    ),
    "v1 in a container": (
        {
            "proc/self/cgroup": "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/docker/abc\n",
            "proc/self/mountinfo": MOUNT_1.format(top="/docker/abc", name="cpu,cpuacct")
            + MOUNT_1.format(top="/docker/abc", name="memory"),
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "536870912\n",
        },
        ContainerLimits(cores=0.5, memory_bytes=2**29),
    ),
    "v1 without limits": (
        {
            "proc/self/cgroup": "5:cpu,cpuacct:/\n4:memory:/\n",
            "proc/self/mountinfo": MOUNT_1.format(top="/", name="cpu,cpuacct") + MOUNT_1.format(top="/", name="memory"),
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{V1_NONE}\n",
        },
        ContainerLimits(),
    ),
}


@pytest.mark.parametrize("name", TREES)
def test_the_limits_of_a_container_are_found(tmp_path: Path, name: str) -> None:
    files, expected = TREES[name]
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert container_limits(tmp_path) == expected


def test_the_cache_folder_is_ours_alone() -> None:
    assert cache_folder().stat().st_mode & 0o077 == 0
