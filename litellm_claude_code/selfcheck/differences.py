"""Comparing the requests that reached the stand-in with the call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from .. import cli_protocol as cli
from .bench import Observation, system_blocks
from .report import Problem

CACHING: Final = (cli.DISABLE_PROMPT_CACHING, cli.PROMPT_CACHE_TTL)
_PROMPTING: Final = (cli.SYSTEM_PROMPT_SNAPSHOT, f"`system_prompt` in `{cli.SET_MODEL}`")
_IN_BODY: Final[Mapping[str, tuple[str, ...]]] = {
    "thinking": (cli.DISABLE_THINKING,),
    "output_config": (cli.EFFORT_LEVEL,),
    "tools": (cli.TOOLS, cli.ENABLE_TOOL_SEARCH),
    "context_management": (cli.DISABLE_EXPERIMENTAL_BETAS,),
}
"""For each key of a body, the variables and flags that should keep it out unless the call has it."""
_ABSENT: Final = object()


def differences(seen: Observation, *, is_marked: bool = False) -> list[Problem]:
    """Return the differences between the request's body and the call's.

    The CLI adds its own system blocks, `metadata`, `stream` and an empty `tools`, which are not differences. Cache
    marks are allowed only with `is_marked`.
    """
    expected = {"tools": [], **seen.asked, "stream": True}  # without tools, the CLI sends an empty list
    keys = (seen.body.keys() | expected.keys()) - {"system", "metadata"}
    wrong = sorted(key for key in keys if seen.body.get(key, _ABSENT) != expected.get(key, _ABSENT))
    problems = more_than_one(seen, "an answer")
    if "model" in wrong:
        text = f"it calls the model {seen.body.get('model')!r} instead of {expected['model']!r}"
        problems.append(Problem(text, (f"`model` in `{cli.APPLY_FLAG_SETTINGS}`",)))
    not_as_asked = [key for key in wrong if key in seen.asked and key != "model"]
    if not_as_asked:
        text = f"{', '.join(f'`{key}`' for key in not_as_asked)} in its request differ from the call"
        attachments = (cli.DISABLE_ATTACHMENTS,) if not_as_asked == ["messages"] else ()
        problems.append(Problem(text, (cli.EXTRA_BODY, *attachments)))
    for key in wrong:
        if key not in seen.asked:
            problems.append(Problem(f"it sends `{key}`, which is not in the call", _IN_BODY.get(key, ())))
    return [*problems, *_system_differences(seen, is_marked=is_marked)]


def _system_differences(seen: Observation, *, is_marked: bool) -> list[Problem]:
    problems = []
    own, given = system_blocks(seen.body)
    if seen.system and [block.get("text") for block in given] != [seen.system]:
        problems.append(Problem("the system prompt does not arrive as written", _PROMPTING))
    if not seen.system and given:
        problems.append(Problem("it sends a system prompt, although the call has none", _PROMPTING))
    if len(own) != 2 or any("\n" in block.get("text", "") for block in own):
        problems.append(Problem("its own system blocks are not the two expected lines"))
    if not is_marked and "cache_control" in json.dumps(seen.body):
        problems.append(Problem("it sets cache marks, although the call has none", CACHING))
    return problems


def more_than_one(seen: Observation, what: str, *switches: str) -> list[Problem]:
    """Return a problem if a call caused more than one request.

    `what` names the answer that the stand-in gave. `switches` are the flags and variables that should prevent it.
    """
    problems = []
    if len(seen.bodies) > 1:
        problems.append(Problem(f"it sends another request after {what}", switches))
    if len(seen.requests) > len(seen.bodies):
        problems.append(Problem("it makes a model request of its own", (cli.DISABLE_TERMINAL_TITLE,)))
    return problems
