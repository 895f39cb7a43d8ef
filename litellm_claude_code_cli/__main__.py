"""`python -m litellm_claude_code_cli`: as `python -m litellm_claude_code`, but without importing litellm first."""

from .app import main

main()
