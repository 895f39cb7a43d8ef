"""Programs that stand for the CLI and start the real one: with other control requests, or without a flag."""

BETWEEN = """
import json, subprocess, sys, threading
pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
cli = subprocess.Popen([{cli!r}, *sys.argv[1:]], stdin=pipe, stdout=pipe, stderr=nowhere, text=True)

def pass_back():
    for line in cli.stdout:
        print(line, end="", flush=True)

def answer(frame, response):
    print(json.dumps({{"type": "control_response", "response": {{"request_id": frame["request_id"], **response}}}}),
          flush=True)

threading.Thread(target=pass_back, daemon=True).start()
for line in sys.stdin:
    frame = json.loads(line)
    request = frame.get("request", {{}})
    subtype = request.get("subtype")
    env = request.get("settings", {{}}).get("env", {{}})
    {change}
    print(json.dumps(frame), file=cli.stdin, flush=True)
"""


# A value for `change`: the program sends this response itself, and the CLI never sees the request.
INSTEAD = "if {when}:\n        answer(frame, {reply})\n        continue"


# Replaces itself with the CLI, without a flag: the flag and its value are so many `words`.
WITHOUT_FLAG = """
import os, sys
arguments = sys.argv[1:]
position = arguments.index({flag!r})
del arguments[position : position + {words}]
os.execv({cli!r}, [{cli!r}, *arguments])
"""
