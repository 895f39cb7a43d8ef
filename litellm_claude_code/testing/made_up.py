"""Made-up answers of the form that a program asks for, to try the program without a model: `run --stand-in`.

Known forms are a JSON schema, a tool that must be called, DSPy's fields, and text in a fence. To all else the answer is
a sentence.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from .answers import Answer, answer
from .schema_example import SENTENCE, make_example
from .server import RecordedRequest, answer_json

_PYTHON: Final = {"int": 1, "float": 1.0, "bool": True, "str": SENTENCE}


def respond(request: RecordedRequest) -> Answer:
    """Return an answer of the form that the request asks for."""
    body = request.body
    if (made := answer_json(body)) is not None:
        return made
    asked = _text(body["messages"][-1]["content"])
    if fields := _fields(asked):
        system = _text(body.get("system") or "")
        values = {name: _value(name, hint, system) for name, hint in fields}
        if "JSON object in the following order" in asked:
            return answer(json.dumps(values))
        parts = [f"[[ ## {name} ## ]]\n{_written(value)}" for name, value in values.items()]
        return answer("\n\n".join([*parts, "[[ ## completed ## ]]"]))
    return answer(f"```\n{SENTENCE}\n```" if "```" in asked else SENTENCE)


def _fields(asked: str) -> list[tuple[str, str]]:
    """Return the output fields that DSPy asks for, each with what it says about the field's form."""
    for start, end, name in (
        ("Respond with the corresponding output fields", ", and then ending with", r"`\[\[ ## (\w+) ## \]\]`(.*)"),
        ("JSON object in the following order of fields:", ".", r"`(\w+)`(.*)"),
    ):
        _, is_asked, order = asked.rpartition(start)
        if is_asked:
            parts = order.partition(end)[0].split(", then ")
            return [(found[1], found[2]) for part in parts if (found := re.search(name, part, re.DOTALL))]
    return []


def _value(name: str, hint: str, system: str) -> Any:
    schema = re.search(rf"{{{name}}}\s+# note: [^\n]*must adhere to the JSON schema: (.*)", system)
    if schema is not None:
        return make_example(json.JSONDecoder().raw_decode(schema[1])[0])
    if literals := re.search(r"Literal\[(?:'([^']*)'|([^,\]]+))", hint):
        return literals[1] or literals[2]
    kind = hint.rpartition("Python ")[2].rstrip(")")
    return _PYTHON.get(kind, [] if kind.startswith("list") else {} if kind.startswith("dict") else SENTENCE)


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value) if not isinstance(value, bool) else str(value)


def _text(content: str | list[dict[str, Any]]) -> str:
    return content if isinstance(content, str) else "\n".join(str(block.get("text", "")) for block in content)
