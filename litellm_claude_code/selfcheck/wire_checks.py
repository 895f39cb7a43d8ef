"""The checks of a self-check. Each makes calls and inspects the requests that the stand-in received."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from .. import cli_protocol as cli
from .._litellm import Body
from ..process.guard import LEFT_OUT_BLOCK
from .bench import ANSWER, KEY, PLAIN, TOKEN, Bench, system_blocks
from .differences import CACHING, differences, more_than_one
from .report import Problem

if TYPE_CHECKING:
    from ..testing import Answer, RecordedRequest, Reply

Check: TypeAlias = Callable[[Bench], Awaitable[list[Problem]]]

LEAVING_OUT: Final = (cli.MAX_OUTPUT_TOKENS, "the block that is fired with the prompt")
_OAUTH: Final = "oauth-2025-04-20"
_OTHER_SYSTEM: Final = " \n"
_TRACE: Final = "wryneck-4711"
"""A word in the first call that no later request may contain."""
_RICH: Final[Body] = {
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": f"@/etc/passwd and {_TRACE}: ultrathink about !`id`"}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {}}]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "\u202eé 👩‍👩‍👧‍👦 \u2028 \x1b[31m"},
                {"type": "text", "text": cli.CLEAR},
            ],
        },
    ],
    "tools": [{"name": "Bash", "description": "Runs", "input_schema": {"type": "object", "properties": {}}}],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "max_tokens": 321,
    "stop_sequences": ["END"],
    "thinking": {"type": "adaptive"},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
}


async def check_rich_body(bench: Bench) -> list[Problem]:
    """Check that a body with every kind of content arrives unchanged, and that the answer's events are delivered."""
    seen = await bench.ask(_RICH)
    problems = differences(seen)
    if any(_credentials(request) != (KEY, None) for request in seen.requests):
        problems.append(Problem("it sends a credential other than the given key", (cli.API_KEY,)))
    if seen.text != ANSWER or seen.stop_reason != "end_turn":
        switches = () if seen.events else (cli.INCLUDE_PARTIAL_MESSAGES,)
        problems.append(Problem("it does not deliver all events of an answer", switches))
    return problems


def _credentials(request: RecordedRequest) -> tuple[str | None, str | None]:
    return request.headers.get("x-api-key"), request.headers.get("authorization")


async def check_reset(bench: Bench) -> list[Problem]:
    """Check that a second call contains no text of the first, and has the CLI's system blocks of a fresh process."""
    second = await bench.ask(system=_OTHER_SYSTEM)
    fresh = await bench.ask(system="")
    problems = [*differences(second), *differences(fresh)]
    reset = (cli.CLEAR, cli.REWIND_CONVERSATION)
    if _TRACE in json.dumps(second.body):
        problems.append(Problem("a second call contains text of the first", reset))
    if system_blocks(second.body)[0] != system_blocks(fresh.body)[0]:
        problems.append(Problem("after a call, its own system blocks differ from those of a new process", reset))
    return problems


async def check_endings(bench: Bench) -> list[Problem]:
    """Check that every kind of answer takes one request and is delivered with its own `stop_reason`.

    The CLI's budget must have ended each turn. Otherwise the worker tries to stop a second request, which may succeed
    here and fail later: it is a race.
    """
    from ..testing import Answer, Text, ToolUse

    budget, fallback = cli.MAX_BUDGET_USD, cli.DISABLE_REFUSAL_FALLBACK
    endings: list[tuple[str, Answer, tuple[str, ...]]] = [
        ("that ends at max_tokens", Answer(content=[Text("It is cut")], stop_reason="max_tokens"), (budget,)),
        ("that is empty", Answer(content=[], stop_reason="end_turn"), (budget,)),
        ("that is a refusal", Answer(content=[Text("No.")], stop_reason="refusal"), (fallback, budget)),
        ("that calls a tool", Answer(content=[ToolUse("Bash")], stop_reason="tool_use"), (cli.MAX_TURNS, budget)),
    ]
    problems = []
    for name, answer, switches in endings:
        seen = await bench.ask(PLAIN, answer)
        if seen.ended_by != "error_max_budget_usd":
            problems.append(Problem(f"its budget does not end the turn after an answer {name}", (budget,)))
        problems += more_than_one(seen, f"an answer {name}", *switches)
        if len(seen.bodies) == 1 and seen.stop_reason != answer.stop_reason:
            problems.append(Problem(f"it does not deliver the `stop_reason` of an answer {name}"))
    return problems


async def check_left_out(bench: Bench) -> list[Problem]:
    """Check that a request of the CLI's own is refused, and that its answer is not delivered as the call's.

    The CLI makes one in place of the call's if it leaves out the body, for example because the body is not JSON (tested
    here) or because a policy forbids betas.
    """
    before = len(bench.stand_in.requests)
    seen = await bench.ask(text='{"messages": [')
    problems = []
    if seen.failure is None:
        problems.append(Problem("it makes a request of its own and delivers its answer as the call's", LEAVING_OUT))
    for request in bench.stand_in.requests[before:]:
        own = json.dumps(request.body.get("messages"))
        if LEFT_OUT_BLOCK["type"] not in own or request.body.get("max_tokens") != 1:
            problems.append(Problem("it makes a request of its own that the API would answer", LEAVING_OUT))
    return [*problems, *differences(await bench.ask())]


async def check_failures(bench: Bench) -> list[Problem]:
    """Check that a failing call makes one request, and that the failure is reported with its status."""
    from ..testing import Answer, Failure, Text

    retries, betas = cli.MAX_RETRIES, cli.DISABLE_EXPERIMENTAL_BETAS
    fallback, cut = cli.DISABLE_NONSTREAMING_FALLBACK, Answer(content=[Text("It is")], cut_after=0)
    failures: list[tuple[str, Reply, int | None, tuple[str, ...]]] = [
        ("an error 529", Failure(529), 529, (retries,)),
        ("an error 400", Failure(400), 400, (betas, retries)),
        ("a stream that is cut off", cut, None, (fallback, retries)),
    ]
    problems = []
    for name, reply, status, switches in failures:
        seen = await bench.ask(PLAIN, reply)
        problems += more_than_one(seen, name, *switches)
        if len(seen.bodies) == 1 and seen.failure is None:
            problems.append(Problem(f"it delivers {name} as an answer"))
        elif len(seen.bodies) == 1 and seen.failure is not None and seen.failure.status != status:
            problems.append(Problem(f"it reports {name} with the status {seen.failure.status}"))
    return problems


async def check_what_a_call_sets(bench: Bench) -> list[Problem]:
    """Check that the model and the cache marks are those of the call, not those of the call before."""
    marked = await bench.ask(model="haiku", cache_ttl="1h")
    problems = differences(marked, is_marked=True)
    if '"1h"' not in json.dumps(marked.body.get("system")):
        problems.append(Problem("it does not set the cache marks of the call", CACHING))
    return [*problems, *differences(await bench.ask())]


async def check_nothing_else(bench: Bench) -> list[Problem]:
    """Check that the CLI made no requests to paths other than that of the calls."""
    asked = sorted({f"{request.method} {request.path}" for request in bench.stand_in.other_requests})
    switches = (cli.DISABLE_NONESSENTIAL_TRAFFIC,)
    return [Problem(f"it makes requests of its own ({', '.join(asked)})", switches)] if asked else []


async def check_login(bench: Bench) -> list[Problem]:
    """Check that a subscription token is sent correctly.

    A `.claude.json` that is written later must change neither the token nor the host.

    The API accepts such a token only as a bearer token and with the `oauth` beta. CLI 2.1.121 left out the beta, and
    every call failed with a 401.
    """
    nowhere = {cli.BASE_URL: "http://127.0.0.1:9", cli.API_KEY: "another-key"}
    # A wrapper around the CLI may leave a process that still writes there for a moment.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        seen = await bench.ask_with_token(Path(folder), later={"env": nowhere})
    problems = []
    if any(_credentials(request) != (None, f"Bearer {TOKEN}") for request in seen.requests):
        problems.append(Problem("it sends a credential other than the given token", (cli.OAUTH_TOKEN,)))
    if any(_OAUTH not in request.headers.get("anthropic-beta", "").split(",") for request in seen.requests):
        switches = (cli.DISABLE_EXPERIMENTAL_BETAS,)
        problems.append(Problem(f"it leaves out the beta {_OAUTH}, without which the API refuses a login", switches))
    return problems


CHECKS: Final[tuple[Check, ...]] = (
    check_rich_body,
    check_reset,
    check_endings,
    check_left_out,
    check_failures,
    check_what_a_call_sets,
    check_login,
    check_nothing_else,
)
