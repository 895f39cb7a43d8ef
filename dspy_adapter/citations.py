"""Let DSPy take citations from the API's answer for `claude_code/` too, as it does for `anthropic/`.

DSPy 3.4 asks the model to write citations as text, and makes a second request if it does not, unless the name of the LM
begins with `anthropic/`. It has no hook for other providers.
"""

from __future__ import annotations

from typing import Any

from dspy.experimental import Citations

from litellm_claude_code.models import PROVIDER, split_profile


def take_citations_natively() -> None:
    """Make `dspy.experimental.Citations` a native feature of `claude_code/…`, for `dspy.LM` and `ClaudeCodeLM`.

    Agents (`sonnet@reviewer`) are left out: their answers have no citations.
    """
    adapt = Citations.adapt_to_native_lm_feature

    def adapted(cls: Any, signature: Any, field_name: str, lm: Any, lm_kwargs: dict[str, Any]) -> Any:
        if lm.model.startswith(f"{PROVIDER}/") and split_profile(lm.model)[1] is None:
            return signature.delete(field_name)
        return adapt(signature, field_name, lm, lm_kwargs)

    Citations.adapt_to_native_lm_feature = classmethod(adapted)
