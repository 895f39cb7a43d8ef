# OpenAI's Codex CLI.

# /// script
# [tool.client]
# name = "Codex"
# way = "serve"
# type = 'codex -c model_provider=claude_code -m sonnet'
# works = ["answer", "tools"]
# npm = ["@openai/codex"]
# version_of = "@openai/codex"
# remarks = "needs [a file](#configuration-files)"
# ///

set -e

mkdir -p ~/.codex
cat >> ~/.codex/config.toml << EOF
[model_providers.claude_code]
name = "Claude Code"
base_url = "$OPENAI_BASE_URL"
env_key = "OPENAI_API_KEY"
wire_api = "responses"
EOF

ask() {
    codex -c model_provider=claude_code -m sonnet exec --skip-git-repo-check "$1"
}

echo "answer: $(ask "What is the capital of France?")"
echo "tools: $(ask "Run the command: echo sunny")"
