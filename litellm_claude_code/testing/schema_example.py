"""Make a JSON value that fits a JSON schema: the same one each time, as plain as the schema allows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

import jsonschema

Schema: TypeAlias = Mapping[str, Any] | bool

SENTENCE: Final = "This answer is made up."
_FORMATS: Final[Mapping[str, str]] = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "P1D",
    "email": "someone@example.com",
    "hostname": "example.com",
    "uri": "https://example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
}


class NoExample(ValueError):
    """No value was found that fits the schema."""


def make_example(schema: Mapping[str, Any]) -> Any:
    """Return a value that fits `schema` (draft 2020-12, without remote references).

    Raises NoExample if there is none, or if it takes more than constants, types, bounds and formats to find one, such
    as a `pattern`.
    """
    try:
        value = _example(schema, schema, ())
    except (NoExample, LookupError):
        pass
    else:
        if jsonschema.Draft202012Validator(schema).is_valid(value):
            return value
    raise NoExample("the stand-in finds no JSON that fits the request's schema. Script the answer")


def _example(schema: Schema, root: Schema, within: tuple[str, ...]) -> Any:
    """`within` are the references that led here: one that leads to itself has no example at this place."""
    if not isinstance(schema, Mapping):
        return SENTENCE
    if "$ref" in schema:
        reference = schema["$ref"]
        if reference in within:
            raise NoExample(reference)
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        return _example(_joined(rest, [_resolve(reference, root)]), root, (*within, reference))
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    if "allOf" in schema:
        parts = [_resolve(part["$ref"], root) if "$ref" in part else part for part in schema["allOf"]]
        return _example(_joined({key: schema[key] for key in schema if key != "allOf"}, parts), root, within)
    for several in ("anyOf", "oneOf"):
        if several in schema:
            rest = {key: value for key, value in schema.items() if key != several}
            return _first((_joined(rest, [option]) for option in schema[several]), root, within)
    return _of_type(schema, root, within)


def _first(options: Iterable[Schema], root: Schema, within: tuple[str, ...]) -> Any:
    for option in options:
        if found := _examples(option, root, within):
            return found[0]
    raise NoExample("none of several")


def _examples(schema: Schema, root: Schema, within: tuple[str, ...]) -> list[Any]:
    """Return an example, or nothing if there is none."""
    try:
        return [_example(schema, root, within)]
    except NoExample:
        return []


def _joined(schema: Mapping[str, Any], parts: Iterable[Schema]) -> dict[str, Any]:
    joined = dict(schema)
    for part in parts:
        if isinstance(part, Mapping):
            properties = {**joined.get("properties", {}), **part.get("properties", {})}
            required = [*joined.get("required", ()), *part.get("required", ())]
            joined = {**joined, **part, **({"properties": properties} if properties else {}), "required": required}
    return joined


def _resolve(reference: str, root: Any) -> Any:
    start, *path = reference.split("/")
    if start != "#":
        raise LookupError(reference)
    for part in path:
        root = root[part.replace("~1", "/").replace("~0", "~")]
    return root


def _of_type(schema: Mapping[str, Any], root: Schema, within: tuple[str, ...]) -> Any:
    kind = schema.get("type") or ("object" if "properties" in schema else "array" if "items" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return _object(schema, root, within)
    if kind == "array":
        return _array(schema, root, within)
    if kind == "string":
        return _string(schema)
    return {"boolean": True, "null": None}[kind] if kind in ("boolean", "null") else _number(schema, kind)


def _object(schema: Mapping[str, Any], root: Schema, within: tuple[str, ...]) -> dict[str, Any]:
    properties, required = schema.get("properties", {}), schema.get("required", ())
    value = {}
    for name in dict.fromkeys([*properties, *required]):
        if found := _examples(properties.get(name, True), root, within):
            value[name] = found[0]
        elif name in required:
            raise NoExample(name)
    return value


def _array(schema: Mapping[str, Any], root: Schema, within: tuple[str, ...]) -> list[Any]:
    first = [_example(part, root, within) for part in schema.get("prefixItems", ())]
    least, most = schema.get("minItems", 0), schema.get("maxItems", math.inf)
    one = [] if schema.get("items") is False else _examples(schema.get("items", True), root, within)
    return first + one * int(min(max(least, 1), most) - len(first))


def _string(schema: Mapping[str, Any]) -> str:
    text = _FORMATS.get(schema.get("format", ""), SENTENCE)
    text = text.ljust(schema.get("minLength", 0), "t")
    return text[: schema.get("maxLength")]


def _number(schema: Mapping[str, Any], kind: str) -> float:
    """Return 1 if it is within the bounds, or a number near one of them."""
    step = schema.get("multipleOf", 1)
    low = max(schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf))
    high = min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf))
    candidates = [1, step, 0, math.ceil(low / step) * step if low > -math.inf else 1]
    candidates += [candidates[-1] + step, math.floor(high / step) * step if high < math.inf else 1]
    candidates += [candidates[-1] - step, *([(low + high) / 2] if kind == "number" and high - low < math.inf else [])]
    rules = jsonschema.Draft202012Validator({**schema, "type": kind})
    return next((number for number in candidates if rules.is_valid(number)), 1)
