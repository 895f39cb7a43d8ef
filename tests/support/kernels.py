"""Jupyter kernels that are forked like the tests' scripts: a notebook's imports take several seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .scripts import Forker, Program

_KERNEL = "from ipykernel.kernelapp import launch_new_instance; launch_new_instance()"


@contextmanager
def forking_kernels(forks: Forker, folder: Path) -> Iterator[None]:
    """Make the Jupyter client of this process fork its kernels. What they print goes to files in the folder."""

    def launch_kernel(command: list[str], *, env: dict[str, str], cwd: str, **_: Any) -> Program:
        out, errors = folder / "out", folder / "errors"
        out.touch()
        errors.touch()
        arguments = command[command.index("ipykernel_launcher") + 1 :]
        return forks.fork(_KERNEL, *arguments, env=env, out=out, errors=errors, cwd=Path(cwd))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jupyter_client.provisioning.local_provisioner.launch_kernel", launch_kernel)
        yield
