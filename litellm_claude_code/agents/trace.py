"""Reading the frames of an agent's process: into events as they arrive, and into a record at the end of the run.

This module does no I/O and reads no clock; the caller passes the time in. The shapes of the frames are those of CLI
2.1.327, observed with the stand-in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypedDict

from claude_agent_sdk import CLIConnectionError
from typing_extensions import NotRequired

from ..cli_protocol import Frame
from ..errors import Failure
from ..limits.rate_limit_info import info_of_error

StopReason = Literal["end_turn", "max_turns", "max_budget_usd", "max_tokens", "refusal"]
_LIMITS: Final[Mapping[str, StopReason]] = {
    "error_max_turns": "max_turns",
    "error_max_budget_usd": "max_budget_usd",
}
_OF_THE_API: Final[Mapping[str, str]] = {"max_turns": "max_tokens", "max_budget_usd": "max_tokens"}


class ToolCall(TypedDict):
    """One tool call. `result`, `is_error` and `duration_s` are missing while it runs."""

    id: str
    name: str
    input: Mapping[str, Any]
    parent_id: str | None
    """The id of the tool call that started the subagent that made this call; None if the agent itself made it."""
    result: NotRequired[str]
    is_error: NotRequired[bool]
    duration_s: NotRequired[float]


class Denial(TypedDict):
    """A tool call that was denied, and so did not run."""

    id: str
    name: str
    input: Mapping[str, Any]
    reason: str


class AgentRecord(TypedDict):
    """The record of one run, in `provider_specific_fields["agent"]` of the answer."""

    profile: str
    session_id: str | None
    """Set if the profile keeps conversations. Pass it as `session_id=` to resume this one."""
    stop_reason: str
    """`end_turn`, or what ended the run early: `max_turns`, `max_budget_usd`, `max_tokens` or `refusal`."""
    turns: int
    tool_calls: list[ToolCall]
    denials: list[Denial]
    compactions: list[dict[str, Any]]
    """One entry each time the conversation was summarized to fit: `trigger`, `tokens_before`, and `tokens_after`.

    `trigger` and `tokens_before` are None, and `tokens_after` is missing, if the CLI does not report them.
    """
    cost_usd: float
    usage_by_model: dict[str, dict[str, Any]]


AgentEvent = dict[str, Any]
"""An event of a run. Its `type` is `started`, `text`, `tool_call`, `tool_result`, `denial`, `retry` or `compaction`."""


@dataclass(kw_only=True)
class _Answer:
    """One message of the model, as received so far."""

    id: str
    texts: list[str] = field(default_factory=list)
    stop_reason: str | None = None
    has_tool_use: bool = False


class Trace:
    """Reads the frames of one run."""

    def __init__(self, *, message_id: str) -> None:
        self._message_id = message_id
        self._calls: dict[str, ToolCall] = {}
        self._began_at: dict[str, float] = {}
        self._denials: dict[str, Denial] = {}
        self._compactions: list[dict[str, Any]] = []
        self._answers: list[_Answer] = []
        self._result: Frame | None = None
        self._error: str | None = None
        self.limit: Frame | None = None
        """The CLI's latest `rate_limit_info`, about the limits of the subscription."""
        self.model: str | None = None
        self.requests = 0
        """How many requests have reached the API so far, as the CLI reports them."""
        self.has_acted = False
        """Whether the agent has used a tool. If so, only the caller may repeat the run."""

    @property
    def is_over(self) -> bool:
        return self._result is not None

    def take(self, frame: Frame, now: float) -> Iterator[AgentEvent]:
        """Process a frame that arrived at `now` (seconds, monotonic) and yield its events."""
        match frame:
            case {"type": "stream_event", "event": dict(event)} if not frame.get("parent_tool_use_id"):
                yield from self._take_stream(event)
            case {"type": "assistant", "error": str(error)} if not frame.get("parent_tool_use_id"):
                self._error = error
                self.limit = info_of_error(frame, self.limit)
            case {"type": "assistant", "message": {"content": list(blocks)}}:
                yield from self._take_blocks(blocks, frame.get("parent_tool_use_id"), now)
            case {"type": "user", "message": {"content": list(blocks)}}:
                yield from self._take_results(blocks, frame, now)
            case {"type": "system", "subtype": "status", "status": "requesting"}:
                self.requests += 1
            case {"type": "system", "subtype": "init"}:
                yield {"type": "started", "tools": frame.get("tools"), "cwd": frame.get("cwd")}
            case {"type": "system", "subtype": "permission_denied"}:
                yield from self._deny(str(frame.get("tool_use_id")), str(frame.get("message") or ""))
            case {"type": "system", "subtype": "compact_boundary"}:
                yield self._compact(frame.get("compact_metadata") or {})
            case {"type": "system", "subtype": "api_retry"}:
                retry = {key: frame.get(key) for key in ("attempt", "max_retries", "error_status", "error")}
                yield {"type": "retry", **retry}
            case {"type": "rate_limit_event", "rate_limit_info": dict(limit)}:
                self.limit = limit
            case {"type": "result"}:
                self._take_end(frame)

    def _take_stream(self, event: Mapping[str, Any]) -> Iterator[AgentEvent]:
        match event:
            case {"type": "message_start", "message": dict(message)}:
                if self._answers and self._answers[-1].stop_reason is None:
                    self._answers.pop()  # the stream broke off, and the CLI has repeated the request
                self._answers.append(_Answer(id=str(message.get("id"))))
                self.model = message.get("model") or self.model
            case {"type": "content_block_start", "content_block": {"type": "text", "text": str(text)}} if self._answers:
                self._answers[-1].texts.append(text)
            case {"type": "content_block_start", "content_block": {"type": "tool_use"}} if self._answers:
                self._answers[-1].has_tool_use = True
            case {"type": "content_block_delta", "delta": {"type": "text_delta", "text": str(text)}} if self._answers:
                self._answers[-1].texts.append(text)
                yield {"type": "text", "text": text}
            case {"type": "message_delta", "delta": {"stop_reason": str(reason)}} if self._answers:
                self._answers[-1].stop_reason = reason

    def _take_blocks(self, blocks: Sequence[Any], parent: str | None, now: float) -> Iterator[AgentEvent]:
        for block in blocks:
            if block.get("type") not in ("tool_use", "server_tool_use") or block["id"] in self._calls:
                continue
            call = ToolCall(id=block["id"], name=block["name"], input=block.get("input") or {}, parent_id=parent)
            self._calls[block["id"]], self._began_at[block["id"]] = call, now
            self.has_acted = True
            yield {"type": "tool_call", **call}

    def _take_results(self, blocks: Sequence[Any], frame: Frame, now: float) -> Iterator[AgentEvent]:
        meta = {one.get("id"): one for one in frame.get("tool_result_meta") or [] if isinstance(one, dict)}
        for block in blocks:
            call = self._calls.get(block.get("tool_use_id", "")) if block.get("type") == "tool_result" else None
            if call is None:
                continue
            call["result"] = _text(block.get("content"))
            call["is_error"] = block.get("is_error") is True
            call["duration_s"] = round(now - self._began_at[call["id"]], 3)
            decided = (meta.get(call["id"]) or {}).get("permission_decision") or {}
            if decided.get("decision") == "reject":
                yield from self._deny(call["id"], call["result"])
            yield {"type": "tool_result", **call}

    def _deny(self, tool_call_id: str, reason: str) -> Iterator[AgentEvent]:
        call = self._calls.get(tool_call_id)
        if tool_call_id in self._denials or call is None:
            return
        denial = Denial(id=tool_call_id, name=call["name"], input=call["input"], reason=reason)
        self._denials[tool_call_id] = denial
        yield {"type": "denial", **denial}

    def _compact(self, metadata: Mapping[str, Any]) -> AgentEvent:
        known = {"trigger": metadata.get("trigger"), "tokens_before": metadata.get("pre_tokens")}
        if "post_tokens" in metadata:
            known["tokens_after"] = metadata["post_tokens"]
        self._compactions.append(known)
        return {"type": "compaction", **known}

    def _take_end(self, frame: Frame) -> None:
        if self._message_id in (frame.get("user_message_uuids") or [frame.get("user_message_uuid")]):
            self._result = frame
        elif (frame.get("num_turns") or 0) > 0 or frame.get("is_error"):
            raise CLIConnectionError("the process answered another message")

    @property
    def answers(self) -> int:
        """Return the number of messages that the model has begun."""
        return len(self._answers)

    def text(self) -> str:
        """Return the text of the answer: that of the messages after the last message with a tool call.

        If the last message itself has a tool call, because the run ended there, its text is included.
        """
        last: list[str] = []
        for answer in self._answers:
            # `last` has several texts only if a message hit `max_tokens` and the CLI asked the model to continue.
            last.append("".join(answer.texts))
            if answer.has_tool_use and answer is not self._answers[-1]:
                last.clear()
        return "".join(last)

    @property
    def structured(self) -> Any:
        """Return the structured output, or None if there is none."""
        return (self._result or {}).get("structured_output")

    @property
    def stop_reason(self) -> StopReason:
        """Return why the run ended; see `AgentRecord.stop_reason`."""
        limit = _LIMITS.get(str((self._result or {}).get("subtype")))
        if limit is not None:
            return limit
        last = self._answers[-1].stop_reason if self._answers else None
        return "max_tokens" if last == "max_tokens" else "refusal" if last == "refusal" else "end_turn"

    @property
    def api_stop_reason(self) -> str:
        """Return the stop reason in the Messages API's words. litellm turns that of a reached limit into `length`."""
        return _OF_THE_API.get(self.stop_reason, self.stop_reason)

    def failure(self) -> Failure | None:
        """Return why the run has no answer, or None if it has one. An answer that a limit cut short counts as one."""
        result = self._result or {}
        if str(result.get("subtype")) in _LIMITS:
            return None
        if not result.get("is_error") and self._error is None and result.get("subtype") == "success":
            return None
        errors = [str(each) for each in result.get("errors") or []]
        return Failure(
            kind=self._error or ("malformed" if "structured" in str(result.get("subtype")) else "lost"),
            status=result.get("api_error_status"),
            reason=result.get("terminal_reason"),
            # If the CLI reports no error, `result` is the start of the answer, which must not be in an error message.
            text=(self._error and result.get("result")) or "; ".join(errors) or "the run ended without a result",
        )

    def totals(self) -> tuple[dict[str, dict[str, Any]], float]:
        """Return the usage by model and the cost in USD, both since the start of the conversation."""
        result = self._result or {}
        return result.get("modelUsage") or {}, float(result.get("total_cost_usd") or 0.0)

    def record(
        self, *, profile: str, session_id: str | None, usage_by_model: dict[str, dict[str, Any]], cost_usd: float
    ) -> AgentRecord:
        """Return the record of the run."""
        return AgentRecord(
            profile=profile,
            session_id=session_id,
            stop_reason=self.stop_reason,
            turns=int((self._result or {}).get("num_turns") or 0),
            tool_calls=list(self._calls.values()),
            denials=list(self._denials.values()),
            compactions=self._compactions,
            cost_usd=cost_usd,
            usage_by_model=usage_by_model,
        )


def subtract_usage(
    totals: Mapping[str, Mapping[str, Any]], before: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return the usage by model of one run: the conversation's totals minus those before the run.

    Models without input or output tokens in this run are left out.
    """
    grown = {
        model: {
            key: value - before.get(model, {}).get(key, 0)
            if key not in _NOT_COUNTS and isinstance(value, (int, float)) and not isinstance(value, bool)
            else value
            for key, value in usage.items()
        }
        for model, usage in totals.items()
    }
    return {model: usage for model, usage in grown.items() if usage.get("inputTokens") or usage.get("outputTokens")}


_NOT_COUNTS: Final = frozenset({"contextWindow", "maxOutputTokens"})


def api_usage(by_model: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Return the usage of all models together, with the Messages API's field names."""
    names = {
        "input_tokens": "inputTokens",
        "output_tokens": "outputTokens",
        "cache_creation_input_tokens": "cacheCreationInputTokens",
        "cache_read_input_tokens": "cacheReadInputTokens",
    }
    return {api: sum(int(usage.get(cli) or 0) for usage in by_model.values()) for api, cli in names.items()}


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    return "\n".join(
        str(block.get("text")) if block.get("type") == "text" else f"[{block.get('type')}]"
        for block in blocks
        if isinstance(block, dict)
    )
