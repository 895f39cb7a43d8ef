"""A stand-in for Microsoft Foundry's Claude deployments: the Messages API below `/anthropic`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.requests import Request

from ..answers import Failure, Json
from ..asgi import RecordedRequest
from .service import CloudStandIn, Route, bearer

_PATH: Final = "/anthropic/v1/messages"
_ERRORS: Final[Mapping[str, tuple[int, str]]] = {
    "401": (401, "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid "
            "key for an active subscription and use a correct regional API endpoint for your resource."),
    "PermissionDenied": (401, "The principal lacks the required data action."),
    "403": (403, "Access denied due to Virtual Network/Firewall rules."),
    "DeploymentNotFound": (404, "The API deployment for this resource does not exist. If you created the deployment "
                           "within the last 5 minutes, please wait a moment and try again."),
    "RateLimitReached": (429, "Your requests have exceeded the token rate limit of your current pricing tier. Please "
                         "retry after 7 seconds."),
    "InternalServerError": (500, "The server had an error while processing your request."),
    "ServiceUnavailable": (503, "The service is temporarily unable to process your request."),
}  # fmt: skip


def foundry_failure(code: str, message: str | None = None, *, delay_s: float = 0.0) -> Failure:
    """Return the `Failure` for an Azure error code such as "DeploymentNotFound". Raises KeyError for an unknown one."""
    status, usual = _ERRORS[code]
    headers = {"x-ms-error-code": code}
    if code == "RateLimitReached":
        headers["retry-after"] = "7"
    return Failure(status, message=message or usual, headers=headers, delay_s=delay_s)


class FoundryStandIn(CloudStandIn):
    """A stand-in for Microsoft Foundry.

    A request must have `api_key` as `api-key`, `x-api-key` or a bearer token. A `Failure` is sent in Azure's envelope
    if its headers have `x-ms-error-code` or its status is 401, 403 or 404 (see `foundry_failure`), otherwise in
    Anthropic's.
    """

    model = "claude-sonnet-5-5"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "CLAUDE_CODE_USE_FOUNDRY": "1",
            "ANTHROPIC_FOUNDRY_BASE_URL": f"{self.base_url}/anthropic",
            "ANTHROPIC_FOUNDRY_API_KEY": self.api_key,
        }

    def _route(self, path: str) -> Route | None:
        return Route("", False) if path == _PATH else None

    def _record(self, request: Request, body: Json, index: int) -> RecordedRequest:
        recorded = super()._record(request, body, index)
        recorded.body = body  # already as in the Messages API, with `model` and `stream`
        return recorded

    def _refuse_key(self, headers: Mapping[str, str]) -> Failure | None:
        keys = (headers.get("api-key"), headers.get("x-api-key"), bearer(headers))
        return None if self._api_key is None or self._api_key in keys else foundry_failure("401")

    def _unknown_model(self, model: str) -> Failure | None:
        return None  # a deployment has any name

    def _error(self, failure: Failure, request_id: str) -> tuple[dict[str, str], Json]:
        code = failure.headers.get("x-ms-error-code") or {404: "DeploymentNotFound"}.get(failure.status)
        if code is None and failure.status not in (401, 403):
            return {"request-id": request_id}, {**failure.envelope(request_id)}
        return {"apim-request-id": request_id}, {
            "error": {"code": code or str(failure.status), "message": failure.message}
        }
