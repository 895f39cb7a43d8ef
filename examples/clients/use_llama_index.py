"""LlamaIndex, with its LLM for litellm."""

# /// script
# dependencies = ["llama-index-llms-litellm"]
#
# [tool.client]
# name = "LlamaIndex"
# way = "in-process"
# type = 'LiteLLM("claude_code/sonnet")'
# works = ["answer", "stream", "tools", "structured output"]
# version_of = "llama-index-llms-litellm"
# settings = {LITELLM_CLAUDE_CODE_DROP_PARAMS = "1"}
# ///

import asyncio

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.llms.litellm import LiteLLM
from pydantic import BaseModel

import litellm_claude_code  # noqa: F401


class City(BaseModel):
    """A city."""

    name: str
    population: int


def weather(city: str) -> str:
    """Return the weather in a city."""
    return f"sunny in {city}"


async def main() -> None:
    """Ask, stream, use a tool, and fill in a model."""
    llm = LiteLLM("claude_code/sonnet")
    print("answer:", llm.complete("What is the capital of France?"))

    parts = [part.delta for part in llm.stream_complete("What is the capital of France?") if part.delta]
    print(f"stream: {len(parts)} parts: {''.join(parts)}")

    print("tools:", await FunctionAgent(tools=[weather], llm=llm).run("What is the weather in Paris?"))

    print("structured output:", repr(llm.as_structured_llm(City).complete("Describe Paris.").raw))


asyncio.run(main())
