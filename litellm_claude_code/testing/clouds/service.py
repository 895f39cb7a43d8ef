"""The shared part of the stand-ins for the three clouds: the Messages API in another service's framing."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from ..answers import Answer, Failure, Json, Reply
from ..asgi import RecordedRequest, json_response
from ..rendering import Rendered
from ..server import StandIn


class Route(NamedTuple):
    """The model that a path names, and whether the path requests a stream."""

    model: str
    is_stream: bool


class CloudStandIn(StandIn):
    """A stand-in that reads the model from the path and sends errors in the service's own envelope."""

    @property
    @abstractmethod
    def environment(self) -> dict[str, str]:
        """The variables that make Claude Code use this stand-in, including the credential."""

    @abstractmethod
    def _route(self, path: str) -> Route | None:
        """Return the route of a path, or None if it does not address a model."""

    @abstractmethod
    def _error(self, failure: Failure, request_id: str) -> tuple[dict[str, str], Json]:
        """Return the headers and the JSON body of a failure."""

    def _answer_beside(self, request: Request, content: bytes) -> Json | None:
        """Return the response body for a request that is not for a model, or None if the service has no such path."""
        return None

    def _asks_model(self, request: Request) -> bool:
        return request.method == "POST" and self._route(request.url.path) is not None

    def _record(self, request: Request, body: Json, index: int) -> RecordedRequest:
        recorded = super()._record(request, body, index)
        route = self._route(recorded.path)
        if route is not None:
            recorded.body = {**body, "model": route.model, "stream": route.is_stream}
        for key in ("anthropic_version", "anthropic_beta"):
            _move_to_header(key, recorded)
        return recorded

    def _render(self, reply: Reply, recorded: RecordedRequest, *, message_id: str, request_id: str) -> Rendered:
        if isinstance(reply, Answer) and reply.error_after is not None and not recorded.body.get("stream"):
            reply = replace(reply.error_after[1], delay_s=reply.delay_s)
        if not isinstance(reply, Failure):
            return super()._render(reply, recorded, message_id=message_id, request_id=request_id)
        headers, body = self._error(reply, request_id)
        content = json.dumps(body).encode()
        headers = {"content-type": "application/json", "content-length": str(len(content)), **headers}
        return Rendered(
            status=reply.status, headers={**headers, **reply.headers}, pieces=[content], delay_s=reply.delay_s
        )

    def _answer_other(self, request: Request, content: bytes) -> Response:
        body = self._answer_beside(request, content)
        answered = super()._answer_other(request, content)  # always called, because it records the request
        return answered if body is None else json_response(body)

    def _fail(self, failure: Failure) -> Response:
        headers, body = self._error(failure, f"req_{self._number()}")
        response = json_response(body, failure.status)
        response.headers.update({**headers, **failure.headers})
        return response


def bearer(headers: Mapping[str, str]) -> str | None:
    """Return the bearer token of a request, or None."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    return token if kind.lower() == "bearer" else None


def _move_to_header(key: str, recorded: RecordedRequest) -> None:
    value = recorded.body.pop(key, None)
    if value is not None:
        recorded.headers[key.replace("_", "-")] = ",".join(value) if isinstance(value, list) else str(value)
