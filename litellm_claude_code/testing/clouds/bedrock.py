"""A stand-in for Amazon Bedrock: `invoke`, `invoke-with-response-stream` and the list of inference profiles.

The requests were observed with the CLI 2.1.327 and boto3 1.44. The error texts were written from memory of Amazon's
documentation.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from starlette.requests import Request

from ..answers import Failure, Json, Reply
from ..api_fields import BODY, Shape
from ..asgi import RecordedRequest
from ..rendering import Rendered
from ..request_checks import is_known
from .event_stream import encode_message
from .service import CloudStandIn, Route, bearer

VERSION: Final = "bedrock-2023-05-31"
_REGION: Final = "us-east-1"
_PATH: Final = re.compile(r"/model/(?P<model>.+)/(?P<action>invoke|invoke-with-response-stream)")
_MODEL: Final = re.compile(r"(arn:aws[a-z-]*:bedrock:.+|([a-z-]+\.)?anthropic\.claude-.+)")
_AVAILABILITY_PATH: Final = "/foundation-model-availability/"
_CREDENTIALS_PATH: Final = "/stand-in-credentials"

_ERRORS: Final[Mapping[str, tuple[int, str]]] = {
    "ValidationException": (400, "The provided model identifier is invalid."),
    "UnrecognizedClientException": (403, "The security token included in the request is invalid."),
    "AccessDeniedException": (403, "You don't have access to the model with the specified model ID."),
    "ExpiredTokenException": (403, "The security token included in the request is expired"),
    "ResourceNotFoundException": (404, "Could not resolve the foundation model from the provided model identifier."),
    "ModelTimeoutException": (408, "The model took too long to respond."),
    "ModelErrorException": (424, "The model returned an error."),
    "ThrottlingException": (429, "Too many requests, please wait before trying again."),
    "ModelNotReadyException": (429, "The model is not ready for serving inference requests."),
    "ServiceQuotaExceededException": (400, "Your request exceeds the service quota for your account."),
    "InternalServerException": (500, "The system encountered an unexpected error during processing."),
    "ServiceUnavailableException": (503, "Bedrock is unable to process your request."),
}
_BY_STATUS: Final[Mapping[int, str]] = {
    400: "ValidationException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}
_IN_STREAM: Final[Mapping[str, str]] = {
    "invalid_request_error": "validationException",
    "rate_limit_error": "throttlingException",
    "overloaded_error": "serviceUnavailableException",
    "timeout_error": "modelTimeoutException",
}

INFERENCE_PROFILES: Final = (
    "us.anthropic.claude-opus-5-5",
    "us.anthropic.claude-sonnet-5-5",
    "us.anthropic.claude-haiku-5-5",
    "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "us.anthropic.claude-haiku-4-5-20251001-v1:0",
)


def bedrock_failure(error: str, message: str | None = None, *, delay_s: float = 0.0) -> Failure:
    """Return the `Failure` for a Bedrock error such as "ThrottlingException". Raises KeyError for an unknown one."""
    status, usual = _ERRORS[error]
    return Failure(status, message=message or usual, headers={"x-amzn-errortype": error}, delay_s=delay_s)


class BedrockStandIn(CloudStandIn):
    """A stand-in for Amazon Bedrock.

    A request must have `api_key` as a bearer token (`AWS_BEARER_TOKEN_BEDROCK`) or as the access key id of its
    signature, which is not verified. `container_credentials_url` returns such a credential for a container's role. The
    error name of a `Failure` follows from its status, unless its headers have `x-amzn-errortype`: see
    `bedrock_failure`.
    """

    model = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
    inference_profiles: tuple[str, ...] = INFERENCE_PROFILES
    models_not_enabled: tuple[str, ...] = ()
    """Foundation models, such as "anthropic.claude-opus-5-5", that the account may not use."""

    @property
    def environment(self) -> dict[str, str]:
        return {
            "CLAUDE_CODE_USE_BEDROCK": "1",
            "ANTHROPIC_BEDROCK_BASE_URL": self.base_url,
            "AWS_REGION": _REGION,
            "AWS_BEARER_TOKEN_BEDROCK": self.api_key,
        }

    @property
    def container_credentials_url(self) -> str:
        """A value for `AWS_CONTAINER_CREDENTIALS_FULL_URI`."""
        return f"{self.base_url}{_CREDENTIALS_PATH}"

    def _route(self, path: str) -> Route | None:
        found = _PATH.fullmatch(path)
        return found and Route(found["model"], found["action"] != "invoke")

    def _refuse_key(self, headers: Mapping[str, str]) -> Failure | None:
        signed = re.match(r"AWS4-HMAC-SHA256 Credential=([^/]+)/", headers.get("authorization", ""))
        if self._api_key is None or self._api_key in (bearer(headers), signed and signed[1]):
            return None
        return bedrock_failure("UnrecognizedClientException")

    def _find_mistake(self, recorded: RecordedRequest, shape: Shape = BODY) -> Failure | None:
        if not _MODEL.fullmatch(recorded.body["model"]) and not is_known(recorded.body["model"], self.models):
            return bedrock_failure("ValidationException")
        if recorded.headers.get("anthropic-version") != VERSION:
            return Failure(400, message=f"anthropic_version: Input should be '{VERSION}'")
        return super()._find_mistake(recorded, shape)

    def _unknown_model(self, model: str) -> Failure | None:
        return None  # `_find_mistake` has checked it

    def _error(self, failure: Failure, request_id: str) -> tuple[dict[str, str], Json]:
        name = _BY_STATUS.get(failure.status, "InternalServerException")
        return {"x-amzn-errortype": name, "x-amzn-requestid": request_id}, {"message": failure.message}

    def _render(self, reply: Reply, recorded: RecordedRequest, *, message_id: str, request_id: str) -> Rendered:
        rendered = super()._render(reply, recorded, message_id=message_id, request_id=request_id)
        if not rendered.headers.get("content-type", "").startswith("text/event-stream"):
            return rendered
        headers = {
            **rendered.headers,
            "content-type": "application/vnd.amazon.eventstream",
            "x-amzn-bedrock-content-type": "application/json",
            "x-amzn-requestid": request_id,
        }
        return replace(rendered, headers=headers, pieces=[_as_messages(piece) for piece in rendered.pieces])

    def _answer_beside(self, request: Request, content: bytes) -> Json | None:
        if request.method != "GET":
            return None
        if request.url.path == "/inference-profiles":
            return {"inferenceProfileSummaries": [_profile(name) for name in self.inference_profiles]}
        if request.url.path.startswith("/inference-profiles/"):
            return _profile(request.url.path.removeprefix("/inference-profiles/"))
        if request.url.path.startswith(_AVAILABILITY_PATH):
            return _availability(request.url.path.removeprefix(_AVAILABILITY_PATH), self.models_not_enabled)
        if request.url.path == _CREDENTIALS_PATH:
            return {
                "AccessKeyId": self.api_key,
                "SecretAccessKey": "stand-in-secret",
                "Token": "stand-in-session",
                "Expiration": "2099-01-01T00:00:00Z",
            }
        return None


def _as_messages(piece: bytes) -> bytes:
    """Convert server-sent events to messages of the binary event stream."""
    return b"".join(_as_message(event) for event in piece.split(b"\n\n") if event)


def _as_message(event: bytes) -> bytes:
    first, _, rest = event.partition(b"\n")
    data = rest.removeprefix(b"data: ")
    if first == b"event: error":
        return _exception(data)
    payload = json.dumps({"bytes": base64.b64encode(data).decode(), "p": "abcdefghijklm"}).encode()
    headers = {":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}
    return encode_message(headers, payload)


def _exception(data: bytes) -> bytes:
    error = json.loads(data)["error"]
    headers = {
        ":exception-type": _IN_STREAM.get(error["type"], "internalServerException"),
        ":content-type": "application/json",
        ":message-type": "exception",
    }
    return encode_message(headers, json.dumps({"message": error["message"]}).encode())


def _availability(model: str, not_enabled: tuple[str, ...]) -> Json:
    is_enabled = model not in not_enabled
    return {
        "modelId": model,
        "agreementAvailability": {"status": "AVAILABLE" if is_enabled else "NOT_AVAILABLE"},
        "authorizationStatus": "AUTHORIZED" if is_enabled else "NOT_AUTHORIZED",
        "entitlementAvailability": "AVAILABLE" if is_enabled else "NOT_AVAILABLE",
        "regionAvailability": "AVAILABLE",
    }


def _profile(name: str) -> Json:
    base = re.sub(r"^[a-z-]+\.(?=anthropic\.)", "", name.rpartition("/")[2])
    return {
        "inferenceProfileName": base,
        "inferenceProfileId": name,
        "inferenceProfileArn": f"arn:aws:bedrock:{_REGION}:123456789012:inference-profile/{name}",
        "models": [{"modelArn": f"arn:aws:bedrock:{_REGION}::foundation-model/{base}"}],
        "status": "ACTIVE",
        "type": "SYSTEM_DEFINED",
    }
