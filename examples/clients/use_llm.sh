# Simon Willison's `llm`, with the server as an OpenAI-compatible model.

# /// script
# dependencies = ["llm"]
#
# [tool.client]
# name = "llm"
# way = "serve"
# type = 'llm -m sonnet "What is the capital of France?"'
# works = ["answer", "tools", "structured output"]
# version_of = "llm"
# remarks = "needs [a file](#configuration-files)"
# ///

set -e

llm keys set claude-code --value "$OPENAI_API_KEY"
cat >> "$(dirname "$(llm logs path)")/extra-openai-models.yaml" << EOF
- model_id: sonnet
  model_name: sonnet
  api_base: $OPENAI_BASE_URL
  api_key_name: claude-code
  supports_tools: true
  supports_schema: true
EOF

echo "answer: $(llm -m sonnet "What is the capital of France?")"

weather='def weather(city: str) -> str:
    """Return the weather in a city."""
    return f"sunny in {city}"'
echo "tools: $(llm -m sonnet "What is the weather in Paris?" --functions "$weather")"
echo "structured output: $(llm -m sonnet "Describe Paris." --schema "name, population int")"
