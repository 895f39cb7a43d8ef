"""Run the command `litellm-claude-code` as `python -m litellm_claude_code`."""

from litellm_claude_code_cli.app import main

main()
