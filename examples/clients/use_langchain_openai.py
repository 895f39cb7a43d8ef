"""LangChain, with langchain-openai."""

# /// script
# dependencies = ["langchain-openai"]
#
# [tool.client]
# name = "LangChain (langchain-openai)"
# way = "serve"
# type = 'ChatOpenAI(model="sonnet")'
# works = ["answer", "stream", "tools", "structured output"]
# version_of = "langchain-openai"
# ///

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel


class City(BaseModel):
    """A city."""

    name: str
    population: int


@tool
def weather(city: str) -> str:
    """Return the weather in a city."""
    return f"sunny in {city}"


model = ChatOpenAI(model="sonnet")  # OPENAI_BASE_URL and OPENAI_API_KEY name the server
print("answer:", model.invoke("What is the capital of France?").text)

parts = [part.text for part in model.stream("What is the capital of France?") if part.text]
print(f"stream: {len(parts)} parts: {''.join(parts)}")

question = HumanMessage("What is the weather in Paris?")
with_tools = model.bind_tools([weather])
asked = with_tools.invoke([question])
results = [ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"]) for call in asked.tool_calls]
print("tools:", with_tools.invoke([question, asked, *results]).text)

print("structured output:", model.with_structured_output(City).invoke("Describe Paris."))
