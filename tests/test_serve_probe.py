"""The gate in front of a probe that reads requests as litellm's proxy does: what is let in is what the probe gets."""

import asyncio
import gzip
import json
from typing import Any

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from litellm_claude_code.proxy import shapes
from litellm_claude_code.proxy.gate import Gate, GateLimits
from litellm_claude_code.proxy.model_names import ModelNames

pytest.importorskip("litellm.proxy.common_utils.http_parsing_utils")

KEY = "sk-0123456789abcdef"
HELLO: Any = [{"role": "user", "content": "Hello"}]
FORM_TRICK = "a&custom_llm_provider=openai&prompt=hi&fallbacks=x&mock_delay=9&z="
PLAIN: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "sonnet", "messages": HELLO},
    "/v1/messages": {"model": "sonnet", "max_tokens": 9, "messages": HELLO},
    "/v1/responses": {"model": "sonnet", "input": "Hello"},
    "/v1/completions": {"model": "sonnet", "prompt": "Hello"},
}


class Probe:
    """litellm's reading of a request, remembered."""

    def __init__(self, **options: Any) -> None:
        self.got: list[tuple[Scope, Any]] = []
        limits = GateLimits(max_requests=4, max_body_bytes=2**20)
        self.gate = Gate(self, key=KEY, inner_key="inner", limits=limits, check=lambda _body: 0, **options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from litellm.proxy.common_utils.http_parsing_utils import read_request_body

        body = await read_request_body(Request(scope, receive))
        self.got.append((scope, body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": b"{}"})

    def ask(
        self, method: str, path: str, content: bytes = b"", headers: list[tuple[bytes, bytes]] | None = None
    ) -> httpx.Response:
        """Send a request whose headers are these and no others."""
        raw, _, query = path.encode().partition(b"?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": httpx.URL(path).path,
            "raw_path": raw,
            "query_string": query,
            "root_path": "",
            "headers": [(b"authorization", b"Bearer " + KEY.encode()), *(headers or [])],
        }
        messages: list[Any] = [{"type": "http.request", "body": content, "more_body": False}]
        sent: list[Any] = []

        async def receive() -> Any:
            if messages:
                return messages.pop()
            return await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(self.gate(scope, receive, send))
        content = b"".join(message.get("body", b"") for message in sent[1:])
        return httpx.Response(sent[0]["status"], headers=sent[0]["headers"], content=content)


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


CONTENT_TYPES = st.sampled_from(
    [b"application/json", b"application/x-www-form-urlencoded", b"Application/X-WWW-Form-Urlencoded; charset=utf-16",
     b"multipart/form-data; boundary=x", b"application/x-protobuf", b"text/plain", b"",
     b"application/json; charset=utf-16"]
)  # fmt: skip
NAMES = st.sampled_from(
    [b"content-type", b"Content-Type", b"CONTENT-TYPE", b"content-encoding", b"transfer-encoding",
     b"x-litellm-timeout",
     b"X-LiteLLM-Api-Key", b"x-http-method-override", b"x-forwarded-for", b"x-mcp-servers", b"cookie",
     b"x-original-url",
     b"content-length", b"anthropic-beta", b"user-agent", b"User-Agent", b"host"]
)  # fmt: skip
TEXTS = st.one_of(
    st.text(),
    st.sampled_from([FORM_TRICK, "\ud800", "\x00", "%26a=b", '--x\r\nContent-Disposition: form-data; name="a"']),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.dictionaries(
    st.sampled_from(sorted(frozenset().union(*shapes.FIELDS.values()))) | TEXTS, VALUES, max_size=4
)


@settings(max_examples=300)
@given(
    path=st.sampled_from(sorted(PLAIN)),
    more=FIELDS,
    said=TEXTS,
    headers=st.lists(st.tuples(NAMES, CONTENT_TYPES), max_size=4),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-7", "latin-1"]),
    escapes=st.booleans(),
)
@example(
    path="/v1/completions", more={}, said=FORM_TRICK, encoding="utf-8", escapes=True,
    headers=[(b"content-type", b"application/x-www-form-urlencoded")],
)  # fmt: skip
def test_what_is_let_in_is_what_litellm_reads(
    path: str, more: dict[str, Any], said: str, headers: list[tuple[bytes, bytes]], encoding: str, escapes: bool
) -> None:
    body = {**PLAIN[path], **more}
    body["prompt" if path == "/v1/completions" else "service_tier"] = said
    try:
        content = json.dumps(body, ensure_ascii=escapes).encode(encoding)
    except UnicodeEncodeError:
        return
    probe = Probe()
    response = probe.ask("POST", path, content, headers)
    if response.status_code != 200:
        assert (400 <= response.status_code < 500, probe.got) == (True, [])
        return
    [(scope, read)] = probe.got
    assert read == {
        field: value for field, value in json.loads(content.decode("utf-8-sig")).items() if value is not None
    }
    assert read.keys() <= shapes.FIELDS[path].keys()
    names = [name for name, _ in scope["headers"]]
    assert len(names) == len(set(names))
    assert set(names) <= {
        b"host",
        b"user-agent",
        b"anthropic-beta",
        b"authorization",
        b"content-type",
        b"content-length",
    }
    assert dict(scope["headers"])[b"content-type"] == b"application/json"


@pytest.mark.parametrize("kind", [None, b"application/x-www-form-urlencoded", b"text/plain", b"application/x-protobuf"])
def test_json_is_read_whatever_its_content_type_says(kind: bytes | None) -> None:
    """As curl sends it, with and without -H: a form by default."""
    for path, plain in PLAIN.items():
        body = {**plain, "service_tier": FORM_TRICK}
        probe = Probe()
        assert probe.ask("POST", path, as_json(body), [(b"content-type", kind)] if kind else []).status_code == 200
        assert probe.got[0][1] == body


def test_what_is_not_json_is_refused_by_its_kind() -> None:
    probe = Probe()
    form = (b"content-type", b"application/x-www-form-urlencoded")
    assert probe.ask("POST", "/v1/completions", b"model=sonnet&prompt=Hi", [form]).status_code == 415
    assert probe.ask("POST", "/v1/completions", b"model=sonnet&prompt=Hi").status_code == 400
    packed = gzip.compress(as_json(PLAIN["/v1/completions"]))
    for encoding in (b"gzip", b"deflate", b"GZIP, identity", b"br"):
        answered = probe.ask("POST", "/v1/completions", packed, [(b"Content-Encoding", encoding)])
        assert (answered.status_code, "Compressed" in answered.text) == (415, True)
    assert probe.got == []


@pytest.mark.parametrize(
    "value",
    ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9007199254740993", "1" + "0" * 5000, '"\\ud800"',
     "[" * 101 + "]" * 101,
     "[" * 50_000 + "]" * 50_000, '{"a":' * 101 + "1" + "}" * 101],
    ids=lambda value: value[:12],
)  # fmt: skip
def test_a_value_that_parsers_read_differently_is_refused(value: str) -> None:
    probe = Probe()
    for path, plain in PLAIN.items():
        content = f'{json.dumps(plain)[:-1]}, "logit_bias": {{"a": {value}}}, "cache_control": {{"a": {value}}}}}'
        assert probe.ask("POST", path, content.encode()).status_code == 400
    assert probe.got == []


def test_a_path_is_served_in_one_spelling() -> None:
    probe = Probe()
    spellings = ["/v1//chat/completions", "/v1/chat/completions/", "/v1/chat%2fcompletions", "/v1/chat/completions;a=b",
                 "/v1/chat/%63ompletions", "/V1/chat/completions", "/v1/chat/completions%00", "/v1/./chat/completions",
                 "/v1/models/../chat/completions"]  # fmt: skip
    plain = as_json(PLAIN["/v1/chat/completions"])
    assert [probe.ask("POST", path, plain).status_code for path in spellings] == [404] * len(spellings)
    override = [(b"x-http-method-override", b"DELETE"), (b"X-Method-Override", b"GET")]
    assert probe.ask("POST", "/v1/chat/completions?api-version=1&_method=PUT", plain, override).status_code == 200
    [(scope, _)] = probe.got
    assert (scope["method"], scope["path"], scope["query_string"]) == ("POST", "/v1/chat/completions", b"")
    for method in ("post", "HEAD", "PUT", "PATCH", "OPTIONS", "TRACE", "CONNECT"):
        refused = probe.ask(method, "/v1/chat/completions", plain)
        assert (refused.status_code, refused.headers["allow"]) == (405, "POST")


def test_health_asks_one_named_model_and_takes_nothing_else() -> None:
    probe = Probe()
    assert probe.ask("GET", "/health?model=haiku").status_code == 200
    assert probe.got[0][0]["query_string"] == b"model=haiku"
    for query in ("model=", "model=haiku&model=sonnet", "model=haiku&model_id=x", "model_id=x", "model=a%26b", "x"):
        assert probe.ask("GET", f"/health?{query}").status_code == 400
    assert len(probe.got) == 1


def test_a_key_is_found_among_equal_headers_and_never_handed_on() -> None:
    probe = Probe()
    others = [(b"X-Api-Key", b"sk-other"), (b"AUTHORIZATION", b"Basic eA=="), (b"authorization", b"Bearer sk-other")]
    assert probe.ask("GET", "/v1/models", headers=others).status_code == 200
    assert KEY not in str(probe.got[0][0]["headers"])
    assert "sk-other" not in str(probe.got[0][0]["headers"])


WRONG: dict[str, list[Any]] = {
    "max_tokens": [-1, 0, True, 1.5, "9", []],
    "max_completion_tokens": [-1, True],
    "max_output_tokens": [0, True],
    "n": [True, 1.0, "1", -1, 0, []],
    "temperature": [True, "x", -1, 3, []],
    "top_p": ["x", True, 5],
    "top_k": ["x", True, -1, 1.5],
    "stream": ["yes", 1, [], "false"],
    "stop": [5, [5], {}],
    "stop_sequences": [5, [5], "x"],
    "tools": [5, "x", {}, [5], [None], [{}], [{"type": "function"}], [{"type": "function", "function": {"name": 5}}],
              [{"name": "x", "input_schema": 5}]],
    "tool_choice": [5, [], {}, {"type": 5}],
    "system": [5, [5], {}, [{}], [{"type": "text"}]],
    "stream_options": [5, "x"],
    "response_format": [5, "x", {}],
    "thinking": [5, "x", {}, {"type": "enabled"}, {"type": "enabled", "budget_tokens": "x"}],
    "reasoning_effort": [5, []],
    "parallel_tool_calls": [5, "x"],
    "instructions": [5, []],
    "text": [5, {"format": 5}],
    "cache_control": [5, "x"],
    "drop_params": ["x", 5],
    "input": [5, [5], {}, [], [{}], [{"role": "user"}], [{"role": "user", "content": 5}], [{"type": "function_call"}]],
    "prompt": [5, [], [5], [[5]], {}, ["a", 5]],
    "messages": [5, "Hi", {}, [], [1], ["Hi"], [None], [[]], [{}], [{"role": "user"}], [{"role": 5, "content": "x"}],
                 [{"role": "wizard", "content": "x"}], [{"role": "user", "content": 5}],
                 *([{"role": "user", "content": [part]}]
                   for part in (5, {}, {"type": 5}, {"type": "text"}, {"type": "text", "text": 5})),
                 [{"role": "assistant", "content": [{"type": "text"}]}]],
}  # fmt: skip
CHATS: list[Any] = [
    [{"role": "user", "content": [{"type": "image_url"}]}],
    [{"role": "user", "content": [{"type": "image_url", "image_url": 5}]}],
    [{"role": "user", "content": [{"type": "image"}]}],
    [{"role": "user", "content": [{"type": "tool_result"}]}],
    [{"role": "user", "content": [{"type": "file"}]}],
    [*HELLO, {"role": "assistant", "tool_calls": 5}],
    [*HELLO, {"role": "assistant", "tool_calls": [{"id": 5, "function": {"name": "f"}}]}],
    [*HELLO, {"role": "tool", "content": "x"}],
]
ANTHROPICS: list[Any] = [
    [{"role": "user", "content": [{"type": "image"}]}],
    [{"role": "user", "content": [{"type": "image", "source": 5}]}],
    [{"role": "user", "content": [{"type": "tool_result"}]}],
    [*HELLO, {"role": "tool", "content": "x"}],
    [*HELLO, {"role": "assistant", "content": [{"type": "tool_use", "id": "x", "name": "f", "input": 5}]}],
    # litellm would lose these:
    [{"role": "user", "content": [{"type": "search_result", "source": "x", "title": "x", "content": []}]}],
    [{"role": "user", "content": [{"type": "container_upload", "file_id": "x"}]}],
    [*HELLO, {"role": "assistant", "content": [{"type": "server_tool_use", "id": "x", "name": "f", "input": {}}]}],
    [
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "x", "content": [{"type": "search_result"}]}],
        }
    ],
]


def test_a_wrong_shape_is_refused_by_the_name_of_its_field() -> None:
    probe = Probe()
    for path, plain in PLAIN.items():
        special = {"/v1/chat/completions": CHATS, "/v1/messages": ANTHROPICS}.get(path, [])
        for field, values in {**WRONG, "messages": [*WRONG["messages"], *special]}.items():
            for value in values if field in shapes.FIELDS[path] else []:
                response = probe.ask("POST", path, as_json({**plain, field: value}))
                assert response.status_code == 400, (path, field, value)
                assert response.json()["error"]["message"].startswith(f"`{field}"), response.text
        for missing in plain:
            response = probe.ask("POST", path, as_json({**plain, missing: None}))
            assert (response.status_code, f"`{missing}`" in response.text) == (400, True)
    assert probe.got == []


def test_old_ids_get_the_current_model_of_their_family_if_the_operator_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    names = ["sonnet", "claude_code/sonnet", "opus", "claude-opus-5-5"]
    probe = Probe(models=ModelNames(names, takes_any=True))
    expected = {
        "claude-3-5-sonnet-20241022": "sonnet",
        "claude_code/claude-opus-4-20250514": "opus",
        "anthropic/claude-3-opus-latest": "opus",
        "claude-opus-5-5": "claude-opus-5-5",
        "claude_code/sonnet": "claude_code/sonnet",
        "claude-3-haiku-20240307": "claude-3-haiku-20240307",  # the server has no haiku: litellm's 404
        "claude-2.1": "claude-2.1",
        "gpt-4o": "gpt-4o",
    }
    for name in (*expected, *expected):
        probe.ask("POST", "/v1/messages", as_json({**PLAIN["/v1/messages"], "model": name}))
    assert [body["model"] for _, body in probe.got] == 2 * list(expected.values())
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 3
    assert warnings[0].startswith("This server has no model claude-3-5-sonnet-20241022. Requests for it get sonnet")
    listed = Probe(models=ModelNames(names))
    listed.ask("POST", "/v1/messages", as_json({**PLAIN["/v1/messages"], "model": "claude-3-5-sonnet-20241022"}))
    assert listed.got[0][1]["model"] == "claude-3-5-sonnet-20241022"
