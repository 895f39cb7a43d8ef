"""Anthropic's client for Python."""

# /// script
# dependencies = ["anthropic"]
#
# [tool.client]
# name = "anthropic (Python)"
# way = "serve"
# type = 'anthropic.Anthropic()'
# works = ["answer", "stream", "tools", "structured output", "thinking"]
# version_of = "anthropic"
# ///

import anthropic
from pydantic import BaseModel


class City(BaseModel):
    """A city."""

    name: str
    population: int


@anthropic.beta_tool
def weather(city: str) -> str:
    """Return the weather in a city."""
    return f"sunny in {city}"


client = anthropic.Anthropic()  # ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY name the server
question = [{"role": "user", "content": "What is the capital of France?"}]
print("answer:", client.messages.create(model="sonnet", max_tokens=100, messages=question).content[0].text)

with client.messages.stream(model="sonnet", max_tokens=100, messages=question) as stream:
    parts = list(stream.text_stream)
print(f"stream: {len(parts)} parts: {''.join(parts)}")

thinking = {"type": "adaptive", "display": "summarized"}
with client.messages.stream(model="sonnet", max_tokens=2000, messages=question, thinking=thinking) as stream:
    print("thinking:", stream.get_final_message().content[0].thinking)

question = [{"role": "user", "content": "What is the weather in Paris?"}]
runner = client.beta.messages.tool_runner(model="sonnet", max_tokens=100, messages=question, tools=[weather])
print("tools:", runner.until_done().content[0].text)

question = [{"role": "user", "content": "Describe Paris."}]
answer = client.messages.parse(model="sonnet", max_tokens=100, messages=question, output_format=City)
print("structured output:", answer.parsed_output)
