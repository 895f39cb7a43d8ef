"""Python imports this module at start-up under `litellm-claude-code run`, in the program's child processes too.

It removes its folder from `sys.path`, imports the `sitecustomize` that it hid, if there is one, and arranges that
`litellm_claude_code` is imported right after litellm. A process that never imports litellm thus pays nothing, and
environment variables that the program sets for litellm still count. This module may run in any Python, so it uses the
standard library only.

It also arranges how a process ends by a halt of the run or by Ctrl-C: without tracebacks, because the process that
supervises the run says in one line what happened.
"""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
import os
import sys
import threading
from collections.abc import Callable
from types import ModuleType, TracebackType
from typing import Any

_PACKAGE = "litellm_claude_code"


class _AfterImport:
    """A finder that asks the other finders for the modules of `_CHANGES`, and makes their import end with a change."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        change = _CHANGES.get(name)
        if change is None:
            return None
        others = (finder for finder in sys.meta_path if finder is not _AfterImport)
        spec = next((spec for finder in others if (spec := finder.find_spec(name, path, target))), None)
        loader: Any = spec.loader if spec is not None else None
        if loader is not None:
            load = loader.exec_module

            def load_and_change(module: ModuleType) -> None:
                load(module)
                change(module)

            loader.exec_module = load_and_change
        return spec


def _register(litellm: ModuleType) -> None:
    # If litellm_claude_code is the module that imports litellm, it registers itself.
    if _PACKAGE in sys.modules or importlib.util.find_spec(_PACKAGE) is None:
        return
    importlib.import_module(_PACKAGE)
    ours: Any = next(item for item in litellm.custom_provider_map if item["provider"] == "claude_code")

    class Litellm(type(litellm)):  # type: ignore[misc]
        """The module litellm. If a program sets a provider map without this provider, the provider is added to it."""

        def __setattr__(self, name: str, value: Any) -> None:
            is_without = isinstance(value, list) and not any(item.get("provider") == "claude_code" for item in value)
            if name == "custom_provider_map" and is_without:
                value.append(ours)
            super().__setattr__(name, value)

    litellm.__class__ = Litellm


def _register_with_lm(base_lm: ModuleType) -> None:
    """Register the provider with the first of DSPy's LMs for it: DSPy asks its cache before it imports litellm."""
    make = base_lm.BaseLM.__init__

    @functools.wraps(make)
    def __init__(self: object, *args: Any, **kwargs: Any) -> None:
        model = kwargs.get("model", args[0] if args else None)
        if isinstance(model, str) and model.startswith("claude_code/") and importlib.util.find_spec("litellm"):
            _ = importlib.import_module("litellm").completion  # so that it is loaded, even if DSPy imported it lazily
        make(self, *args, **kwargs)

    base_lm.BaseLM.__init__ = __init__


_CHANGES: dict[str, Callable[[ModuleType], None]] = {
    "litellm": _register,
    "dspy.clients.base_lm": _register_with_lm,
}


def _is_end(kind: type[BaseException]) -> bool:
    return (
        kind is KeyboardInterrupt or f"{kind.__module__}.{kind.__name__}" == "litellm_claude_code_runs.halt.RunHalted"
    )


def _end_quietly(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """End the process without tracebacks if the main thread ends by a halt or Ctrl-C: `sys.excepthook`."""
    if not _is_end(kind):
        sys.__excepthook__(kind, error, trace)
        return
    # What other threads meet while the interpreter shuts down says nothing about the program.
    sys.unraisablehook = threading.excepthook = _tell_nothing
    if (logging := sys.modules.get("logging")) is not None:
        logging.disable(logging.CRITICAL)
    runs, ours = sys.modules.get("litellm_claude_code_runs.run_file"), sys.modules.get(_PACKAGE)
    if kind is KeyboardInterrupt and runs is not None and ours is not None:
        run = runs.current_run()
        if run is not None and run.began_by() == os.getppid():
            run.halt(runs.interrupted())
        ours.close()  # which ends the calls that other threads wait for


def _tell_nothing(_: object) -> None: ...


def _thread_quietly(args: threading.ExceptHookArgs) -> None:
    if not _is_end(args.exc_type):
        threading.__excepthook__(args)


def _make_way() -> None:
    here = os.path.dirname(__file__)
    sys.path[:] = [folder for folder in sys.path if folder != here]
    other = importlib.machinery.PathFinder.find_spec("sitecustomize", sys.path)
    if other is not None and other.loader is not None:
        sys.modules["sitecustomize"] = module = importlib.util.module_from_spec(other)
        other.loader.exec_module(module)


sys.excepthook, threading.excepthook = _end_quietly, _thread_quietly
sys.meta_path.insert(0, _AfterImport)
_make_way()
