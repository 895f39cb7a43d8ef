# Claude Code itself, on the models of another machine's server.

# /// script
# dependencies = ["claude-agent-sdk"]
#
# [tool.client]
# name = "Claude Code"
# way = "serve"
# type = 'claude --model sonnet'
# works = ["answer", "stream", "tools"]
# version_of = "claude-agent-sdk"
# remarks = "version: of the Agent SDK that contains it"
# ///

set -e

# ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY name the server. Here Claude Code is the one in the Agent SDK's wheel.
claude() {
    "$(python -c 'import claude_agent_sdk; print(claude_agent_sdk.__path__[0])')/_bundled/claude" "$@"
}

echo "answer: $(claude --model sonnet -p "What is the capital of France?")"

claude --model sonnet -p "What is the capital of France?" --verbose --output-format stream-json --include-partial-messages \
    > events.jsonl
echo "stream: $(grep -c text_delta events.jsonl) parts: $(tail -1 events.jsonl | python -c 'import json; print(json.loads(input())["result"])')"

echo "tools: $(claude --model sonnet -p "Run the command: echo sunny" --allowedTools Bash)"
