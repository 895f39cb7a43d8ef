"""instructor: answers as pydantic models."""

# /// script
# dependencies = ["instructor"]
#
# [tool.client]
# name = "instructor"
# way = "in-process"
# type = "instructor.from_litellm(litellm.completion)"
# works = ["structured output", "partial output"]
# version_of = "instructor"
# settings = {LITELLM_CLAUDE_CODE_DROP_PARAMS = "1"}
# remarks = "partial output with `litellm.acompletion` only: instructor takes litellm's streams for asynchronous ones"
# ///

import asyncio

import instructor
import litellm
from pydantic import BaseModel

import litellm_claude_code  # noqa: F401


class City(BaseModel):
    """A city."""

    name: str
    population: int


async def partial() -> list[City]:
    """Return the model as it fills up."""
    client = instructor.from_litellm(litellm.acompletion)
    return [city async for city in client.chat.completions.create_partial(response_model=City, **question)]


question = {"model": "claude_code/sonnet", "messages": [{"role": "user", "content": "Describe Paris."}]}
client = instructor.from_litellm(litellm.completion)
print("structured output:", client.chat.completions.create(response_model=City, **question))
print("partial output:", asyncio.run(partial())[-1])
