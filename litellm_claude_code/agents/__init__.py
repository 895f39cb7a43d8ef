"""Agent profiles: Claude Code with its own tools, defined by name where it runs.

`profile.py` says what a profile is, `registry.py` which there are, `agent_options.py` what one becomes in the SDK's
options; `agent_request.py` translates a call, `agent_run.py` makes the run of it in an `agent_process.py`, `trace.py`
reads what the agent does, and `conversations.py` knows whose conversations may go on.
"""
