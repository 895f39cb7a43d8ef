"""A Python process with two litellm Routers in front of servers, for commands on its stdin.

Its argument is the arguments of `litellm.Router`, as JSON. The Routers share nothing but what these name. The process
reads lines that begin with the number of a Router, `0 ask N` (run N streams at once) and `1 cooling` (return the
deployments that are cooled down), and answers each with a line of JSON. If a stream fails with an exception that is not
one of litellm's, the process ends.
"""

import asyncio
import json
import sys
from typing import Any

import litellm
from litellm.exceptions import LITELLM_EXCEPTION_TYPES
from litellm.router_utils.cooldown_handlers import async_get_cooldown_deployments

LITELLM_ERRORS: tuple[type[Exception], ...] = tuple(LITELLM_EXCEPTION_TYPES)


async def stream(router: litellm.Router) -> str:
    """Return the text of a stream, or the name and message of the exception that ended it."""
    try:
        chunks: Any = await router.acompletion("sonnet", messages=[{"role": "user", "content": "Hello"}], stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])
    except LITELLM_ERRORS as error:
        return f"{type(error).__name__}: {error}"


async def main() -> None:
    routers = [litellm.Router(**json.loads(sys.argv[1])) for _ in range(2)]
    print(json.dumps("ready"), flush=True)
    while line := (await asyncio.to_thread(sys.stdin.readline)).split():
        router = routers[int(line[0])]
        if line[1] == "ask":
            told = await asyncio.gather(*[stream(router) for _ in range(int(line[2]))])
        else:
            told = await async_get_cooldown_deployments(litellm_router_instance=router, parent_otel_span=None)
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
