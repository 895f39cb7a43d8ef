"""Pydantic AI."""

# /// script
# dependencies = ["pydantic-ai-slim[openai]"]
#
# [tool.client]
# name = "Pydantic AI"
# way = "serve"
# type = 'Agent("openai-chat:sonnet")'
# works = ["answer", "stream", "tools", "structured output"]
# version_of = "pydantic-ai-slim"
# settings = {LITELLM_CLAUDE_CODE_DROP_PARAMS = "1"}
# ///

import asyncio

from pydantic import BaseModel
from pydantic_ai import Agent


class City(BaseModel):
    """A city."""

    name: str
    population: int


def weather(city: str) -> str:
    """Return the weather in a city."""
    return f"sunny in {city}"


async def streamed() -> list[str]:
    """Return the parts of an answer."""
    async with agent.run_stream("What is the capital of France?") as result:
        return [part async for part in result.stream_text(delta=True, debounce_by=None)]


agent = Agent("openai-chat:sonnet")  # the server's address and key are in OPENAI_BASE_URL and OPENAI_API_KEY
print("answer:", agent.run_sync("What is the capital of France?").output)

parts = asyncio.run(streamed())
print(f"stream: {len(parts)} parts: {''.join(parts)}")

print("tools:", Agent("openai-chat:sonnet", tools=[weather]).run_sync("What is the weather in Paris?").output)
print("structured output:", Agent("openai-chat:sonnet", output_type=City).run_sync("Describe Paris.").output)
