"""A litellm provider for Claude Code. Importing this package registers the model prefix `claude_code/`.

import litellm, litellm_claude_code

litellm.completion(model="claude_code/sonnet", messages=[{"role": "user", "content": "Hello"}])
"""

from .agents.records import agent_records
from .cause import Cause, cause_of
from .dspy_cache import keep_answerers_apart
from .dspy_scores import tell_scores
from .provider import ClaudeCodeProvider, provider, register
from .settings import Settings

__all__ = [
    "Cause",
    "ClaudeCodeProvider",
    "Settings",
    "aclose",
    "agent_records",
    "cause_of",
    "close",
    "load_profiles",
    "profile",
    "provider",
    "rate_limit_status",
    "register",
    "stats",
    "warm_up",
    "whoami",
]

warm_up = provider.warm_up
stats = provider.stats
rate_limit_status = provider.rate_limit_status
whoami = provider.whoami
profile = provider.profile
load_profiles = provider.load_profiles
close = provider.close
aclose = provider.aclose

register()
keep_answerers_apart(provider.answerer)
tell_scores()
provider.begin_run()
