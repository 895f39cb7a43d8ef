"""The command `litellm-claude-code`, with one module per subcommand.

This is a separate package because importing `litellm_claude_code` registers the provider, and litellm takes two to four
seconds to import. Help, usage errors and shell completion must not wait for that. Nothing here therefore imports
litellm, the SDK or `litellm_claude_code` before a subcommand runs.
"""
