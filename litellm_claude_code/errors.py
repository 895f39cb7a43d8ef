"""Failures as litellm's exceptions: the class that `anthropic/` raises for the same answer of the API.

Everything that goes wrong below the provider is a `CallFailed` with a `Failure`; one ordered table turns it into what
the caller sees. Prompts and keys never appear in a message: the CLI's own text is kept only where it speaks of the API.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import httpx
from litellm import exceptions

from .installed import NO_CLI
from .limits import Reached
from .models import PROVIDER
from .trusted import UntrustedFolder

if TYPE_CHECKING:
    from .auth import Payer  # which refuses in the words below

_CAUSE: Final = "claude_code_cause"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What the CLI said about a call that failed (facts: the failure tables, CLI 2.1.327)."""

    kind: str
    """`AssistantMessage.error` (`rate_limit`, `server_error`…), or a word of ours: `cut`, `silent`, `timeout`…"""
    status: int | None = None
    """HTTP status of the API's answer, where there was one."""
    reason: str | None = None
    """`ResultMessage.terminal_reason`."""
    text: str = ""
    """One sentence for the user."""
    retry_after_s: float | None = None
    limit: Reached | None = None
    """The limit of the subscription that refuses the call, if one does."""


@dataclass(frozen=True, kw_only=True)
class Cause:
    """What is known of a failed call besides its class: see `cause_of`."""

    kind: str
    """The CLI's word for it (`rate_limit`, `authentication_failed`…), or one of ours (`timeout`, `cut`, `lost`…)."""
    payer: Payer
    """Who was to pay."""
    limit: Reached | None = None
    """The limit of the subscription that is reached, with its window and reset. None for an ordinary 429."""

    @property
    def is_dead_login(self) -> bool:
        """Say whether the subscription's login is missing, has expired or is refused: no call will go through."""
        return self.payer == "subscription" and self.kind in ("authentication_failed", "oauth_org_not_allowed")


def cause_of(error: BaseException) -> Cause | None:
    """Return what this package knows of a failed call, or None where the exception is not of its making.

    The exceptions that litellm and DSPy wrap around ours are looked into.
    """
    for inner in _chain(error):
        cause = getattr(inner, _CAUSE, None)
        if isinstance(cause, Cause):
            return cause
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and all that it stems from: litellm keeps a stream's own failure in an attribute."""
    left, seen = [error], set[int]()
    while left:
        inner = left.pop(0)
        if id(inner) not in seen:
            seen.add(id(inner))
            yield inner
            stems = (getattr(inner, "original_exception", None), inner.__cause__, inner.__context__)
            left += [stem for stem in stems if isinstance(stem, BaseException)]


class CallFailed(Exception):
    """A call ended without an answer. Says nothing of whether a retry makes sense: the class it becomes does."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


class StepRefused(Exception):
    """The CLI answered a control request with something other than success."""

    def __init__(self, subtype: str) -> None:
        super().__init__(f"the CLI refused `{subtype}`")


class WorkerLost(CallFailed):
    """The process failed before the model was asked: another process can take the call."""


class RunFailed(CallFailed):
    """An agent's run failed, and may have done something before: nobody repeats it but its caller."""

    def __init__(self, failure: Failure, *, record: Any) -> None:
        super().__init__(failure)
        self.record = record
        """What the agent had done; see `AgentRecord`."""


def closed() -> CallFailed:
    """Return the failure of a call that met the end of the pool."""
    return CallFailed(Failure(kind="lost", text="the pool was closed"))


def timed_out(timeout_s: float | None) -> CallFailed:
    """Return the failure of a call that waited longer than its caller would."""
    return CallFailed(Failure(kind="timeout", text=f"no answer within the timeout of {timeout_s or 0:g} s"))


def malformed(error: Exception) -> CallFailed:
    """Return the failure of a call whose answer cannot be translated. What it says is left out: it may be private."""
    text = f"the API's answer is not of the form it should have ({type(error).__name__})"
    return CallFailed(Failure(kind="malformed", text=text))


HOW_TO_PAY: Final = (
    "Log in with `litellm-claude-code claude auth login`, with `/login` in Claude Code, or with a token of `claude "
    "setup-token` in CLAUDE_CODE_OAUTH_TOKEN; or pay with a key: `api_key=` on the call, or "
    "LITELLM_CLAUDE_CODE_AUTH=api_key with ANTHROPIC_API_KEY set."
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
    "oauth_org_not_allowed": exceptions.PermissionDeniedError,
    "billing_error": exceptions.BadRequestError,
    "rate_limit": exceptions.RateLimitError,
    "model_not_found": exceptions.NotFoundError,
    "invalid_request": exceptions.BadRequestError,
    "overloaded": exceptions.InternalServerError,
}


def to_litellm(failed: CallFailed, *, model: str, payer: Payer) -> Exception:
    """Return the litellm exception for a failed call; `cause_of` reads from it what its class does not tell.

    `model` is the name the caller used; `payer` was to pay: where that is the subscription, an `AuthenticationError`
    tells how to log in, and how to pay otherwise.
    """
    failure = failed.failure
    kind = _class_of(failure)
    hint = f". {HOW_TO_PAY}" if payer == "subscription" and kind is exceptions.AuthenticationError else ""
    error: Exception = kind(
        f"Claude Code: {failure.text or failure.kind}{hint}", model=model, llm_provider=PROVIDER, **_more(kind, failure)
    )
    # An attribute and not a subclass: litellm's Router and callbacks compare the class itself.
    setattr(error, _CAUSE, Cause(kind=failure.kind, payer=payer, limit=failure.limit))
    return error


def _more(kind: Any, failure: Failure) -> dict[str, Any]:
    """Return the arguments that only some of litellm's classes take."""
    if kind is exceptions.Timeout:
        return {"exception_status_code": failure.status}
    if kind is exceptions.APIConnectionError:
        return {}
    headers = {"retry-after": f"{failure.retry_after_s:g}"} if failure.retry_after_s is not None else {}
    status = failure.status or getattr(kind, "status_code", None) or 500
    response = httpx.Response(status, headers=headers, request=httpx.Request("POST", "https://api.anthropic.com"))
    # litellm's proxy hands on to its clients what is in `headers`, and nothing that is in the response alone.
    return {"response": response, "headers": headers} if kind is exceptions.RateLimitError else {"response": response}


def _class_of(failure: Failure) -> Any:
    if failure.reason == "prompt_too_long" or "prompt is too long" in failure.text.lower():
        return exceptions.ContextWindowExceededError
    if "content filtering policy" in failure.text:
        return exceptions.ContentPolicyViolationError
    if failure.status in _BY_STATUS:
        return _BY_STATUS[failure.status]
    return _BY_KIND.get(failure.kind, exceptions.APIConnectionError)


def from_sdk(error: BaseException, *, is_sent: bool) -> CallFailed:
    """Describe an exception of the SDK or the operating system; `is_sent` says whether the model had been asked."""
    import claude_agent_sdk as sdk  # here, because it takes half a second; whoever calls this has it loaded

    if isinstance(error, CallFailed):
        return error
    if isinstance(error, sdk.CLINotFoundError):
        return CallFailed(Failure(kind="cli_not_found", text=NO_CLI))
    if (text := _of_the_machine(error)) is not None:
        return CallFailed(Failure(kind="machine", text=text))
    if isinstance(error, StepRefused):
        failure = Failure(kind="lost", text=str(error))
        return CallFailed(failure) if is_sent else WorkerLost(failure)
    text = next((text for kind, text in _lost(sdk) if isinstance(error, kind)), f"unexpected {type(error).__name__}")
    failure = Failure(kind="lost", text=text)
    return CallFailed(failure) if is_sent else WorkerLost(failure)


def _of_the_machine(error: BaseException | None) -> str | None:
    """Return a sentence for an error that another process would meet, too; it may be the cause of the SDK's error."""
    while error is not None:
        if isinstance(error, UntrustedFolder):
            return str(error)
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            return "too many files are open in this process or on this machine: raise the limit (`ulimit -n`)"
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            return f"{error.filename or 'a file'} cannot be written or run: {error.strerror}"
        if isinstance(error, OSError) and error.errno in (errno.EAGAIN, errno.ENOMEM):
            return f"no process can be started: {error.strerror}. Lower LITELLM_CLAUDE_CODE_MAX_WORKERS or free memory"
        error = error.__cause__
    return None


def _lost(sdk: ModuleType) -> list[tuple[type[BaseException], str]]:
    """List what an exception of the SDK means, the specific before the general. Their own texts may quote a prompt."""
    return [
        (TimeoutError, "the process did not answer in time"),
        (sdk.ProcessError, "the process ended"),
        (sdk.CLIJSONDecodeError, "the process wrote something that is not JSON"),
        (sdk.ClaudeSDKError, "the connection to the process broke"),
        (OSError, "the connection to the process broke"),
    ]


def bad_request(message: str, *, model: str) -> exceptions.BadRequestError:
    """Return a `BadRequestError` for input that cannot be sent; `message` says what to change."""
    return exceptions.BadRequestError(message, model=model, llm_provider=PROVIDER)


def unsupported(message: str, *, model: str) -> exceptions.UnsupportedParamsError:
    """Return an `UnsupportedParamsError` for a parameter that cannot be honoured."""
    return exceptions.UnsupportedParamsError(message, model=model, llm_provider=PROVIDER)


@contextmanager
def alone() -> Iterator[None]:
    """Have what is raised within refer to no other exception: those of a translation hold the conversation."""
    try:
        yield
    except Exception as error:
        error.__cause__ = error.__context__ = None
        raise


def without_prompt(error: Exception) -> str:
    """Return a translation error's message less what litellm appends of the conversation."""
    text = re.split(r"\n?Received Messages=| Arguments: ", getattr(error, "message", None) or str(error))[0]
    return re.sub(r"^(litellm\.\w+: )?(AnthropicException - )?", "", text)
