"""Agents: Claude Code with its own tools, configured by named profiles.

- `profile.py` defines a profile, `registry.py` holds the profiles of this Python process, and `options.py` converts a
  profile to the SDK's options.
- `request.py` translates a call (`call.py`), `run.py` runs the agent, `process.py` manages its process, and `trace.py`
  reads the frames that the process writes.
- A run is a stream of events (`events.py`), which `response.py` turns into litellm's response or chunks.
- `sessions.py` records which client may continue which conversation, and `folder.py` provides working folders.
- `tools.py` turns Python functions into tools, and `records.py` collects the records of runs.
"""
