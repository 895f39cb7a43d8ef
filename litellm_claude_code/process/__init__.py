"""One Claude Code process: its launch, its frames, its calls, its end."""
