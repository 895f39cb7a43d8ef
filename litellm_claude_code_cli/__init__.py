"""The command `litellm-claude-code`, a module for each of its subcommands.

A package of its own because of what importing `litellm_claude_code` does: it registers the provider, and litellm takes
two to four seconds to import. Help, usage errors and a shell's completion cannot wait for that, so nothing here imports
litellm, the SDK or `litellm_claude_code` before a subcommand has begun.
"""
