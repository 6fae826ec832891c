"""JSON schemas as Markdown tables: a row for each property, with its type, default and meaning."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]
Link = Callable[[str], str]
"""A definition's name -> what stands for it in a table."""

_LIMITS = {
    "exclusiveMinimum": "> {}",
    "minimum": ">= {}",
    "exclusiveMaximum": "< {}",
    "maximum": "<= {}",
}
# Bounds that keep a number within 64 bits, or a request within reason, say nothing to a reader.
_ENORMOUS = 1e6


def table(schema: Schema, link: Link) -> Iterator[str]:
    """The properties of an object."""
    yield "\n| key | type | default | |\n|---|---|---|---|\n"
    for name, found in schema.get("properties", {}).items():
        meant = " ".join(str(found.get("description", "")).split())
        default = _default(name, found, schema)
        yield f"| `{name}` | {type_of(found, link)} | {default} | {escaped(meant)} |\n"


def type_of(schema: Schema, link: Link) -> str:
    """What a value may be, in words."""
    for several in ("anyOf", "oneOf"):
        if several in schema:
            kinds = [each for each in schema[several] if each.get("type") != "null"]
            return " or ".join(dict.fromkeys(type_of(each, link) for each in kinds))
    if "$ref" in schema:
        return link(schema["$ref"].rpartition("/")[2])
    if "const" in schema or "enum" in schema:
        choices = schema.get("enum", [schema.get("const")])
        return ", ".join(f"`{choice}`" for choice in choices)
    if schema.get("type") == "array":
        parts = schema.get("prefixItems")
        of = type_of(schema.get("items", {}), link) if not parts else type_of(parts[0], link)
        return f"list of {len(parts)} ({of})" if parts else f"list of ({of})"
    if schema.get("type") == "object":
        values = schema.get("additionalProperties")
        of = type_of(values, link) if isinstance(values, Mapping) and values else ""
        return f"mapping to ({of})" if of else "mapping"
    limits = [
        text.format(_number(schema[key]))
        for key, text in _LIMITS.items()
        if key in schema and abs(schema[key]) < _ENORMOUS
    ]
    return " ".join([schema.get("type", "any"), *map(escaped, limits)])


def escaped(text: str) -> str:
    """Text in a table's cell; what it has in backticks stays as it is."""
    parts = re.split(r"(`[^`]*`)", text.replace("|", "\\|"))
    return "".join(part if part[:1] == "`" else part.replace("<", "&lt;") for part in parts)


def summary(schema: Schema) -> str:
    """What a schema's class says of itself, up to the first paragraph's end."""
    return " ".join(str(schema.get("description", "")).split("\n\n")[0].split())


def _default(name: str, found: Schema, schema: Schema) -> str:
    if name in schema.get("required", ()):
        return "required"
    default = found.get("default")
    if default in (None, [], {}, "") or "$ref" in found:
        return ""  # a section's own table has its defaults
    return escaped(f"`{json.dumps(default, ensure_ascii=False)}`")


def _number(value: float) -> str:
    return f"{value:g}"
