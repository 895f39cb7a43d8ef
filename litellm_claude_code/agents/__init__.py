"""Agent profiles: Claude Code with its own tools, defined by name where it runs.

`profile.py` defines a profile, `registry.py` keeps the profiles of this process, and `options.py` turns one into the
SDK's options. `request.py` translates a call, `run.py` runs it in a `process.py`, `trace.py` reads what the agent does,
and `sessions.py` knows which conversations a client may continue.
"""
