"""Convert failures to litellm's exceptions: the class that `anthropic/` raises for the same API response.

Every error below the provider is a `CallFailed` with a `Failure`. `to_litellm` converts it to the exception that the
caller sees: by its text, then by HTTP status, then by kind. Prompts and keys never appear in a message: the CLI's own
text is kept only if it is about the API.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import httpx
from litellm import exceptions

from . import cli_protocol as cli
from . import cloud_errors
from .cause import Cause, with_cause
from .limits.subscription import ReachedLimit
from .login import HOW_TO_PAY, Login, without_password
from .models import PROVIDER

_FOLDER: Final = str(Path(__file__).parent)
_LITELLMS_OWN: Final[tuple[type[Exception], ...]] = tuple(exceptions.LITELLM_EXCEPTION_TYPES)
# Exceptions that the translation of a malformed response raises.
_MALFORMED: Final = (AttributeError, IndexError, KeyError, TypeError, ValueError)

# The end of the CLI's sentence if it got no connection: the address is wrong, or nothing listens there.
_CANNOT_CONNECT: Final = re.compile(
    r"^API Error: .*\((ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|EPROTO)\)$"
)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What the CLI reported about a failed call (failure tables of CLI 2.1.327)."""

    kind: str
    """`AssistantMessage.error` (`rate_limit`, `server_error`…), or a kind of our own: `cut`, `silent`, `timeout`…"""
    status: int | None = None
    """HTTP status of the API's response, if there was one."""
    reason: str | None = None
    """`ResultMessage.terminal_reason`."""
    text: str = ""
    """One sentence for the user."""
    retry_after_s: float | None = None
    limit: ReachedLimit | None = None
    """The subscription limit that refuses the call, if any."""


class CallFailed(Exception):
    """A call ended without a response. Whether a retry makes sense depends on the litellm exception it becomes."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


class InvalidRequest(Exception):
    """A request cannot be sent. The text says what to change, and quotes nothing of the conversation."""


class StepRefused(Exception):
    """The CLI answered a control request with something other than success."""

    def __init__(self, subtype: str) -> None:
        super().__init__(f"the CLI refused `{subtype}`")


class NoCli(Exception):
    """There is no Claude Code CLI to start."""


class ConnectionBroken(Exception):
    """A process cannot be used: it did what the protocol does not allow, or its working folder is gone."""


class WorkerLost(CallFailed):
    """The process failed before it sent the request to the model, so another process can take the call."""


class RunFailed(CallFailed):
    """An agent's run failed. It is never retried automatically: the agent may already have acted."""

    def __init__(self, failure: Failure, *, record: Any) -> None:
        super().__init__(failure)
        self.record = record
        """What the agent did before the failure; see `AgentRecord`."""


def closed() -> CallFailed:
    """Return the failure of a call whose pool was closed."""
    return CallFailed(Failure(kind="lost", text="the pool was closed"))


def timed_out(timeout_s: float | None) -> CallFailed:
    """Return the failure of a call that exceeded its timeout."""
    return CallFailed(
        Failure(kind="timeout", text=f"no answer within the timeout of {timeout_s or 0:g} s. Raise `timeout=`")
    )


_BY_STATUS: Final[dict[int, Any]] = {
    400: exceptions.BadRequestError,
    401: exceptions.AuthenticationError,
    402: exceptions.PaymentRequiredError,
    403: exceptions.PermissionDeniedError,
    404: exceptions.NotFoundError,
    408: exceptions.Timeout,
    413: exceptions.BadRequestError,
    422: exceptions.BadRequestError,
    429: exceptions.RateLimitError,
    500: exceptions.InternalServerError,
    502: exceptions.BadGatewayError,
    503: exceptions.ServiceUnavailableError,
    504: exceptions.Timeout,
    529: exceptions.InternalServerError,
}
_BY_KIND: Final[dict[str, Any]] = {
    "timeout": exceptions.Timeout,
    "authentication_failed": exceptions.AuthenticationError,
    "refused_settings": exceptions.AuthenticationError,
    "oauth_org_not_allowed": exceptions.PermissionDeniedError,
    "left_out": exceptions.PermissionDeniedError,
    "billing_error": exceptions.BadRequestError,
    "rate_limit": exceptions.RateLimitError,
    "model_not_found": exceptions.NotFoundError,
    "invalid_request": exceptions.BadRequestError,
    "overloaded": exceptions.InternalServerError,
}


def to_litellm(failed: CallFailed, *, model: str, login: Login) -> Exception:
    """Return the litellm exception for a failed call, with a `Cause` attached for `cause_of`.

    `model` is the name the caller used.
    """
    failure = replace(failed.failure, text=without_password(failed.failure.text))
    kind = (login.cloud and cloud_errors.class_of(login.cloud, **_about(failure))) or _class_of(failure)
    error: Exception = kind(
        f"Claude Code: {_sentence(failure, kind, login)}", model=model, llm_provider=PROVIDER, **_more(kind, failure)
    )
    cause = Cause(kind=failure.kind, payer=login.payer, limit=failure.limit, status=failure.status)
    return with_cause(error, cause)


def _about(failure: Failure) -> dict[str, Any]:
    """Return what `cloud_errors` goes by."""
    return {"kind": failure.kind, "status": failure.status, "text": failure.text}


def _sentence(failure: Failure, kind: Any, login: Login) -> str:
    """Return what happened and what to do.

    The CLI's own sentences (2.1.327) are for a user of its terminal: some name neither the host nor the key, and advise
    commands that exist only there. Those are replaced.
    """
    if login.cloud is not None:
        what_to_do = cloud_errors.advice(login.cloud, **_about(failure))
        text = failure.text or failure.kind
        return text if what_to_do is None else f"{text.rstrip('.')}. {what_to_do}."
    base_url = without_password(login.base_url or "")
    host = base_url.partition("://")[2].partition("/")[0] or "api.anthropic.com"
    if failure.status == 401:
        reason = failure.text.partition("API Error: 401 ")[2].rstrip(".")  # the API's own message
        return _refused_login(login, host, f"401: {reason}" if reason else "401")
    if failure.status == 404 and base_url.endswith("/v1"):
        return (
            f"404 from {base_url}/v1/messages. Leave `/v1` off `api_base` (or {cli.BASE_URL}); if that does not help, "
            "the model does not exist there."
        )
    if failure.text.startswith("Request too large"):
        # The CLI has the API's own message in its debug log only, which has prompts, too.
        return (
            f"{host} refused the request because it is too large ({failure.status}; Anthropic's API takes 32 MB, "
            "others may take less). Send fewer messages or images."
        )
    if base_url and failure.status is None and (error := _CANNOT_CONNECT.search(failure.text)):
        return f"Cannot connect to {base_url} ({error[1]}). Check the address, and that the service is running."
    if failure.kind == "authentication_failed" and failure.text.startswith("Not logged in"):
        return f"Not logged in. {HOW_TO_PAY}"
    # Failures of this package have no reason, and their text says what to do.
    if login.payer == "subscription" and kind is exceptions.AuthenticationError and failure.reason is not None:
        return f"{failure.text.rstrip('.')}. {HOW_TO_PAY}"
    return failure.text or failure.kind


def _refused_login(login: Login, host: str, error: str) -> str:
    if login.source == cli.OAUTH_TOKEN:
        return (
            f"The token in {cli.OAUTH_TOKEN} was refused ({error}): it is expired or revoked. Make a new one: "
            "`litellm-claude-code claude setup-token`."
        )
    if login.source is None:
        return (
            f"The Claude login was refused ({error}): it is expired or revoked. Log in again: "
            "`litellm-claude-code claude auth login`."
        )
    source = login.source if login.source in (cli.API_KEY, cli.AUTH_TOKEN) else "`api_key=`"
    return f"The key for {host} was refused ({error}). Check {source}."


def _more(kind: Any, failure: Failure) -> dict[str, Any]:
    """Return the constructor arguments that only some of litellm's exception classes take."""
    if kind is exceptions.Timeout:
        return {"exception_status_code": failure.status}
    if kind is exceptions.APIConnectionError:
        return {}
    headers = {"retry-after": f"{failure.retry_after_s:g}"} if failure.retry_after_s is not None else {}
    status = failure.status or getattr(kind, "status_code", None) or 500
    response = httpx.Response(status, headers=headers, request=httpx.Request("POST", "https://api.anthropic.com"))
    # litellm's proxy forwards `headers` to its clients, but not headers that are only in the response.
    return {"response": response, "headers": headers} if kind is exceptions.RateLimitError else {"response": response}


def _class_of(failure: Failure) -> Any:
    if failure.reason == "prompt_too_long" or "prompt is too long" in failure.text.lower():
        return exceptions.ContextWindowExceededError
    if "content filtering policy" in failure.text:
        return exceptions.ContentPolicyViolationError
    if failure.status in _BY_STATUS:
        return _BY_STATUS[failure.status]
    return _BY_KIND.get(failure.kind, exceptions.APIConnectionError)


class InternalError(Exception):
    """An unexpected exception: a bug in this package, or a changed interface of a dependency.

    Keeps the type and traceback of the original exception, but not its text, which may quote the conversation.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"{type(error).__name__} (its text is left out, because it may quote the conversation)")
        self.with_traceback(error.__traceback__)


class ObserverFailed(Exception):
    """Wraps an exception raised by an observer's `waits`, so that it is not reported as a bug in this package."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


def place_in_package(error: BaseException) -> str:
    """Return the innermost file and line of this package in an exception's traceback."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(_FOLDER)]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""


@contextmanager
def bugs_reported(model: str) -> Iterator[None]:
    """Convert an unexpected exception to an `APIConnectionError` with its type, location and traceback.

    litellm itself raises the same class for any exception of a provider, but quotes the exception's text.
    """
    try:
        yield
    except ObserverFailed as raised:
        raise raised.error from None
    except _LITELLMS_OWN:
        raise
    except Exception as error:
        text = f"Claude Code: an unexpected {type(error).__name__} in litellm_claude_code{place_in_package(error)}. "
        raise exceptions.APIConnectionError(
            f"{text}Please report it with its traceback.", model=model, llm_provider=PROVIDER
        ) from InternalError(error)


@contextmanager
def translating_an_answer() -> Iterator[None]:
    """Raise `CallFailed` if a response cannot be translated. Omits the error's text, which may be private."""
    try:
        yield
    except _MALFORMED as error:
        text = f"the API's response has an invalid format ({type(error).__name__})"
        raise CallFailed(Failure(kind="malformed", text=text)) from None


def bad_request(message: str, *, model: str) -> exceptions.BadRequestError:
    """Return a `BadRequestError` for invalid input; `message` says what to change."""
    return exceptions.BadRequestError(message, model=model, llm_provider=PROVIDER)


def unsupported(message: str, *, model: str) -> exceptions.UnsupportedParamsError:
    """Return an `UnsupportedParamsError` for a parameter that this provider cannot apply."""
    return exceptions.UnsupportedParamsError(message, model=model, llm_provider=PROVIDER)


@contextmanager
def translating_a_request(model: str) -> Iterator[None]:
    """Raise `BadRequestError` for an `InvalidRequest`.

    Drops the cause and context of all exceptions: litellm's translation errors contain the conversation.
    """
    try:
        yield
    except Exception as error:
        error.__cause__ = error.__context__ = None
        if isinstance(error, InvalidRequest):
            raise bad_request(str(error), model=model) from None
        raise
