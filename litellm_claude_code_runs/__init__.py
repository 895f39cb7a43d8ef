"""The accounting of a run: its budgets, what it has spent, why it was halted, and its report.

This is a separate package because `litellm-claude-code run` reads a run while the program runs and after it has ended,
and must not wait for the seconds that importing litellm takes. Nothing here therefore imports litellm or
`litellm_claude_code`. What observes calls is in `litellm_claude_code/accounting/`.
"""
