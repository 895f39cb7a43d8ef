"""A Python process with a litellm Router over servers: run as `python -m tests.support.router_process`, on a pipe.

Its argument is what `litellm.Router` takes, as JSON. It reads `ask N` (N streams at once) and `cooling` (which
deployments are left out), and answers each with a line of JSON. What a stream ends in that is no litellm exception ends
the process.
"""

import asyncio
import json
import sys
from typing import Any

import litellm
from litellm.exceptions import LITELLM_EXCEPTION_TYPES
from litellm.router_utils.cooldown_handlers import async_get_cooldown_deployments


async def stream(router: litellm.Router) -> str:
    """Return the text of a stream, or the name of the exception that it ended in."""
    try:
        chunks: Any = await router.acompletion("sonnet", messages=[{"role": "user", "content": "Hello"}], stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])
    except tuple(LITELLM_EXCEPTION_TYPES) as error:
        return f"{type(error).__name__}: {error}"


async def main() -> None:
    router = litellm.Router(**json.loads(sys.argv[1]))
    print(json.dumps("ready"), flush=True)
    while line := (await asyncio.to_thread(sys.stdin.readline)).split():
        if line[0] == "ask":
            told = await asyncio.gather(*[stream(router) for _ in range(int(line[1]))])
        else:
            told = await async_get_cooldown_deployments(litellm_router_instance=router, parent_otel_span=None)
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
