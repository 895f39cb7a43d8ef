"""A little model for the stand-in, which knows only what its prompt tells it and a few commonplaces.

It sorts a text by rules of the form "Tickets about a late parcel go to shipping.": those it finds in its instruction
come before its own `COMMON_SENSE`. Asked for a better instruction, it writes one from the rules it finds in the
feedback. So a program scores higher on it for one reason only: an optimizer found an instruction with rules that hold.
`StandIn(respond=respond)` has it answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from .answers import Json
from .server import RecordedRequest

COMMON_SENSE: Final = """
Tickets about a charge, a payment, a refund, a price or an invoice go to billing.
Tickets about a parcel, a package, a delivery or a courier go to shipping.
Tickets about an error, a password, an account, the app or the website go to technical.
Tickets about a lawyer, a contract or a subscription go to legal.
"""
_RULE: Final = re.compile(r"(Tickets about ([^.\n]+?) go to (\w+)\.)")
_SMALL_WORDS: Final = frozenset({"about", "from", "have", "that", "this", "what", "when", "with", "your"})
_STEM_CHARACTERS: Final = 5


class Rule(NamedTuple):
    """One sentence of the form that the model understands, and what it means."""

    sentence: str
    stems: frozenset[str]
    label: str


def respond(request: RecordedRequest) -> str:
    """Answer a request of DSPy's: propose an instruction where one is asked for, else sort the last message's text."""
    system = _text(request.body.get("system", ""))
    asked = _text(request.body["messages"][-1]["content"])
    if "new instruction" in system + asked:
        proposal = propose(asked)
        return json.dumps({"new_instruction": proposal}) if "output_config" in request.body else f"```\n{proposal}\n```"
    label = sort(_field(asked), by=[*rules_in(system), *rules_in(COMMON_SENSE)])
    names = re.findall(r"starting with the field `\[\[ ## (\w+) ## \]\]`", asked) or ["answer"]
    return f"[[ ## {names[0]} ## ]]\n{label}\n\n[[ ## completed ## ]]"


def rules_in(text: str) -> list[Rule]:
    """Return the rules a text holds, each once, in order."""
    found = {sentence: Rule(sentence, _stems(about), label) for sentence, about, label in _RULE.findall(text)}
    return list(found.values())


def sort(text: str, *, by: Sequence[Rule]) -> str:
    """Return the label of the rule that shares most words with the text: the first of several."""
    stems = _stems(text)
    return max(by, key=lambda rule: len(rule.stems & stems)).label


def propose(asked: str) -> str:
    """Return the instruction that did not do, with the rules it has and those in the feedback on it."""
    said = [line for line in _field(asked).splitlines() if not _RULE.search(line)]
    return "\n".join([*said, *(f"- {rule.sentence}" for rule in rules_in(asked))])


def _stems(text: str) -> frozenset[str]:
    words = re.findall(r"[a-z]{4,}", text.lower())
    return frozenset(word[:_STEM_CHARACTERS] for word in words if word not in _SMALL_WORDS)


def _field(asked: str) -> str:
    """Return the first field of a prompt in DSPy's layout, or its first block within fences."""
    fields = re.split(r"(?:\[\[ ## \w+ ## \]\]|```)\n", asked)
    return (fields[1] if len(fields) > 1 else asked).split("\n\nRespond with")[0].strip()


def _text(content: str | list[Json]) -> str:
    return content if isinstance(content, str) else "\n".join(block.get("text", "") for block in content)
