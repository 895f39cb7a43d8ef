"""litellm's proxy for this provider, with a gate in front of it. The command is `litellm-claude-code serve`.

- `server.py` starts the proxy, and `config.py` generates or reads its configuration.
- `gate.py` decides which requests reach the proxy: `bodies.py` reads their bodies, `allowlist.py` lists the
  endpoints, `shapes.py` their fields and the shapes of these, `mending.py` changes what litellm would lose,
  `model_names.py` knows the models, `keys.py` the users, and `backlog.py` how long a request would wait.
- `exchange.py` takes a response to its client: `outcome.py` hears from the provider what became of the request,
  `streams.py` mends litellm's streams, and `error_replies.py` writes error replies. `refused.py` is the gate's own
  error, and `ignored_betas.py` names betas without effect.
- `records.py` has what is kept of a request, for the log (`logs.py`, without the content of requests), the metrics
  (`metrics.py`) and the usage of users.
"""
