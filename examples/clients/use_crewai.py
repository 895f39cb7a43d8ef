"""CrewAI, with its own OpenAI client."""

# /// script
# dependencies = ["crewai"]
#
# [tool.client]
# name = "CrewAI"
# way = "serve"
# type = 'LLM(model="sonnet", provider="openai")'
# works = ["answer", "tools", "structured output"]
# version_of = "crewai"
# remarks = "not in your process: CrewAI needs `mcp` 1, and litellm's tool calls need `mcp` 2"
# ///

import os

os.environ["CREWAI_DISABLE_TELEMETRY"] = "true"

from crewai import LLM, Agent
from crewai.tools import tool
from pydantic import BaseModel


class City(BaseModel):
    """A city."""

    name: str
    population: int


@tool("weather")
def weather(city: str) -> str:
    """Return the weather in a city."""
    return f"sunny in {city}"


model = LLM(model="sonnet", provider="openai")  # OPENAI_BASE_URL and OPENAI_API_KEY name the server
print("answer:", model.call("What is the capital of France?"))

guide = Agent(role="Guide", goal="Help travellers", backstory="Knows the world.", llm=model, tools=[weather])
print("tools:", guide.kickoff("What is the weather in Paris?").raw)
print("structured output:", model.call("Describe Paris.", response_model=City))
