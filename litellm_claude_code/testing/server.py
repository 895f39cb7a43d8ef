"""The stand-in: chooses the reply to each request, and records the requests.

`rendering.py` decides what a reply looks like on the wire, `asgi.py` sends it, and `server_thread.py` runs the server.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import itertools
import json
import secrets
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..login import STAND_IN_KEY
from .answers import Answer, Failure, Json, Reply, ToolUse, answer
from .api_fields import BODY, COUNTED, Shape
from .asgi import Client, ClientLeft, RecordedRequest, json_response, parse_body, play
from .rendering import Rendered, count_input_tokens, render
from .request_checks import find_mistake, is_known
from .schema_example import make_example
from .server_thread import HOST, ServerThread

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["RecordedRequest", "Respond", "StandIn", "answer_json", "echo", "echo_or_json"]

_RESPOND_THREADS = 64

Respond: TypeAlias = Callable[[RecordedRequest], Reply | Awaitable[Reply]]
"""A function that returns the reply to a request. A plain function runs in a thread and may block."""


class StandIn:
    """A stand-in for the Anthropic Messages API on 127.0.0.1. Use it as a context manager.

    `answers` are used in order, one for each valid request to `POST /v1/messages`. When none is left, `respond` is
    called. By default it gives JSON if the request asks for it by a schema, and otherwise echoes the last user message.
    A request must send `api_key` as `x-api-key` or as a bearer token, unless `api_key` is None. `port=0` chooses a free
    port, and keeps it if the stand-in is stopped and started again. Each request's body is appended to the file
    `record_to` as a line of JSON.

    With `validate`, a request that the API would refuse gets its 400, and one for a model that is not Anthropic's its
    404. `models` are patterns of more model ids (`["qwen3-*"]`), `fields` are more names of fields and of types of
    blocks, for what a gateway or a newer API takes.

    Requests are served in the stand-in's own thread, and every method may be called from any other. `wait_for` and
    `wait_for_disconnect` block, so call them through `asyncio.to_thread` in asynchronous code.
    """

    def __init__(
        self,
        answers: Iterable[Reply] = (),
        *,
        respond: Respond | None = None,
        api_key: str | None = STAND_IN_KEY,
        port: int = 0,
        validate: bool = True,
        models: Collection[str] = (),
        fields: Collection[str] = (),
        record_to: str | Path | None = None,
    ) -> None:
        self.respond: Respond = respond or echo_or_json
        self.validate = validate
        self.models = models
        self.fields = fields
        self._api_key = api_key
        self._port = port
        self._record_to = record_to
        self._script: deque[Reply] = deque(answers)
        self._requests: list[RecordedRequest] = []
        self._other_requests: list[RecordedRequest] = []
        self._in_flight = 0
        self._max_in_flight = 0
        self._ids = itertools.count(1)
        self._id_prefix = secrets.token_hex(8)
        self._changed = threading.Condition()
        self._running: ServerThread | None = None
        self._is_stopping = False

    def __repr__(self) -> str:
        where = f"on port {self._port}" if self._running else "stopped"
        return f"<StandIn {where}, {len(self.requests)} requests, {self.in_flight} in flight>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start listening and serving. Does nothing if it is running. Raises RuntimeError if it cannot start."""
        if self._running is None:
            self._is_stopping = False
            self._threads = ThreadPoolExecutor(_RESPOND_THREADS, thread_name_prefix="stand-in-respond")
            self._running = ServerThread(self._serve, self._port)
            self._port = self._running.port

    def stop(self) -> None:
        """Drop all connections, finished or not, and end the thread. Does nothing if it is not running."""
        running, self._running = self._running, None
        self._is_stopping = True
        if running is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            running.stop()

    @property
    def base_url(self) -> str:
        """The value for `api_base` or `ANTHROPIC_BASE_URL`. Raises RuntimeError before the first start."""
        if self._port == 0:
            raise RuntimeError("the stand-in has no address yet. Use it in a `with` statement, or call start()")
        return f"http://{HOST}:{self._port}"

    @property
    def api_key(self) -> str:
        """A key that the stand-in accepts: the configured one, or "any-key" if it accepts any."""
        return self._api_key or "any-key"

    @property
    def requests(self) -> list[RecordedRequest]:
        """All requests to `POST /v1/messages` so far, including refused ones, as a new list."""
        with self._changed:
            return list(self._requests)

    @property
    def other_requests(self) -> list[RecordedRequest]:
        """All other requests so far, with any method and path (`HEAD /api/hello`), as a new list.

        Requests to count tokens get a count, all others a 404. To check that a call made one request and nothing else:
        `len(stand_in.requests) == 1 and stand_in.other_requests == []`.
        """
        with self._changed:
            return list(self._other_requests)

    @property
    def in_flight(self) -> int:
        """The number of requests to `POST /v1/messages` that are not finished."""
        return self._in_flight

    @property
    def max_in_flight(self) -> int:
        """The highest `in_flight` so far, or since the last `reset`."""
        return self._max_in_flight

    def script(self, *replies: Reply) -> None:
        """Append answers to the script."""
        with self._changed:
            self._script.extend(replies)

    def reset(self) -> None:
        """Forget the recorded requests and the rest of the script. Requests in flight continue."""
        with self._changed:
            self._requests.clear()
            self._other_requests.clear()
            self._script.clear()
            self._max_in_flight = self._in_flight

    def wait_for(self, count: int = 1, timeout_s: float = 10.0) -> list[RecordedRequest]:
        """Wait for `count` requests, and return all requests so far. Raises TimeoutError after `timeout_s`."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._requests) >= count, timeout_s):
                raise TimeoutError(f"saw {len(self._requests)} of {count} requests within {timeout_s} s")
            return list(self._requests)

    def wait_for_disconnect(self, index: int = -1, timeout_s: float = 10.0) -> RecordedRequest:
        """Wait until the client disconnects before the end of the response to request `index`, and return the request.

        Raises TimeoutError after `timeout_s`, also if there is no such request by then.
        """

        def has_left() -> bool:
            try:
                return self._requests[index].closed_early
            except IndexError:
                return False

        with self._changed:
            if not self._changed.wait_for(has_left, timeout_s):
                raise TimeoutError(f"no client left request {index} of {len(self._requests)} within {timeout_s} s")
            return self._requests[index]

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            content = await request.body()
        except ClientDisconnect:
            return
        if self._asks_model(request):
            await self._serve_message(request, content, Client(receive, send))
        elif request.url.path.startswith("/_stand_in/"):
            await self._answer_about_itself(request)(scope, receive, send)
        else:
            await self._answer_other(request, content)(scope, receive, send)

    async def _serve_message(self, request: Request, content: bytes, client: Client) -> None:
        body = parse_body(content)
        recorded = self._record_message(request, body or {})
        number = self._number()
        try:
            reply: Reply | None = self._refuse(recorded, body) or self._take_scripted()
            if reply is None:
                reply = await client.unless_it_leaves(self._ask(recorded))
            rendered = self._render(reply, recorded, message_id=f"msg_{number}", request_id=f"req_{number}")
            # Finish before the last bytes are sent: a client that has the response must see `is_finished`.
            await play(rendered, client, before_end=lambda: self._finish(recorded, has_left=False))
        except ClientLeft:
            pass
        finally:
            self._finish(recorded, has_left=client.has_left)
            client.forget()

    # The stand-ins in `clouds` override the next methods.

    def _asks_model(self, request: Request) -> bool:
        return request.method == "POST" and request.url.path == "/v1/messages"

    def _record(self, request: Request, body: Json, index: int) -> RecordedRequest:
        return RecordedRequest.of(request, body, index)

    def _find_mistake(self, recorded: RecordedRequest, shape: Shape = BODY) -> Failure | None:
        if "anthropic-version" not in recorded.headers:
            return Failure(400, message="anthropic-version: header is required")
        betas = recorded.headers.get("anthropic-beta", "")
        if mistake := find_mistake(recorded.body, shape=shape, fields=self.fields, betas=betas):
            return Failure(400, message=mistake)
        return None if is_known(recorded.body["model"], self.models) else self._unknown_model(recorded.body["model"])

    def _unknown_model(self, model: str) -> Failure | None:
        return Failure(404, message=f"model: {model}")

    def _render(self, reply: Reply, recorded: RecordedRequest, *, message_id: str, request_id: str) -> Rendered:
        return render(reply, recorded.body, message_id=message_id, request_id=request_id)

    def _answer_about_itself(self, request: Request) -> Response:
        if refusal := self._refuse_key(request.headers):
            return self._fail(refusal)
        route = (request.method, request.url.path)
        if route == ("GET", "/_stand_in/requests"):
            bodies = [recorded.body for recorded in self.requests]
            return json_response({"count": len(bodies), "bodies": bodies[int(request.query_params.get("since", 0)) :]})
        if route == ("POST", "/_stand_in/reset"):
            self.reset()
            return json_response({})
        return self._fail(Failure(404, message="Not found"))

    def _answer_other(self, request: Request, content: bytes) -> Response:
        body = parse_body(content) or {}
        with self._changed:
            recorded = RecordedRequest.of(request, body, len(self._other_requests), is_finished=True)
            self._other_requests.append(recorded)
        if (request.method, request.url.path) != ("POST", "/v1/messages/count_tokens"):
            return self._fail(Failure(404, message="Not found"))
        if refusal := self._refuse_key(request.headers):
            return self._fail(refusal)
        if self.validate and (refusal := self._find_mistake(recorded, COUNTED)):
            return self._fail(refusal)
        return json_response({"input_tokens": count_input_tokens(body)}, request_id=f"req_{self._number()}")

    def _fail(self, failure: Failure) -> Response:
        request_id = f"req_{self._number()}"
        return json_response(failure.envelope(request_id), failure.status, request_id)

    def _record_message(self, request: Request, body: Json) -> RecordedRequest:
        with self._changed:
            recorded = self._record(request, body, len(self._requests))
            self._append_to_file(recorded.body)
            self._requests.append(recorded)
            self._in_flight += 1
            self._max_in_flight = max(self._max_in_flight, self._in_flight)
            self._changed.notify_all()
        return recorded

    def _append_to_file(self, body: Json) -> None:
        if self._record_to is not None:
            with open(self._record_to, "a", encoding="utf-8") as file:
                file.write(json.dumps(body) + "\n")

    def _finish(self, recorded: RecordedRequest, *, has_left: bool) -> None:
        with self._changed:
            self._in_flight -= not recorded.is_finished
            recorded.is_finished = True
            recorded.closed_early = has_left and not self._is_stopping
            self._changed.notify_all()

    def _refuse(self, recorded: RecordedRequest, body: Json | None) -> Failure | None:
        if refusal := self._refuse_key(recorded.headers):
            return refusal
        if body is None:
            return Failure(400, message="The request body is not a JSON object.")
        return self._find_mistake(recorded) if self.validate else None

    def _refuse_key(self, headers: Mapping[str, str]) -> Failure | None:
        key, bearer = headers.get("x-api-key"), headers.get("authorization")
        if self._api_key is None or key == self._api_key or bearer == f"Bearer {self._api_key}":
            return None
        return Failure(401, message="invalid x-api-key" if key or bearer else "x-api-key header is required")

    def _take_scripted(self) -> Reply | None:
        with self._changed:
            return self._script.popleft() if self._script else None

    async def _ask(self, recorded: RecordedRequest) -> Reply:
        ask = functools.partial(self.respond, recorded)
        may_block = not inspect.iscoroutinefunction(self.respond)
        try:
            given = await asyncio.get_running_loop().run_in_executor(self._threads, ask) if may_block else ask()
            reply = await given if isinstance(given, Awaitable) else given
            if not isinstance(reply, Reply):
                raise TypeError(f"it returned {reply!r}, which is not an answer")
            return reply
        except Exception as error:
            # The message explains the client's error. The header keeps Anthropic's clients from retrying.
            return Failure(500, message=f"respond raised {error!r}", headers={"x-should-retry": "false"})

    def _number(self) -> str:
        return f"{self._id_prefix}{next(self._ids):08}"


async def echo_or_json(request: RecordedRequest) -> Answer:
    """Return JSON that fits the schema, if the request asks for JSON, and otherwise the echo. The default `respond`."""
    return answer_json(request.body) or answer(await echo(request))


def answer_json(body: Json) -> Answer | None:
    """Return JSON that fits the schema of a format, or of a tool that must be used. Return None if none is asked for.

    Raises ValueError if no JSON is found that fits.
    """
    form = (body.get("output_config") or {}).get("format") or body.get("output_format")
    if form is not None:
        return answer(json.dumps(make_example(form["schema"])))
    choice = body.get("tool_choice") or {}
    for tool in body.get("tools") or ():
        if choice.get("type") == "any" or (choice.get("type") == "tool" and choice["name"] == tool.get("name")):
            return answer(ToolUse(tool["name"], make_example(tool.get("input_schema") or {"type": "object"})))
    return None


async def echo(request: RecordedRequest) -> str:
    """Return "You said: " and the text of the last user message."""
    for turn in reversed(request.body.get("messages", [])):
        if turn["role"] == "user":
            content = turn["content"]
            if not isinstance(content, str):
                content = "".join(block["text"] for block in content if block["type"] == "text")
            return f"You said: {content}"
    return "You said: "
