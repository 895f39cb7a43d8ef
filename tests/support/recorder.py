"""A provider for litellm's proxy that answers every call and records its arguments."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from litellm import CustomLLM, ModelResponse
from litellm.types.utils import GenericStreamingChunk

_KEPT = ("model", "messages", "api_base", "api_key", "headers", "optional_params")


class Recorder(CustomLLM):
    """Appends a line of JSON to the file `RECORDED` for each call."""

    async def acompletion(self, **given: Any) -> ModelResponse:  # type: ignore[override]  # by keyword only
        self._record(given)
        response: ModelResponse = given["model_response"]
        response.choices[0].message.content = "Recorded."
        return response

    async def astreaming(self, **given: Any) -> AsyncIterator[GenericStreamingChunk]:  # type: ignore[override]
        self._record(given)
        yield {
            "finish_reason": "stop", "index": 0, "is_finished": True, "text": "Recorded.", "tool_use": None,
            "usage": {"completion_tokens": 1, "prompt_tokens": 1, "total_tokens": 2},
        }  # fmt: skip

    def _record(self, given: dict[str, Any]) -> None:
        with Path(os.environ["RECORDED"]).open("a") as file:
            file.write(json.dumps({name: given[name] for name in _KEPT}, default=repr) + "\n")


recorder = Recorder()
