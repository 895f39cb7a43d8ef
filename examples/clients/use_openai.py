"""OpenAI's client for Python."""

# /// script
# dependencies = ["openai"]
#
# [tool.client]
# name = "openai (Python)"
# way = "serve"
# type = 'openai.OpenAI()'
# works = ["answer", "stream", "tools", "structured output"]
# version_of = "openai"
# ///

import json

import openai
from pydantic import BaseModel


class City(BaseModel):
    """A city."""

    name: str
    population: int


def weather(city: str) -> str:
    """Return the weather in a city."""
    return f"sunny in {city}"


client = openai.OpenAI()  # OPENAI_BASE_URL and OPENAI_API_KEY name the server
question = [{"role": "user", "content": "What is the capital of France?"}]
answer = client.chat.completions.create(model="sonnet", messages=question)
print("answer:", answer.choices[0].message.content)

events = client.responses.create(model="sonnet", input="What is the capital of France?", stream=True)
parts = [event.delta for event in events if event.type == "response.output_text.delta"]
print(f"stream: {len(parts)} parts: {''.join(parts)}")

schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
tools = [{"type": "function", "function": {"name": "weather", "parameters": schema}}]
messages = [{"role": "user", "content": "What is the weather in Paris?"}]
asked = client.chat.completions.create(model="sonnet", messages=messages, tools=tools).choices[0].message
for call in asked.tool_calls:
    result = weather(**json.loads(call.function.arguments))
    messages += [asked, {"role": "tool", "tool_call_id": call.id, "content": result}]
answer = client.chat.completions.create(model="sonnet", messages=messages, tools=tools)
print("tools:", answer.choices[0].message.content)

question = [{"role": "user", "content": "Describe Paris."}]
answer = client.chat.completions.parse(model="sonnet", messages=question, response_format=City)
print("structured output:", answer.choices[0].message.parsed)
