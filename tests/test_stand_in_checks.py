"""What the stand-in refuses, as the Messages API does, and the JSON that it answers by default."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Annotated, Any, Literal, get_args, get_type_hints
from uuid import UUID

import anthropic
import httpx
import jsonschema
import pytest
from anthropic.types import beta
from anthropic.types.beta import message_create_params
from anthropic.types.beta.beta_content_block import BetaContentBlock
from anthropic.types.beta.beta_content_block_param import BetaContentBlockParam
from anthropic.types.beta.beta_tool_result_block_param import Content as InResult
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from litellm_claude_code.testing import BedrockStandIn, FoundryStandIn, StandIn, VertexStandIn, api_fields
from litellm_claude_code.testing.request_checks import find_mistake, is_claude
from litellm_claude_code.testing.schema_example import NoExample, make_example

from .support.clouds import AnyStandIn

MODEL = "claude-sonnet-5-5"


@pytest.fixture(scope="module")
def one() -> Iterator[StandIn]:
    with StandIn() as stand_in:
        yield stand_in


@pytest.fixture
def claude(one: StandIn) -> Iterator[anthropic.Anthropic]:
    one.reset()
    yield (client := anthropic.Anthropic(base_url=one.base_url, api_key=one.api_key, max_retries=0))
    client.close()
    one.models = one.fields = ()


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


def assistant(*content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(content)}


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **more}


def mark(ttl: str | None = None) -> dict[str, Any]:
    return {"cache_control": {"type": "ephemeral", **({"ttl": ttl} if ttl else {})}}


def call(key: str = "toolu_1", **more: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": key, "name": "add", "input": {"a": 1}, **more}


def result(key: str = "toolu_1", **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": key, "content": "2", **more}


def image(**source: Any) -> dict[str, Any]:
    return {"type": "image", "source": source}


HI = text("hi")
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
TOOL = {"name": "add", "description": "Adds.", "input_schema": SCHEMA}
BUDGET = {"type": "enabled", "budget_tokens": 2000}
FORCED = {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "add"}}
BODY: dict[str, Any] = {"model": MODEL, "max_tokens": 4000, "messages": [user(HI)]}


def talk(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"messages": list(messages), **more}


def formed(schema: Any) -> dict[str, Any]:
    return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}


REFUSED: list[tuple[dict[str, Any], str]] = [
    # unknown and missing fields, and values of a wrong type
    ({"temprature": 1}, "temprature: Extra inputs are not permitted"),
    ({"response_format": {"type": "json_object"}}, "response_format: Extra inputs are not permitted"),
    ({"model": None}, "model: Field required"),
    ({"max_tokens": None}, "max_tokens: Field required"),
    ({"messages": None}, "messages: Field required"),
    ({"max_tokens": "9"}, "max_tokens: Input should be a valid integer"),
    ({"max_tokens": True}, "max_tokens: Input should be a valid integer"),
    ({"max_tokens": -1}, "max_tokens: Input should be greater than or equal to 0"),
    ({"stream": "yes"}, "stream: Input should be a valid boolean"),
    ({"metadata": {"team": "a"}}, "metadata.team: Extra inputs are not permitted"),
    ({"temperature": 1.5}, "temperature: range: 0..1"),
    ({"top_p": -0.5}, "top_p: range: 0..1"),
    ({"top_k": -1}, "top_k: Input should be greater"),
    ({"stop_sequences": ["  "]}, "each stop sequence must contain non-whitespace"),
    ({"stop_sequences": [1]}, "stop_sequences: Input should be a valid string"),
    # messages
    (talk(), "messages: at least one message is required"),
    (talk("hello"), "messages.0: Input should be a valid dictionary"),
    ({"messages": "hello"}, "messages: Input should be a valid list"),
    (talk({"role": "user"}), "messages.0.content: Field required"),
    (talk({"content": "x"}), "messages.0.role: Field required"),
    (talk({"role": "tool", "content": "x"}), "messages.0.role: Input should be 'user' or 'assistant'"),
    (talk({"role": "assistant", "content": "x"}), 'first message must use the "user" role'),
    (talk({"role": "system", "content": "x"}), 'first message must use the "user" role'),
    (talk({"role": "user", "content": "x", "name": "Ann"}), "messages.0.name: Extra inputs are not permitted"),
    (talk({"role": "user", "content": ""}), "messages.0: all messages must have non-empty content"),
    (talk(user(), user(HI)), "messages.0: all messages must have non-empty content"),
    (talk(user(HI), assistant(), user(HI)), "messages.1: all messages must have non-empty content"),
    (talk(user(text(""))), "text content blocks must be non-empty"),
    (talk(user(text(" \n"))), "must contain non-whitespace text"),
    (talk(user(HI), assistant(text("So "))), "final assistant content cannot end with trailing whitespace"),
    (talk(user(HI), {"role": "assistant", "content": "So\n"}), "cannot end with trailing whitespace"),
    (talk(user(HI), assistant(THOUGHT)), "The final block in an assistant message cannot be `thinking`"),
    ({"system": [text("")]}, "system: text content blocks must be non-empty"),
    ({"system": [image(type="url", url="x")]}, "system.0: Input tag 'image'"),
    # content blocks
    (talk(user({"text": "hi"})), "messages.0.content.0.type: Field required"),
    (talk(user({"type": "text"})), "messages.0.content.0.text.text: Field required"),
    (talk(user("hi")), "messages.0.content.0: Input should be a valid dictionary"),
    (talk(user(text("hi", index=0))), "messages.0.content.0.text.index: Extra inputs are not permitted"),
    (talk(user({"type": "image_url", "image_url": {}})), "messages.0.content.0: Input tag 'image_url'"),
    (talk(user(image(type="base64", media_type="image/bmp", data="aa"))), "source.base64.media_type: Input should be"),
    (talk(user(image(type="base64", data="aa"))), "image.source.base64.media_type: Field required"),
    (talk(user(call())), "messages.0: `tool_use` blocks can only be in `assistant` messages"),
    (talk(user(THOUGHT)), "messages.0: `thinking` blocks can only be in `assistant` messages"),
    (talk(user(HI), assistant(HI, result())), "messages.1: `tool_result` blocks can only be in `user` messages"),
    (talk(user(HI), assistant({**THOUGHT, **mark()}), user(HI)), "thinking.cache_control: Extra inputs"),
    (talk(user(HI), assistant(call("a b")), user(result("a b"))), "tool_use.id: String should match pattern"),
    (talk(user(HI), assistant(call(input="{}")), user(result())), "tool_use.input: Input should be a valid dictionary"),
    # tool calls and results
    (talk(user(result())), "messages.0.content.0: unexpected `tool_use_id` found in `tool_result` blocks: toolu_1."),
    (talk(user(HI), assistant(call())), "messages.1: `tool_use` ids were found without `tool_result` blocks"),
    (talk(user(HI), assistant(call()), user(HI)), "`tool_result` blocks immediately after: toolu_1."),
    (talk(user(HI), assistant(call()), user(HI, result())), "`tool_result` blocks immediately after: toolu_1."),
    (talk(user(HI), assistant(call(), call("b")), user(result())), "immediately after: b."),
    (talk(user(HI), assistant(call(), call()), user(result())), "`tool_use` ids must be unique"),
    (talk(user(HI), *2 * (assistant(call()), user(result()))), "`tool_use` ids must be unique"),
    (talk(user(HI), assistant(call()), user(result(), result())), "each tool_use must have a single result"),
    (talk(user(HI), assistant(call()), user(result()), assistant(HI), user(result())), "messages.4.content.0"),
    (
        talk(user(HI), assistant(call()), user(result(content=[{"type": "input_text"}]))),
        "messages.2.content.0.tool_result.content.0: Input tag 'input_text'",
    ),
    # tools
    ({"tools": [{"type": "function", "function": TOOL}]}, "tools.0: Input tag 'function'"),
    ({"tools": [{"name": "add"}]}, "tools.0.custom.input_schema: Field required"),
    ({"tools": [{**TOOL, "parameters": {}}]}, "tools.0.custom.parameters: Extra inputs are not permitted"),
    ({"tools": [{**TOOL, "name": "a b"}]}, "tools.0.custom.name: String should match pattern"),
    ({"tools": [{**TOOL, "name": "a" * 129}]}, "tools.0.custom.name: String should match pattern"),
    ({"tools": [TOOL, TOOL]}, "tools: Tool names must be unique."),
    ({"tools": [{**TOOL, "input_schema": {}}]}, "tools.0.custom.input_schema.type: Field required"),
    ({"tools": [{**TOOL, "input_schema": {"type": "string"}}]}, "input_schema.type: Input should be 'object'"),
    ({"tools": [{**TOOL, "input_schema": {"type": "object", "required": 1}}]}, "JSON schema is invalid"),
    ({"tool_choice": {"type": "auto"}}, "tool_choice may only be specified while providing tools."),
    ({**FORCED, "tool_choice": {"type": "tool", "name": "x"}}, "Tool 'x' not found in provided tools"),
    ({**FORCED, "tool_choice": {"type": "tool"}}, "tool_choice.tool.name: Field required"),
    ({**FORCED, "tool_choice": {"type": "required"}}, "tool_choice: Input tag 'required'"),
    ({**FORCED, "tool_choice": "any"}, "tool_choice: Input should be a valid dictionary"),
    # thinking
    ({"thinking": {**BUDGET, "budget_tokens": 4000}}, "`max_tokens` must be greater than `thinking.budget_tokens`"),
    ({"thinking": {**BUDGET, "budget_tokens": 1023}}, "budget_tokens: Input should be greater than or equal to 1024"),
    ({"thinking": {"type": "enabled"}}, "thinking.enabled.budget_tokens: Field required"),
    ({"thinking": {**BUDGET, "budget": 1}}, "thinking.enabled.budget: Extra inputs are not permitted"),
    ({"thinking": {"type": "on"}}, "thinking: Input tag 'on'"),
    ({"thinking": BUDGET, **FORCED}, "Thinking may not be enabled when tool_choice forces tool use."),
    ({"thinking": {"type": "adaptive"}, **FORCED, "tool_choice": {"type": "any"}}, "Thinking may not be enabled when"),
    ({"thinking": BUDGET, "temperature": 0}, "`temperature` may only be set to 1"),
    ({"thinking": BUDGET, "top_k": 5}, "`top_k` must be unset"),
    ({"thinking": BUDGET, "top_p": 0.9}, "`top_p` must be greater than or equal to 0.95"),
    # cache marks
    (talk(user(*[text("x", **mark())] * 5)), "A maximum of 4 blocks with cache_control may be provided. Found 5."),
    (
        talk(
            user(text("x", **mark())), assistant(call(**mark())), user(result(content=[text("2", **mark())])),
            tools=[{**TOOL, **mark()}], system=[text("x", **mark())],
        ),
        "Found 5.",
    ),
    (talk(user(*[text("x", **mark())] * 4), **mark()), "Found 5."),
    (talk(user(text("x", cache_control={}))), "text.cache_control.type: Field required"),
    (talk(user(text("x", cache_control={"type": "forever"}))), "text.cache_control: Input tag 'forever'"),
    (talk(user(text("x", **mark("2h")))), "cache_control.ephemeral.ttl: Input should be '5m' or '1h'"),
    (talk(user(text("x", **mark("1h"))), system=[text("x", **mark())]), "a ttl='1h' cache_control block must not"),
    # formats of answers
    ({"output_config": {"format": {"type": "json_object"}}}, "output_config.format: Input tag 'json_object'"),
    ({"output_format": {"type": "json_schema"}}, "output_format.json_schema.schema: Field required"),
    ({"output_config": {"efort": "low"}}, "output_config.efort: Extra inputs are not permitted"),
    (formed({"type": "nonsense"}), "output_config.format.schema: JSON schema is invalid"),
    (formed({"type": "array", "items": {"type": "object"}}), "'additionalProperties' must be explicitly set to false"),
    (formed({"anyOf": [{"type": "integer", "minimum": 1}]}), "For 'integer' type, property 'minimum' is not supported"),
    (formed({"oneOf": [{"type": "null"}]}), "Schema type 'oneOf' is not supported"),
]  # fmt: skip

TAKEN: list[dict[str, Any]] = [
    {},
    {"max_tokens": 0},  # fills the prompt cache
    {"temperature": 0, "top_k": 0, "top_p": 1, "stop_sequences": ["END"], "system": "", "stream": False},
    {"system": [text("x", **mark("1h"))], "cache_control": None, "metadata": {"user_id": None}},
    talk({"role": "user", "content": "a"}, user(HI), assistant(text("Well"))),
    talk(user(HI), {"role": "system", "content": "x"}, {"role": "assistant", "content": []}),
    talk(user(HI), assistant(THOUGHT, call()), {"role": "system", "content": "x"}, user(result(content=[]), HI)),
    talk(user(HI), assistant(call(), call("b")), user(result("b")), user(result(), HI), assistant(HI), user(HI)),
    talk(user(image(type="url", url="x"), image(type="base64", media_type="image/png", data="aa"))),
    {**FORCED, "thinking": {"type": "disabled"}},
    {"tools": [{"type": "web_search_20260209", "name": "web_search", **mark()}, {"type": "mcp_toolset"}]},
    {"thinking": BUDGET, "temperature": 1, "top_p": 0.95, "tools": [TOOL], "tool_choice": {"type": "auto"}},
    {**formed(SCHEMA), "speed": "fast", "service_tier": "auto", "inference_geo": "us", "context_management": {}},
    {"mcp_servers": [], "container": "c", "diagnostics": {}, "fallbacks": [], "output_format": None},
]  # fmt: skip


def changed(change: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body with a change. None takes a required field away."""
    body = {**BODY, **change}
    return {name: value for name, value in body.items() if value is not None or name not in BODY}


@pytest.mark.parametrize(("change", "complaint"), REFUSED, ids=[complaint for _, complaint in REFUSED])
def test_a_mistake_is_refused_in_the_words_of_the_api(change: dict[str, Any], complaint: str) -> None:
    assert complaint in str(find_mistake(changed(change)))


@pytest.mark.parametrize("change", TAKEN, ids=str)
def test_a_request_that_the_api_takes_is_taken(change: dict[str, Any]) -> None:
    assert find_mistake(changed(change)) is None


def test_a_budget_above_max_tokens_is_for_thinking_between_tool_calls() -> None:
    body = {**BODY, "thinking": {**BUDGET, "budget_tokens": 9000}}
    assert find_mistake(body, betas="interleaved-thinking-2025-05-14") is not None
    assert find_mistake({**body, "tools": [TOOL]}, betas="a,interleaved-thinking-2025-05-14") is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2000) | st.text("ab ", max_size=2) | st.just("tool_result"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "text", "id"]), inner),
    max_leaves=4,
)
RICH: dict[str, Any] = changed(
    talk(
        user(HI, image(type="base64", media_type="image/png", data="aa")), assistant(THOUGHT, call()),
        user(result(content=[text("2", **mark())]), HI),
        system=[text("x", **mark())], tools=[{**TOOL, **mark()}, {"type": "bash_20250124", "name": "bash", **mark()}],
        tool_choice={"type": "auto"}, thinking=BUDGET, temperature=1, top_p=1, stop_sequences=["x"], **formed(SCHEMA),
        output_format=None, metadata={"user_id": "x"}, cache_control=None,
    )
)  # fmt: skip


def with_one_value_replaced(value: Any, place: int, by: Any) -> tuple[Any, int]:
    """Replace the value at a place, counted depth-first. Return the new value and how many places are left to go."""
    if place == 0:
        return by, -1
    place -= 1
    if not isinstance(value, (dict, list)):
        return value, place
    changed = dict(value) if isinstance(value, dict) else dict(enumerate(value))
    for name in changed:
        if place >= 0:
            changed[name], place = with_one_value_replaced(changed[name], place, by)
    return (changed if isinstance(value, dict) else list(changed.values())), place


@settings(max_examples=300)
@given(st.integers(1, 110), JSON)
@example(1, None)
def test_no_body_confuses_the_checks(place: int, by: Any) -> None:
    body, left = with_one_value_replaced(RICH, place, by)
    assert left == -1 or body == RICH
    assert find_mistake(body) is None or isinstance(find_mistake(body), str)


def test_the_rich_body_is_taken_and_has_places_for_all_replacements() -> None:
    assert find_mistake(RICH) is None
    assert 80 < 200 - with_one_value_replaced(RICH, 200, None)[1] <= 110


# What the anthropic package can send must pass.

IN_HEADERS = {"betas"}


def fields_of(declared: type) -> set[str]:
    return {name for name in get_type_hints(declared) if name != "type"}


def tag_of(declared: Any) -> str:
    return str(get_args(get_type_hints(declared)["type"])[0])


def missing(declared: Any, shape: api_fields.Shape) -> set[str]:
    return fields_of(declared) - shape.required.keys() - shape.optional.keys()


BLOCKS_DECLARED = [*(kind for kind in get_args(BetaContentBlockParam) if isinstance(kind, type)), *get_args(InResult)]


def test_every_field_of_the_anthropic_package_is_known() -> None:
    assert missing(message_create_params.MessageCreateParamsBase, api_fields.BODY) == IN_HEADERS
    for role, declared in [("user", beta.BetaUserMessageParam), ("assistant", beta.BetaAssistantMessageParam),
                           ("system", beta.BetaSystemMessageParam)]:  # fmt: skip
        assert missing(declared, api_fields.MESSAGES[role]) == {"role"}
    assert missing(beta.BetaToolParam, api_fields.TOOL) == set()
    assert missing(beta.BetaMetadataParam, api_fields.METADATA) == set()
    assert missing(beta.BetaOutputConfigParam, api_fields.OUTPUT_CONFIG) == set()
    assert missing(beta.BetaCacheControlEphemeralParam, api_fields.CACHE_CONTROL["ephemeral"]) == set()
    assert missing(beta.BetaJSONOutputFormatParam, api_fields.OUTPUT_FORMATS["json_schema"]) == set()
    for union, shapes in [(beta.BetaThinkingConfigParam, api_fields.THINKING),
                          (beta.BetaToolChoiceParam, api_fields.TOOL_CHOICES)]:  # fmt: skip
        assert {tag_of(declared) for declared in get_args(union)} == shapes.keys()
        assert all(missing(declared, shapes[tag_of(declared)]) == set() for declared in get_args(union))


@pytest.mark.parametrize("declared", BLOCKS_DECLARED, ids=lambda declared: str(declared.__name__))
def test_every_block_of_the_anthropic_package_is_known(declared: Any) -> None:
    shape = api_fields.BLOCKS[tag_of(declared)]
    assert missing(declared, shape) == set()
    required = {
        name for name, kind in get_type_hints(declared, include_extras=True).items() if "Required[" in str(kind)
    }
    assert shape.required.keys() <= required


def test_every_block_of_a_response_can_be_given_back() -> None:
    for declared in get_args(get_args(BetaContentBlock)[0]):
        shape = api_fields.BLOCKS[declared.model_fields["type"].annotation.__args__[0]]
        named = {field.alias or name for name, field in declared.model_fields.items()}
        assert named - {"type"} <= shape.required.keys() | shape.optional.keys()


# Over HTTP


def create(claude: anthropic.Anthropic, **change: Any) -> Any:
    return claude.messages.create(**{**BODY, **change})


def test_a_mistake_is_a_400_and_uses_up_no_answer(claude: anthropic.Anthropic, one: StandIn) -> None:
    one.script("still there")
    with pytest.raises(anthropic.BadRequestError) as caught:
        create(claude, extra_body={"temprature": 1})
    assert caught.value.body["error"] == {  # type: ignore[index]
        "type": "invalid_request_error",
        "message": "temprature: Extra inputs are not permitted",
    }
    assert one.requests[0].body["temprature"] == 1
    assert create(claude).content[0].text == "still there"


def test_a_request_names_the_version_of_the_api(claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="anthropic-version: header is required"):
        create(claude, extra_headers={"anthropic-version": anthropic.omit})


def test_models_of_anthropic_are_known_by_their_form() -> None:
    known = ["claude-sonnet-9-9", "claude-opus-4-20250514", "claude-haiku-4-5-20251001", "claude-saga-6", "claude-2.1",
             "claude-new-saga-7", "claude-3-5-sonnet-20241022", "claude-3-5-haiku-latest", "claude-mythos-preview",
             "claude-sonnet-4-5@20250929"]  # fmt: skip
    assert [model for model in known if not is_claude(model)] == []


@pytest.mark.parametrize("model", ["gpt-4", "sonnet", "claude-sonet-5-5", "claude-sonnet", "anthropic/claude-opus-5-5"])
def test_an_unknown_model_is_not_found(claude: anthropic.Anthropic, one: StandIn, model: str) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        create(claude, model=model)
    assert caught.value.body["error"] == {"type": "not_found_error", "message": f"model: {model}"}  # type: ignore[index]
    one.models = ["gpt-*", "son?et", "*claude*"]
    assert create(claude, model=model).model == model


def test_more_fields_and_blocks_can_be_named(claude: anthropic.Anthropic, one: StandIn) -> None:
    change: Any = {"extra_body": {"newest": 1}, "messages": [user({"type": "hologram", "new": 1}, HI)]}
    for names, said in [((), "newest"), (["newest"], "'hologram'"), (["newest", "new"], "'hologram'")]:
        one.fields = names
        with pytest.raises(anthropic.BadRequestError, match=said):
            create(claude, **change)
    one.fields = ["newest", "hologram"]
    assert create(claude, **change).content[0].text == "You said: hi"


def test_tokens_are_counted_for_valid_requests_only(claude: anthropic.Anthropic) -> None:
    count: Any = claude.messages.count_tokens
    assert count(model=MODEL, messages=[user(HI)], tools=[TOOL]).input_tokens > 0
    with pytest.raises(anthropic.BadRequestError, match="max_tokens: Extra inputs are not permitted"):
        count(model=MODEL, messages=[user(HI)], extra_body={"max_tokens": 9})
    with pytest.raises(anthropic.BadRequestError, match="at least one message"):
        count(model=MODEL, messages=[])
    with pytest.raises(anthropic.NotFoundError, match="model: gpt-4"):
        count(model="gpt-4", messages=[user(HI)])


VERTEX = "/v1/projects/p/locations/us-east5/publishers/anthropic/models"


@pytest.mark.parametrize(
    ("kind", "path", "version", "unknown"),
    [
        (BedrockStandIn, "/model/{}/invoke", "bedrock-2023-05-31", (400, "The provided model identifier is invalid.")),
        (VertexStandIn, VERTEX + "/{}:rawPredict", "vertex-2023-10-16", (404, "Publisher Model")),
        (FoundryStandIn, "/anthropic/v1/messages", "2023-06-01", (200, "You said")),
    ],
)
def test_a_cloud_refuses_in_its_own_words(
    kind: type[AnyStandIn], path: str, version: str, unknown: tuple[int, str]
) -> None:
    with kind() as stand_in:
        headers = {"authorization": f"Bearer {stand_in.api_key}"}
        body: Any = {"max_tokens": 9, "messages": [user(HI)]}
        if kind is FoundryStandIn:
            headers["anthropic-version"] = version
        else:
            body["anthropic_version"] = version

        def post(model: str, **more: Any) -> tuple[int, str]:
            asked = {**body, **more, **({"model": model} if kind is FoundryStandIn else {})}
            url = f"{stand_in.base_url}{path.format(model)}"
            response = httpx.post(url, json=asked, headers=headers, trust_env=False)
            return response.status_code, response.text

        status, said = post(stand_in.model, temprature=1)
        assert (status, "temprature: Extra inputs are not permitted" in said) == (400, True)
        status, said = post("gpt-4")
        assert (status, unknown[1] in said) == (unknown[0], True)
        stand_in.models = ["gpt-4"]
        assert post("gpt-4")[0] == 200


# JSON by default


class Colour(enum.Enum):
    RED = "red"


class Node(BaseModel):
    value: int = Field(gt=3, lt=9)
    left: Node | None
    children: list[Node]


class Everything(BaseModel):
    word: Literal["x", "y"]
    share: float = Field(gt=0, lt=0.5)
    three: list[int] = Field(min_length=3)
    table: dict[str, int]
    day: date
    key: UUID
    pair: tuple[int, str]
    node: Node
    maybe: str | None = None
    is_so: bool
    anything: Any
    dozen: int = Field(multiple_of=12, ge=50)
    long: str = Field(min_length=10)
    short: Annotated[str, Field(max_length=2)]
    some: set[int]
    colour: Colour
    nothing: None


def test_an_example_fits_its_schema() -> None:
    Everything.model_validate(make_example(Everything.model_json_schema()))
    assert make_example({"allOf": [{"type": "integer"}, {"minimum": 5}]}) == 5
    assert make_example({"type": ["null", "string"]}) is None


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "^[A-Z]{3}$"},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"$ref": "https://example.com/schema"},
        {"not": {}},
    ],
    ids=str,
)
def test_a_schema_without_an_example_says_so(schema: dict[str, Any]) -> None:
    with pytest.raises(NoExample, match="Script the answer"):
        make_example(schema)


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize(
    "asking",
    [
        formed(SCHEMA),
        {"extra_body": {"output_format": {"type": "json_schema", "schema": SCHEMA}}},
        FORCED,
        {**FORCED, "tool_choice": {"type": "any"}},
    ],
    ids=["output_config", "output_format", "tool", "any"],
)
def test_a_request_for_json_is_answered_by_json_of_its_schema(
    claude: anthropic.Anthropic, asking: dict[str, Any], streams: bool
) -> None:
    if streams:
        with claude.messages.stream(**{**BODY, **asking}) as stream:
            message: Any = stream.get_final_message()
    else:
        message = create(claude, **asking)
    (block,) = message.content
    value = block.input if block.type == "tool_use" else json.loads(block.text)
    assert jsonschema.Draft202012Validator(SCHEMA).is_valid(value)
    assert value == {"a": 1}


def test_a_schema_without_an_example_is_an_error_that_says_what_to_do(claude: anthropic.Anthropic) -> None:
    schema = {"type": "string", "pattern": "^[A-Z]{3}$"}
    with pytest.raises(anthropic.InternalServerError, match="Script the answer"):
        create(claude, **formed(schema))
