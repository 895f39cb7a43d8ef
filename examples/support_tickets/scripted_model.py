"""A little model for the stand-in, which knows only what its prompt tells it and a few commonplaces.

It sorts a text by rules of the form "Tickets about a late parcel go to shipping.": those it finds in its instruction,
and examples it is shown, come before its own `COMMON_SENSE`. Asked for a better instruction, it writes one from the
rules it finds in the feedback. So a program scores higher on it for one reason only: an optimizer found rules that
hold, or examples that show them. `StandIn(respond=respond)` has it answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from litellm_claude_code.testing import RecordedRequest

Json: TypeAlias = dict[str, Any]

COMMON_SENSE: Final = """
Tickets about a charge, a payment, a refund, a price or an invoice go to billing.
Tickets about a parcel, a package, a delivery or a courier go to shipping.
Tickets about an error, a password, an account, the app or the website go to technical.
Tickets about a lawyer, a contract or a subscription go to legal.
"""
_RULE: Final = re.compile(r"(Tickets about ([^.\n]+?) go to (\w+)\.)")
_SMALL_WORDS: Final = frozenset({"about", "from", "have", "that", "this", "what", "when", "with", "your"})
_STEM_CHARACTERS: Final = 5
# What it says of what it knows nothing about: fields of DSPy's own signatures.
_PROSE: Final = {
    "reasoning": "A rule says so.",
    "observations": "Support tickets and the teams that answer them.",
    "summary": "Support tickets and the teams that answer them.",
    "program_description": "The program sorts support tickets.",
    "module_description": "The module sorts one ticket.",
    "discussion": "The rules in the feedback were not followed.",
    "proposed_prefix_for_output_field": "Team:",
}


class Rule(NamedTuple):
    """One sentence of the form that the model understands, and what it means."""

    sentence: str
    stems: frozenset[str]
    label: str


def respond(request: RecordedRequest) -> str:
    """Answer a request of DSPy's, field by field: propose an instruction where one is asked for, else sort the text."""
    system = _text(request.body.get("system", ""))
    *examples, last = request.body["messages"]
    asked = _text(last["content"])
    names = asked_for(asked)
    if not names and "new instruction" in system + asked:
        proposal = propose(asked)
        return json.dumps({"new_instruction": proposal}) if "output_config" in request.body else f"```\n{proposal}\n```"
    if not names:
        return _sorted(asked, system, [], "answer")
    answers = {name: _answer(name, asked, system, examples) for name in names}
    if "output_config" in request.body or "JSON object" in asked:
        return json.dumps(answers)
    fields = [f"[[ ## {name} ## ]]\n{_plain(answer)}" for name, answer in answers.items()]
    return "\n\n".join([*fields, "[[ ## completed ## ]]"])


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
    before = _fields(asked).get("basic_instruction") or _field(asked)
    said = [line for line in before.splitlines() if not _RULE.search(line)]
    return "\n".join([*said, *(f"- {rule.sentence}" for rule in rules_in(asked))])


def _answer(name: str, asked: str, system: str, examples: Sequence[Json]) -> str | dict[str, str]:
    if name in _PROSE:
        return _PROSE[name]
    if "instruction" in name:
        return propose(asked)
    if name == "module_advice":
        advice = "\n".join(rule.sentence for rule in rules_in(asked)) or "Read the ticket to its end."
        return dict.fromkeys(re.findall(r"\w+", _fields(asked).get("module_names", "")), advice)
    return _sorted(asked, system, examples, name)


def _sorted(asked: str, system: str, examples: Sequence[Json], name: str) -> str:
    label = sort(_field(asked), by=[*rules_in(system), *_shown(examples, name), *rules_in(COMMON_SENSE)])
    allowed = re.search(rf"`\[\[ ## {name} ## \]\]` \(must be formatted as a valid Python Literal\[(.*?)\]", asked)
    labels = re.findall(r"'(\w+)'", allowed.group(1)) if allowed else [label]
    return label if label in labels else labels[0]


def _shown(examples: Sequence[Json], name: str) -> list[Rule]:
    """Return what the examples in a prompt show of a field, as rules: a text like this one has that label."""
    turns = [_text(message["content"]) for message in examples]
    answers = [_fields(turn).get(name) for turn in turns[1::2]]
    return [Rule("", _stems(_field(turn)), label) for turn, label in zip(turns[::2], answers, strict=False) if label]


def asked_for(asked: str) -> list[str]:
    """Return the output fields that DSPy asks for in its chat and JSON layouts."""
    _, is_chat, order = asked.rpartition("Respond with the corresponding output fields")
    if is_chat:
        return re.findall(r"\[\[ ## (\w+) ## \]\]", order.partition("ending with")[0])
    _, is_json, order = asked.rpartition("JSON object in the following order of fields:")
    return re.findall(r"`(\w+)`", order) if is_json else []


def _plain(answer: str | dict[str, str]) -> str:
    return answer if isinstance(answer, str) else json.dumps(answer)


def _stems(text: str) -> frozenset[str]:
    words = re.findall(r"[a-z]{4,}", text.lower())
    return frozenset(word[:_STEM_CHARACTERS] for word in words if word not in _SMALL_WORDS)


def _fields(text: str) -> dict[str, str]:
    """Return the fields of a text in DSPy's chat layout, by name."""
    parts = re.split(r"\[\[ ## (\w+) ## \]\]\n", text.split("\n\nRespond with")[0])
    return {name: value.strip() for name, value in zip(parts[1::2], parts[2::2], strict=True)}


def _field(asked: str) -> str:
    """Return the first field of a prompt in DSPy's layout, or its first block within fences."""
    fields = re.split(r"(?:\[\[ ## \w+ ## \]\]|```)\n", asked)
    return (fields[1] if len(fields) > 1 else asked).split("\n\nRespond with")[0].strip()


def _text(content: str | list[Json]) -> str:
    return content if isinstance(content, str) else "\n".join(block.get("text", "") for block in content)
