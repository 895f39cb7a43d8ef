"""OpenAI's Agents SDK, with its model for litellm."""

# /// script
# dependencies = ["openai-agents[litellm]"]
#
# [tool.client]
# name = "OpenAI Agents SDK"
# way = "in-process"
# type = 'Agent(name="Guide", model=LitellmModel("claude_code/sonnet"))'
# works = ["answer", "stream", "tools", "structured output"]
# version_of = "openai-agents"
# ///

import asyncio

from agents import Agent, Runner, function_tool, set_tracing_disabled
from agents.extensions.models.litellm_model import LitellmModel
from pydantic import BaseModel

import litellm_claude_code  # noqa: F401

set_tracing_disabled(True)  # traces go to OpenAI, with an OpenAI key


class City(BaseModel):
    """A city."""

    name: str
    population: int


@function_tool
def weather(city: str) -> str:
    """Return the weather in a city."""
    return f"sunny in {city}"


async def main() -> None:
    """Ask, stream, use a tool, and fill in a model."""
    guide = Agent(name="Guide", model=LitellmModel("claude_code/sonnet"))
    print("answer:", (await Runner.run(guide, "What is the capital of France?")).final_output)

    streamed = Runner.run_streamed(guide, "What is the capital of France?")
    events = [event.data async for event in streamed.stream_events() if event.type == "raw_response_event"]
    parts = [event.delta for event in events if event.type == "response.output_text.delta"]
    print(f"stream: {len(parts)} parts: {''.join(parts)}")

    reporter = Agent(name="Reporter", model=guide.model, tools=[weather])
    print("tools:", (await Runner.run(reporter, "What is the weather in Paris?")).final_output)

    mayor = Agent(name="Mayor", model=guide.model, output_type=City)
    print("structured output:", (await Runner.run(mayor, "Describe Paris.")).final_output)


asyncio.run(main())
