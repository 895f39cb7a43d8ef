"""A stand-in for Google Vertex AI's Anthropic models: `:rawPredict`, `:streamRawPredict` and sources of tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from ..answers import Failure, Json
from ..api_fields import BODY, Shape
from ..asgi import RecordedRequest
from .service import CloudStandIn, Route, bearer

VERSION: Final = "vertex-2023-10-16"
_PATH: Final = re.compile(
    r"(/v1)?/projects/(?P<project>[^/]+)/locations/(?P<region>[^/]+)/publishers/anthropic/models/"
    r"(?P<model>[^/]+):(?P<action>rawPredict|streamRawPredict)"
)
_TOKEN_PATH: Final = "/stand-in-token"
_METADATA: Final = "/computeMetadata/v1"
_STATUS: Final[Mapping[str, int]] = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_MESSAGES: Final[Mapping[str, str]] = {
    "UNAUTHENTICATED": "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or "
    "other valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
    "PERMISSION_DENIED": "Permission 'aiplatform.endpoints.predict' denied on resource "
    "'//aiplatform.googleapis.com/projects/stand-in/locations/global/publishers/anthropic/models/claude' (or it may "
    "not exist).",
    "NOT_FOUND": "Publisher Model `projects/stand-in/locations/global/publishers/anthropic/models/claude` was not "
    "found or your project does not have access to it.",
    "RESOURCE_EXHAUSTED": "Quota exceeded for aiplatform.googleapis.com/online_prediction_requests_per_base_model with "
    "base model: anthropic-claude. Please submit a quota increase request.",
    "UNAVAILABLE": "The service is currently unavailable.",
}


def vertex_failure(status: str, message: str | None = None, *, delay_s: float = 0.0) -> Failure:
    """Return the `Failure` for a Google status such as "RESOURCE_EXHAUSTED". Raises KeyError for an unknown one."""
    return Failure(_STATUS[status], message=message or _MESSAGES.get(status, status), delay_s=delay_s)


class VertexStandIn(CloudStandIn):
    """A stand-in for Google Vertex AI.

    A request must have `api_key` as a bearer token. The stand-in's own metadata server, which `environment` points to,
    and its token endpoint return this token. A `Failure` of 400 or 413 is sent in Anthropic's envelope, any other in
    Google's.
    """

    model = "claude-sonnet-4-5@20250929"
    project = "stand-in-project"
    region = "us-east5"

    @property
    def environment(self) -> dict[str, str]:
        host = self.base_url.removeprefix("http://")
        return {
            "CLAUDE_CODE_USE_VERTEX": "1",
            "ANTHROPIC_VERTEX_BASE_URL": f"{self.base_url}/v1",
            "ANTHROPIC_VERTEX_PROJECT_ID": self.project,
            "CLOUD_ML_REGION": self.region,
            "GCE_METADATA_HOST": host,
            "METADATA_SERVER_DETECTION": "assume-present",
        }

    @property
    def token_url(self) -> str:
        """The URL of a token endpoint, for use in a credential file. It returns `api_key`."""
        return f"{self.base_url}{_TOKEN_PATH}"

    def _route(self, path: str) -> Route | None:
        found = _PATH.fullmatch(path)
        return found and Route(found["model"], found["action"] == "streamRawPredict")

    def _refuse_key(self, headers: Mapping[str, str]) -> Failure | None:
        if self._api_key is None or bearer(headers) == self._api_key:
            return None
        return vertex_failure("UNAUTHENTICATED")

    def _find_mistake(self, recorded: RecordedRequest, shape: Shape = BODY) -> Failure | None:
        if recorded.headers.get("anthropic-version") != VERSION:
            return Failure(400, message=f"anthropic_version: Input should be '{VERSION}'")
        return super()._find_mistake(recorded, shape)

    def _unknown_model(self, model: str) -> Failure | None:
        return vertex_failure("NOT_FOUND")

    def _error(self, failure: Failure, request_id: str) -> tuple[dict[str, str], Json]:
        if failure.status in (400, 413):
            return {"request-id": request_id}, {**failure.envelope(request_id)}
        status = next((name for name, code in _STATUS.items() if code == failure.status), "UNKNOWN")
        return {}, {"error": {"code": failure.status, "message": failure.message, "status": status}}

    def _answer_other(self, request: Request, content: bytes) -> Response:
        response = super()._answer_other(request, content)
        if request.url.path.startswith(_METADATA):
            response.headers["metadata-flavor"] = "Google"  # Google's clients refuse a response without it
        return response

    def _answer_beside(self, request: Request, content: bytes) -> Json | None:
        token = {"access_token": self.api_key, "expires_in": 3600, "token_type": "Bearer"}
        route = (request.method, request.url.path)
        if route == ("POST", _TOKEN_PATH):
            return {**token, "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"}
        if route == ("GET", f"{_METADATA}/instance/service-accounts/default/token"):
            return token
        return None
