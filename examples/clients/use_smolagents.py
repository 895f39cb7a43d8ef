"""smolagents: an agent that calls tools, and one that writes code."""

# /// script
# dependencies = ["smolagents[litellm]"]
#
# [tool.client]
# name = "smolagents"
# way = "in-process"
# type = 'LiteLLMModel(model_id="claude_code/sonnet")'
# works = ["answer", "stream", "tools"]
# version_of = "smolagents"
# settings = {LITELLM_CLAUDE_CODE_DROP_PARAMS = "1"}
# ///

from smolagents import ChatMessage, LiteLLMModel, ToolCallingAgent, tool

import litellm_claude_code  # noqa: F401


@tool
def weather(city: str) -> str:
    """Return the weather in a city.

    Args:
        city: The city.
    """
    return f"sunny in {city}"


model = LiteLLMModel(model_id="claude_code/sonnet")
question = [ChatMessage(role="user", content="What is the capital of France?")]
print("answer:", model.generate(question).content)

parts = [delta.content for delta in model.generate_stream(question) if delta.content]
print(f"stream: {len(parts)} parts: {''.join(parts)}")

agent = ToolCallingAgent(tools=[weather], model=model, verbosity_level=0)
print("tools:", agent.run("What is the weather in Paris?"))
