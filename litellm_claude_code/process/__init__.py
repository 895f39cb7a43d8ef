"""One Claude Code process: how it is started, spoken to, given calls, reset and ended."""
