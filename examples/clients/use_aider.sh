# aider: edits files in a repository.

# /// script
# dependencies = ["aider-chat"]
#
# [tool.client]
# name = "aider"
# way = "serve"
# type = 'aider --model openai/sonnet'
# works = ["answer", "edits"]
# version_of = "aider-chat"
# settings = {LITELLM_CLAUDE_CODE_DROP_PARAMS = "1"}
# remarks = "not in your process: it pins `pydantic`, `filelock` and others"
# ///

set -e
git init --quiet .
echo "cloudy" > weather.txt

# aider's litellm reads OPENAI_API_BASE.
export OPENAI_API_BASE="$OPENAI_BASE_URL"
aider() {
    command aider --model openai/sonnet --yes-always --no-check-update --no-show-model-warnings --analytics-disable --no-pretty "$@"
}

echo "answer: $(aider --chat-mode ask --message "What is the capital of France?" | grep capital)"
aider weather.txt --message "Change weather.txt to sunny in Paris."
echo "edits: $(cat weather.txt)"
