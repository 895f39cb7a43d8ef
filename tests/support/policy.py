"""Programs under a machine-wide policy of Claude Code: forked ones, in a mount namespace with another `/etc`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from .scripts import Forker

POLICY_FILE = "/etc/claude-code/managed-settings.json"

# What `unshare --map-root-user --mount` does, for a program that is forked and not started.
_ISOLATE = """
import ctypes, os, sys

def isolate(etc):
    new_user, new_mounts, recursive, private, bind = 0x10000000, 0x20000, 0x4000, 0x40000, 0x1000
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    def check(result):
        if result != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    check(libc.unshare(new_user | new_mounts))
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    check(libc.mount(b"none", b"/", None, recursive | private, None))
    check(libc.mount(os.fsencode(etc), b"/etc", None, bind, None))

isolate(sys.argv.pop(1))
"""


def run_under_policy(forks: Forker, code: str, *arguments: str, home: Path, **env: str) -> str:
    """Run a program whose `/etc` is a folder in `home`, which it may change. Return what it prints to stdout.

    Its `/etc/claude-code` exists, and is empty. Skips the test without Linux's unprivileged namespaces.
    """
    isolated = ["unshare", "--map-root-user", "--mount", "true"]
    if shutil.which("unshare") is None or subprocess.run(isolated, capture_output=True).returncode:
        pytest.skip("needs Linux's unprivileged namespaces")
    etc = home / "etc"
    (etc / "claude-code").mkdir(parents=True)
    for name in ("passwd", "group", "hosts", "nsswitch.conf", "ld.so.cache"):
        if Path("/etc", name).is_file():
            shutil.copy(Path("/etc", name), etc)
    script = forks.start(_ISOLATE + code, str(etc), *arguments, home=home, **env)
    out, errors = script.wait()
    assert script.program.poll() == 0, errors
    return out
