"""Whether a call may go, and when it begins again: the decision by itself, without processes."""

import time
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from litellm_claude_code.call import Call
from litellm_claude_code.errors import CallFailed, Failure, RunFailed
from litellm_claude_code.login import Login
from litellm_claude_code.pool.admission import Admission
from litellm_claude_code.settings import Settings

LOGIN = Login(payer="subscription")
FAILED = CallFailed(Failure(kind="rate_limit", text="You've hit your limit"))
ACTED = RunFailed(Failure(kind="rate_limit", text="You've hit your limit"), record={})


class Served:
    """A call that meets a limit the first time that it is served, and is answered the second time."""

    def __init__(self, *, on_limit: Any = None, settings: Settings | None = None) -> None:
        self.admission = Admission(settings or Settings())
        self.call = Call(model="m", system="", login=LOGIN, on_limit=on_limit)
        self.left_s: list[float] = []
        self.begun = 0

    async def events(self, *, before: int = 0, failed: CallFailed = FAILED, resets_in_s: float | None = 1) -> list[str]:
        """Return the events. The first time, there are `before` events before the failure."""

        async def begin() -> AsyncGenerator[str, None]:
            self.begun += 1
            for _ in range(before):
                yield "early"
            if self.begun == 1:
                if resets_in_s is not None:
                    limit = {"status": "rejected", "rateLimitType": "five_hour", "resetsAt": time.time() + resets_in_s}
                    self.admission.note_limit(self.call, limit)
                raise failed
            yield "answer"

        return [event async for event in self.admission.past_limits(self.call, begin, self.left_s.append)]


async def test_a_call_that_meets_a_limit_begins_again_after_the_reset() -> None:
    served = Served(on_limit="wait")
    assert await served.events() == ["answer"]
    assert served.begun == 2
    *counting, last = served.left_s
    assert (last, all(0 < left_s <= 1 for left_s in counting)) == (0, True)


@pytest.mark.parametrize(
    "why_not",
    [{"before": 1}, {"failed": ACTED}, {"resets_in_s": None}, {"resets_in_s": 3_600}],
    ids=["an event was delivered", "an agent has acted", "no limit is reached", "the reset is far away"],
)
async def test_a_call_does_not_begin_again(why_not: dict[str, Any]) -> None:
    served = Served(on_limit="wait", settings=Settings(max_limit_wait_s=60))
    with pytest.raises(CallFailed, match=r"hit your limit|5-hour limit") as raised:
        await served.events(**why_not)
    assert raised.value.failure.kind == "rate_limit"
    assert (served.begun, served.left_s) == (1, [])


@pytest.mark.parametrize(("of_the_call", "of_the_settings"), [("raise", "wait"), (None, "raise")])
async def test_a_call_waits_only_if_it_is_to(of_the_call: Any, of_the_settings: Any) -> None:
    served = Served(on_limit=of_the_call, settings=Settings(on_limit=of_the_settings))
    with pytest.raises(CallFailed, match="5-hour limit"):
        await served.events()
    with pytest.raises(CallFailed, match="5-hour limit"):
        await served.events()
    assert (served.begun, served.left_s) == (1, [])
