"""`python -m litellm_claude_code.testing` does the same as `litellm-claude-code stand-in`."""

import typer

from litellm_claude_code_cli.stand_in import stand_in

typer.run(stand_in)
