"""Google's Agent Development Kit, with its model for litellm."""

# /// script
# dependencies = ["google-adk"]
#
# [tool.client]
# name = "Google ADK"
# way = "in-process"
# type = 'LlmAgent(name="guide", model=LiteLlm("claude_code/sonnet"))'
# works = ["answer", "stream", "tools", "structured output"]
# version_of = "google-adk"
# ///

import asyncio
from collections.abc import AsyncIterator

from google.adk.agents import LlmAgent, RunConfig
from google.adk.agents.run_config import StreamingMode
from google.adk.models.lite_llm import LiteLlm
from google.adk.runners import InMemoryRunner
from google.genai.types import Content, Part
from pydantic import BaseModel

import litellm_claude_code  # noqa: F401


class City(BaseModel):
    """A city."""

    name: str
    population: int


def weather(city: str) -> str:
    """Return the weather in a city."""
    return f"sunny in {city}"


async def ask(agent: LlmAgent, question: str, *, stream: bool = False) -> AsyncIterator[tuple[str, bool]]:
    """Yield each text of an agent's run, and whether it is a part of one."""
    runner = InMemoryRunner(agent)
    session = await runner.session_service.create_session(app_name=runner.app_name, user_id="me")
    async for event in runner.run_async(
        user_id="me",
        session_id=session.id,
        new_message=Content(role="user", parts=[Part(text=question)]),
        run_config=RunConfig(streaming_mode=StreamingMode.SSE if stream else StreamingMode.NONE),
    ):
        for part in event.content.parts if event.content else ():
            if part.text:
                yield part.text, bool(event.partial)


async def main() -> None:
    """Ask, stream, use a tool, and fill in a model."""
    guide = LlmAgent(name="guide", model=LiteLlm("claude_code/sonnet"))
    print("answer:", *[text async for text, _ in ask(guide, "What is the capital of France?")])

    streamed = [each async for each in ask(guide, "What is the capital of France?", stream=True)]
    parts = [text for text, is_part in streamed if is_part]
    print(f"stream: {len(parts)} parts: {''.join(parts)}")

    reporter = LlmAgent(name="reporter", model=LiteLlm("claude_code/sonnet"), tools=[weather])
    print("tools:", *[text async for text, _ in ask(reporter, "What is the weather in Paris?")])

    mayor = LlmAgent(name="mayor", model=LiteLlm("claude_code/sonnet"), output_schema=City)
    print("structured output:", *[text async for text, _ in ask(mayor, "Describe Paris.")])


asyncio.run(main())
