"""The result of a self-check, and its text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import Failure
from ..tested_versions import CLI_BY_SDK


@dataclass(frozen=True, kw_only=True)
class Report:
    """The result of a self-check."""

    cli: Path | None
    cli_version: str
    """Empty if it could not be determined."""
    sdk_version: str
    problems: tuple[str, ...] = ()
    """A sentence for each difference in the CLI's behaviour, with the variables, flags or steps that are concerned."""
    policies: tuple[str, ...] = ()
    """A sentence for each file of managed settings on this machine, which may explain the problems."""
    is_finished: bool = True
    """False if the CLI failed or did not answer. The last problem may then be the machine's and not the CLI's."""
    refused: Failure | None = None
    """Set if a setting is refused under which no process may run; the CLI was not checked then."""

    @property
    def is_good(self) -> bool:
        return not self.problems

    def sentence(self) -> str:
        """Return the problems, their possible causes and the versions known to work; empty if there is no problem."""
        if self.is_good:
            return ""
        version = self.cli_version or "of unknown version"
        found = f"The Claude Code CLI {version} ({self.cli or 'not found'}, claude-agent-sdk {self.sdk_version})"
        if self.refused is not None:
            return " ".join([f"{found} was not checked.", *self.problems, *self.policies])
        return " ".join(
            [
                f"{found} failed the self-check: it does not behave as litellm_claude_code needs.",
                *self.problems,
                *self._advice(),
            ]
        )

    def _advice(self) -> list[str]:
        sdk, cli = list(CLI_BY_SDK.items())[-1]
        advice = [*self.policies]
        if CLI_BY_SDK.get(self.sdk_version) == self.cli_version and not self.policies:
            advice.append("These versions are known to work, so look for a policy, or for a wrapper around the CLI.")
        return [
            *advice,
            f"The CLI {cli} is known to work: run `pip install 'claude-agent-sdk=={sdk}'`, which contains it, and "
            "unset LITELLM_CLAUDE_CODE_CLI_PATH.",
        ]


@dataclass(frozen=True)
class Problem:
    """A difference in the CLI's behaviour, and the variables, flags or steps that should have prevented it."""

    text: str
    switches: tuple[str, ...] = ()

    def sentence(self) -> str:
        why = f": {' or '.join(self.switches)} has no effect" if self.switches else ""
        return f"{self.text[0].upper()}{self.text[1:]}{why}."
