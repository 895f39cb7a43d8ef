"""`python -m litellm_claude_code`: the command `litellm-claude-code`."""

from litellm_claude_code_cli.app import main

main()
