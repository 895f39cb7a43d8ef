"""What an optimizer has changed about a program's prompts, in colour."""

from __future__ import annotations

import difflib
import html
import os
import re
import sys
from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

_Kind = Literal["kept", "removed", "added"]
_IN_TEXT: Final[dict[_Kind, str]] = {"kept": "{}", "removed": "[-{}-]", "added": "{{+{}+}}"}
_IN_COLOUR: Final[dict[_Kind, str]] = {"kept": "{}", "removed": "\033[9;31m{}\033[0m", "added": "\033[32m{}\033[0m"}
_IN_HTML: Final[dict[_Kind, str]] = {
    "kept": "{}",
    "removed": '<del style="color: #c0392b">{}</del>',
    "added": '<ins style="color: #27864e; text-decoration: none">{}</ins>',
}


class _Part(NamedTuple):
    kind: _Kind
    text: str


class PromptDiff:
    """The difference between the prompts of two programs, word by word, for each of their predictors.

    It prints in colour in a terminal, and is shown in colour in a notebook. Elsewhere it prints as `git diff
    --word-diff` does: `[-removed-]` and `{+added+}`. `before` and `after` are `dspy.Module`s.
    """

    def __init__(self, before: Any, after: Any) -> None:
        old, new = dict(before.named_predictors()), dict(after.named_predictors())
        self._parts = {
            name: list(_compared(_prompt(old.get(name)), _prompt(new.get(name))))
            for name in dict.fromkeys([*old, *new])
        }

    def __str__(self) -> str:
        has_colour = sys.stdout is not None and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        return self._shown(_IN_COLOUR if has_colour else _IN_TEXT)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return "".join(
            f"<b>{html.escape(name)}</b>"
            f"<pre style='white-space: pre-wrap'>{_shown(parts, _IN_HTML, escapes=True)}</pre>"
            for name, parts in self._parts.items()
        )

    def _shown(self, how: dict[_Kind, str]) -> str:
        return "\n\n".join(f"{name}:\n{_shown(parts, how)}" for name, parts in self._parts.items())


def _prompt(predictor: Any) -> str:
    """Return what an optimizer changes about a predictor: its instructions, and how many examples it shows."""
    if predictor is None:
        return ""
    demos = len(predictor.demos)
    return f"{predictor.signature.instructions}" + (f"\n\nExamples shown: {demos}" if demos else "")


def _compared(before: str, after: str) -> Iterator[_Part]:
    old, new = (re.findall(r"\s+|[^\s]+", text) for text in (before, after))
    for kind, old_start, old_end, new_start, new_end in difflib.SequenceMatcher(
        a=old, b=new, autojunk=False
    ).get_opcodes():
        if kind == "equal":
            yield _Part("kept", "".join(old[old_start:old_end]))
            continue
        if old_end > old_start:
            yield _Part("removed", "".join(old[old_start:old_end]))
        if new_end > new_start:
            yield _Part("added", "".join(new[new_start:new_end]))


def _shown(parts: list[_Part], how: dict[_Kind, str], *, escapes: bool = False) -> str:
    return "".join(how[part.kind].format(html.escape(part.text) if escapes else part.text) for part in parts)
