"""`response_format`: text, any JSON object, or JSON after a schema."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_PARAM = "response_format.json_schema"


class _Format(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TextFormat(_Format):
    """Any text."""

    type: Literal["text"]


class JsonObjectFormat(_Format):
    """Any JSON object."""

    type: Literal["json_object"]


class JsonSchema(_Format):
    """A named schema.

    Attributes:
        name, description: for the reader; the model does not see them.
        schema_: the JSON schema; any object where there is none.
        strict: taken and of no effect: the output always follows the schema.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    description: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class JsonSchemaFormat(_Format):
    """JSON after a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


ResponseFormat = Annotated[
    TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")
]


def schema_of(wanted: ResponseFormat | None) -> dict[str, Any] | None:
    """The JSON schema of a format; None for any text."""
    if isinstance(wanted, JsonSchemaFormat) and wanted.json_schema.schema_ is not None:
        return wanted.json_schema.schema_
    return {"type": "object"} if isinstance(wanted, JsonObjectFormat | JsonSchemaFormat) else None
