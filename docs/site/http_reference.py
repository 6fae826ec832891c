"""The server's routes, from the description that it gives of itself at `/openapi.json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from schema_tables import escaped, summary, table, type_of

from cuecard.serving.api.app import ServerComponents, routes_app


def description() -> Mapping[str, Any]:
    """What a running server answers at `/openapi.json`."""
    nothing: Any = None  # routes look at what they serve when they are asked
    return routes_app(ServerComponents(*[nothing] * 7)).openapi()


def http_page() -> Iterator[str]:
    """A page of Markdown."""
    found = description()
    yield "# HTTP\n\n"
    yield (
        "The routes of `cuecard serve`, as `GET /openapi.json` of a running server describes "
        "them. What they mean: [serving](/serving.md).\n"
    )
    for path, methods in found["paths"].items():
        for method, route in methods.items():
            yield f"\n## `{method.upper()} {path}`\n\n{route.get('description', '')}\n"
            yield from _route(route)
    yield "\n## Objects\n"
    for name, schema in found["components"]["schemas"].items():
        yield f"\n### {name}\n\n{escaped(summary(schema))}\n"
        if "properties" in schema:
            yield from table(schema, _link)


def _route(route: Mapping[str, Any]) -> Iterator[str]:
    for each in route.get("parameters", ()):
        yield f"\n`{each['name']}` ({each['in']}): {type_of(each['schema'], _link)}\n"
    for form, body in route.get("requestBody", {}).get("content", {}).items():
        schema = body["schema"]
        yield f"\nBody, `{form}`"
        if "$ref" in schema:
            yield f": {type_of(schema, _link)}\n"
            continue
        yield ":\n"
        yield from table(schema, _link)
    for status, answer in route["responses"].items():
        shapes = [
            f"{type_of(body['schema'], _link)} (`{form}`)"
            for form, body in answer.get("content", {}).items()
            if body.get("schema")
        ]
        yield f"\n{status}: {' or '.join(shapes) or 'no schema'}\n"


def _link(name: str) -> str:
    return f"[{name}](#{name.lower()})"
