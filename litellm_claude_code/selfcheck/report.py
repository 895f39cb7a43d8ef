"""What a self-check found, and the sentence that says so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import Failure
from ..tested_versions import CLI_BY_SDK


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a self-check found."""

    cli: Path | None
    cli_version: str
    """Empty where the CLI did not tell."""
    sdk_version: str
    problems: tuple[str, ...] = ()
    """What the CLI does otherwise, a sentence each that names the variable, flag or step concerned."""
    policies: tuple[str, ...] = ()
    """What the managed settings of this machine have to do with it, a sentence for each file."""
    is_finished: bool = True
    """False where the CLI went away or did not answer, so that the last problem may be the machine's."""
    refused: Failure | None = None
    """The refusal of a setting under which no process is started, so that the CLI was not checked."""

    @property
    def is_good(self) -> bool:
        return not self.problems

    def sentence(self) -> str:
        """Say what is wrong, what it has to do with, and which versions are known to work; empty for a good report."""
        if self.is_good:
            return ""
        version = self.cli_version or "of unknown version"
        found = f"The Claude Code CLI {version} ({self.cli or 'not found'}, claude-agent-sdk {self.sdk_version})"
        if self.refused is not None:
            return " ".join([f"{found} was not checked.", *self.problems, *self.policies])
        return " ".join([f"{found} does not do what litellm_claude_code relies on.", *self.problems, *self._advice()])

    def _advice(self) -> list[str]:
        sdk, cli = list(CLI_BY_SDK.items())[-1]
        known = f"Known to work: claude-agent-sdk {sdk} with the CLI {cli} in its wheel"
        advice = [*self.policies]
        if CLI_BY_SDK.get(self.sdk_version) == self.cli_version and not self.policies:
            advice.append("These versions are known to work: look for a policy, or a wrapper of the CLI, in between.")
        return [*advice, f"{known}: pip install 'claude-agent-sdk=={sdk}', and no LITELLM_CLAUDE_CODE_CLI_PATH."]


@dataclass(frozen=True)
class Problem:
    """Something the CLI does otherwise, and the variables, flags or steps that should have seen to it."""

    text: str
    switches: tuple[str, ...] = ()

    def sentence(self) -> str:
        why = f": {' or '.join(self.switches)} has no effect" if self.switches else ""
        return f"{self.text[0].upper()}{self.text[1:]}{why}."
