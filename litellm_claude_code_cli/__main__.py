"""`python -m litellm_claude_code_cli`: what `python -m litellm_claude_code` is, without waiting for litellm."""

from .app import main

main()
