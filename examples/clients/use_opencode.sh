# opencode.

# /// script
# [tool.client]
# name = "opencode"
# way = "serve"
# type = 'opencode run -m claude_code/sonnet "What is the capital of France?"'
# works = ["answer", "tools"]
# npm = ["opencode-ai"]
# version_of = "opencode-ai"
# remarks = "needs [a file](#configuration-files)"
# ///

set -e

cat > opencode.json << EOF
{
  "provider": {
    "claude_code": {
      "npm": "@ai-sdk/openai-compatible",
      "options": {"baseURL": "{env:OPENAI_BASE_URL}", "apiKey": "{env:OPENAI_API_KEY}"},
      "models": {"sonnet": {}}
    }
  }
}
EOF

echo "answer: $(opencode run -m claude_code/sonnet "What is the capital of France?")"
echo "tools: $(opencode run -m claude_code/sonnet "Run the command: echo sunny")"
