"""DSPy on Claude Code: a `dspy.LM` for unattended runs.

import dspy
from dspy_adapter import Budget, ClaudeCodeLM, track_run

budget = Budget("gepa", max_usd=20)
dspy.configure(lm=ClaudeCodeLM("haiku", budget=budget))
with track_run() as run:
    ...
print(run)
"""

try:
    import dspy  # noqa: F401 - to say what is missing
except ModuleNotFoundError as error:
    if error.name != "dspy":
        raise
    message = 'dspy_adapter needs DSPy, which is not installed. Run: pip install "litellm_claude_code[dspy]"'
    raise ModuleNotFoundError(message, name="dspy") from None

from litellm_claude_code.accounting.run import Run
from litellm_claude_code_runs.budget import Budget
from litellm_claude_code_runs.halt import RunHalted
from litellm_claude_code_runs.ledger import Spending
from litellm_claude_code_runs.report import CallRecord

from .citations import take_citations_natively
from .lm import ClaudeCodeLM
from .prompt_diff import PromptDiff
from .tracking import track_run

__all__ = ["Budget", "CallRecord", "ClaudeCodeLM", "PromptDiff", "Run", "RunHalted", "Spending", "track_run"]

take_citations_natively()

# Saved programs contain the class's path, so it must not change when a module is renamed.
ClaudeCodeLM.__module__ = __name__
