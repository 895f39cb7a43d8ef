"""GEPA without DSPy: evolve a prompt, with litellm for the task and for the reflection."""

# /// script
# dependencies = ["gepa"]
#
# [tool.client]
# name = "GEPA"
# way = "in-process"
# type = 'task_lm="claude_code/haiku"'
# works = ["optimization"]
# version_of = "gepa"
# ///

import gepa

import litellm_claude_code  # noqa: F401

facts = [
    {"input": "What is the capital of France?", "answer": "Paris", "additional_context": {}},
    {"input": "And of Italy?", "answer": "Rome", "additional_context": {}},
]
result = gepa.optimize(
    seed_candidate={"system_prompt": "Answer with a sentence."},
    trainset=facts,
    valset=facts,
    task_lm="claude_code/haiku",
    reflection_lm="claude_code/opus",
    max_metric_calls=8,
)
print("optimization:", result.best_candidate["system_prompt"])
