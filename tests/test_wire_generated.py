"""The comparison with `anthropic/` (test_wire.py) over generated requests."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from litellm_claude_code.testing import StandIn

from .support.generated import examples, requests
from .support.wire import assert_same_betas, assert_same_body, pair


@settings(max_examples=examples(30))
@given(request=requests(), model=st.sampled_from(["claude-sonnet-5-5", "claude-haiku-4-5", "claude-opus-5-5"]))
def test_the_body_is_the_one_anthropic_sends(stand_in: StandIn, request: dict[str, Any], model: str) -> None:
    stand_in.respond, stand_in.validate = lambda record: "Well.", False  # both send what the API refuses, too
    ours, theirs = pair(stand_in, request, model)
    assert_same_body(ours, theirs)
    assert_same_betas(ours, theirs)
