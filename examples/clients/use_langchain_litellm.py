"""LangChain in your process, through langchain-litellm."""

# /// script
# dependencies = ["langchain-litellm"]
#
# [tool.client]
# name = "LangChain (langchain-litellm)"
# way = "in-process"
# type = 'ChatLiteLLM(model="claude_code/sonnet")'
# works = ["answer", "stream", "tools", "structured output"]
# version_of = "langchain-litellm"
# ///

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_litellm import ChatLiteLLM
from pydantic import BaseModel

import litellm_claude_code  # noqa: F401


class City(BaseModel):
    """A city."""

    name: str
    population: int


@tool
def weather(city: str) -> str:
    """Return the weather in a city."""
    return f"sunny in {city}"


model = ChatLiteLLM(model="claude_code/sonnet")
print("answer:", model.invoke("What is the capital of France?").content)

parts = [part.content for part in model.stream("What is the capital of France?") if part.content]
print(f"stream: {len(parts)} parts: {''.join(parts)}")

question = HumanMessage("What is the weather in Paris?")
with_tools = model.bind_tools([weather])
asked = with_tools.invoke([question])
results = [ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"]) for call in asked.tool_calls]
print("tools:", with_tools.invoke([question, asked, *results]).content)

print("structured output:", model.with_structured_output(City).invoke("Describe Paris."))
