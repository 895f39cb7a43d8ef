"""The accounting of calls: it observes them, records what they used, and halts a run that cannot go on.

Budgets, ledgers and reports are in the package `litellm_claude_code_runs`, which does not need litellm.
"""
