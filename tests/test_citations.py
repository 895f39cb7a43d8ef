"""Documents and their citations: taken from the API's answer, without a second request. And documents by address."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dspy
import litellm
import pytest
from dspy.experimental import Citations, Document

from dspy_adapter import ClaudeCodeLM
from litellm_claude_code.testing import StandIn, Text, answer

from .support.requests import user
from .support.wire import assert_same_betas, assert_same_body, pair

FACT = "Water boils at 100 °C at standard atmospheric pressure."
CITATION = {
    "type": "char_location",
    "cited_text": FACT,
    "document_index": 0,
    "document_title": "Physics",
    "start_char_index": 0,
    "end_char_index": len(FACT),
}
LMS: dict[str, Callable[..., Any]] = {
    "ClaudeCodeLM": lambda **where: ClaudeCodeLM("sonnet", cache=False, **where),
    "a plain dspy.LM": lambda **where: dspy.LM("claude_code/sonnet", cache=False, **where),
    "anthropic/": lambda **where: dspy.LM("anthropic/claude-sonnet-5-5", cache=False, **where),
}


class AnswerWithSources(dspy.Signature):  # type: ignore[misc]  # DSPy is not typed
    """Answer the question from the documents."""

    documents: list[Document] = dspy.InputField()
    question: str = dspy.InputField()
    answer: str = dspy.OutputField()
    citations: Citations = dspy.OutputField()


@pytest.fixture
def citing(stand_in: StandIn) -> StandIn:
    stand_in.respond = lambda request: answer(
        Text("[[ ## answer ## ]]\n"), Text("At 100 °C", citations=[CITATION]), Text("\n\n[[ ## completed ## ]]")
    )
    return stand_in


@pytest.mark.parametrize("name", LMS)
def test_citations_are_those_of_the_api_and_cost_no_second_request(citing: StandIn, name: str) -> None:
    lm = LMS[name](api_base=citing.base_url, api_key=citing.api_key)
    with dspy.context(lm=lm):
        predicted = dspy.Predict(AnswerWithSources)(
            documents=[Document(data=FACT, title="Physics")], question="When does water boil?"
        )
    assert predicted.answer == "At 100 °C"
    assert [each.cited_text for each in predicted.citations] == [FACT]
    (request,) = citing.requests
    blocks = request.body["messages"][0]["content"]
    (document,) = (block for block in blocks if block["type"] == "document")
    assert document["citations"] == {"enabled": True}
    assert "## citations" not in str(blocks)


@pytest.mark.parametrize("stream", [False, True])
def test_citations_come_as_from_anthropic(citing: StandIn, stream: bool) -> None:
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": FACT}}
    content = [{**document, "citations": {"enabled": True}}, {"type": "text", "text": "When does water boil?"}]
    found = []
    for model in ("claude_code/claude-sonnet-5-5", "anthropic/claude-sonnet-5-5"):
        given: dict[str, Any] = {"api_base": citing.base_url, "api_key": citing.api_key, "stream": stream}
        response: Any = litellm.completion(model, messages=[user(content)], **given)
        if stream:
            fields = [chunk.choices[0].delta.provider_specific_fields or {} for chunk in response]
            found.append([each["citation"] for each in fields if "citation" in each])
        else:
            found.append(response.choices[0].message.provider_specific_fields["citations"])
    assert found[0] == found[1]
    assert FACT in str(found[0])


def file(file_id: str, **more: Any) -> dict[str, Any]:
    return {"type": "file", "file": {"file_id": file_id, **more}}


def test_a_file_url_is_sent_as_by_anthropic(stand_in: StandIn) -> None:
    content = [{"type": "text", "text": "Sum up"}, file("https://example.com/a.pdf")]
    ours, theirs = pair(stand_in, {"messages": [user(content)]})
    assert_same_body(ours, theirs)
    assert "url" in str(ours.body["messages"])
    theirs.headers["anthropic-beta"] = (
        ""  # litellm asks for the betas of uploaded files, which an address does not need
    )
    assert_same_betas(ours, theirs)


@pytest.mark.parametrize("more", [[], [file("https://example.com/a.pdf")]])
def test_an_uploaded_file_is_refused_and_the_error_says_how_to_send_it(stand_in: StandIn, more: list[Any]) -> None:
    content = [{"type": "text", "text": "Sum up"}, file("file_abc", format="application/pdf"), *more]
    where: dict[str, Any] = {"api_base": stand_in.base_url, "api_key": stand_in.api_key}
    with pytest.raises(litellm.UnsupportedParamsError, match="Send the file's data"):
        litellm.completion("claude_code/sonnet", messages=[user(content)], **where)
    assert stand_in.requests == []
