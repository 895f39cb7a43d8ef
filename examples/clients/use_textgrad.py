"""TextGrad, with its engine for litellm."""

# /// script
# dependencies = ["textgrad"]
#
# [tool.client]
# name = "TextGrad"
# way = "in-process"
# type = 'textgrad.get_engine("experimental:claude_code/sonnet")'
# works = ["answer", "optimization"]
# version_of = "textgrad"
# ///

import textgrad

import litellm_claude_code  # noqa: F401

engine = textgrad.get_engine("experimental:claude_code/sonnet")
print("answer:", engine.generate("What is the capital of France?"))

textgrad.set_backward_engine(engine)
fact = textgrad.Variable("The capital of France is Lyon.", role_description="a fact", requires_grad=True)
textgrad.TextLoss("Is this true?")(fact).backward()
textgrad.TGD(parameters=[fact]).step()
print("optimization:", fact.value)
