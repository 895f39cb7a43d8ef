"""litellm's own proxy over this provider, with a gate in front of it.

`node` starts it, `config` says what it serves, `gate` lets requests in, `fields` says what they may hold, `logs` keeps
what they held out of the log. The command is `litellm-claude-code serve`.
"""
