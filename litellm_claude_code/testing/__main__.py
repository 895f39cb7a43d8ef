"""`python -m litellm_claude_code.testing`: what `litellm-claude-code stand-in` is."""

import typer

from litellm_claude_code_cli.stand_in import stand_in

typer.run(stand_in)
