"""litellm's proxy for this provider, with a gate in front of it. The command is `litellm-claude-code serve`.

- `server.py` starts the proxy, and `config.py` generates or reads its configuration.
- `gate.py` decides which requests reach the proxy: `bodies.py` reads their bodies, `allowlist.py` lists the endpoints
  and their fields, and `shapes.py` checks the values of the fields.
- `error_replies.py` writes error replies, and `logs.py` keeps the content of requests out of the log.
"""
