"""A temporary home folder, and an environment without logins or settings. Import this before litellm."""

import os
import tempfile
from pathlib import Path

HOME = Path(tempfile.mkdtemp(prefix="litellm-claude-code-tests-"))
for name in [name for name in os.environ if name.startswith(("ANTHROPIC_", "CLAUDE_CODE_", "LITELLM_"))]:
    del os.environ[name]
os.environ |= {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    # A process costs half a second of CPU. Tests that need one in advance, or more of them, set these themselves.
    "LITELLM_CLAUDE_CODE_SPARE_WORKERS": "0",
    "LITELLM_CLAUDE_CODE_MAX_WORKERS": "4",
    "CLAUDE_CONFIG_DIR": str(HOME / "claude"),
    "XDG_CACHE_HOME": str(HOME / "cache"),
    "HOME": str(HOME),
}
