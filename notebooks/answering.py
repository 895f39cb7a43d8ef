"""Who answers in these notebooks: Claude, on your login, or a scripted model, offline.

The calls in the notebooks, and the Claude Code CLI that makes them, are real either way.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from litellm_claude_code.testing import RecordedRequest, StandIn, ToolUse, answer

sys.path.insert(0, str(Path(__file__).parent.parent))  # where `examples` is

from examples.support_tickets.scripted_model import asked_for
from examples.support_tickets.scripted_model import respond as sort_ticket

CAPITALS = {"France": "Paris", "Spain": "Madrid", "Peru": "Lima"}
PEOPLE = {"Paris": 2_100_000, "Madrid": 3_300_000, "Lima": 10_000_000}
POEM = "{}, of bridges and of light,\nyour river keeps the lamps at night."


def reach(login: bool) -> dict[str, Any]:
    """Return the arguments that send a call to Claude (none) or to the scripted model (its address and key)."""
    if login:
        return {}
    stand_in = StandIn(respond=respond)
    stand_in.start()  # until the kernel ends
    return {"api_base": stand_in.base_url, "api_key": stand_in.api_key}


def respond(request: RecordedRequest) -> Any:
    """Answer what the notebooks ask, from three capitals and what the prompt says of tickets."""
    body = request.body
    text = json.dumps(body["messages"])
    if "ticket" in text:
        return sort_ticket(request)
    country = next((country for country in CAPITALS if country in text), "France")
    city = CAPITALS[country]
    facts = {"name": city, "country": country, "population": PEOPLE[city]}
    if body.get("tools"):
        is_told = "tool_result" in text
        return f"{city} has {PEOPLE[city]:,} inhabitants." if is_told else answer(ToolUse("population", {"city": city}))
    if names := asked_for(_last_text(body)):
        fields = {name: _field(name, facts, has_looked="observation_0" in text) for name in names}
        lines = [f"[[ ## {name} ## ]]\n{v if isinstance(v, str) else json.dumps(v)}\n" for name, v in fields.items()]
        return answer("\n".join([*lines, "[[ ## completed ## ]]"]), between_s=0.005)
    if "output_config" in body:
        return json.dumps(facts)
    return answer(POEM.format(city) if "poem" in text else f"The capital of {country} is {city}.", between_s=0.005)


def _field(name: str, facts: dict[str, Any], *, has_looked: bool) -> Any:
    city = facts["name"]
    known = {
        "reasoning": f"{city} is the capital of {facts['country']}.",
        "next_thought": "I know enough." if has_looked else f"I look up the population of {city}.",
        "next_tool_name": "finish" if has_looked else "population",
        "next_tool_args": {} if has_looked else {"city": city},
        "city": facts,
        "poem": POEM.format(city),
    }
    return known.get(name, f"{PEOPLE[city]:,}" if has_looked else city)


def _last_text(body: dict[str, Any]) -> str:
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else "\n".join(block.get("text", "") for block in content)
