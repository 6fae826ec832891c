"""What clients send to `/v1/responses`: OpenAI's shapes, for text."""

from __future__ import annotations

from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from cuecard.serving.neutral import PARAMETERS, Neutral
from cuecard.serving.requests import (
    MOST_LOGPROBS,
    ChatRequest,
    Fields,
    JsonSchema,
    Message,
    Model,
    ResponseFormat,
    Sent,
    Text,
)

LOGPROBS = "message.output_text.logprobs"

_PARAMETERS: Neutral = MappingProxyType(
    {
        **PARAMETERS,
        "background": (False,),
        "context_management": ([],),
        "stream_options": (*PARAMETERS["stream_options"], {"include_obfuscation": False}),
        "truncation": ("disabled",),
    }
)
_ITEM: Neutral = MappingProxyType({"id": (str,), "status": (str,), "phase": (str,)})
_PART: Neutral = MappingProxyType(
    {"annotations": (list,), "logprobs": (list,), "parsed": (dict, list, str, int, float)}
)
_REASONING: Neutral = MappingProxyType({"effort": ("none",), "summary": ("auto",)})


def _not_stored(value: Any) -> Any:
    """Refuse what would have to be stored."""
    if value is not None:
        raise PydanticCustomError(
            "not_stored",
            "is not supported: no response is stored, so send the earlier messages in input",
        )
    return value


class ContentPart(Sent):
    """A piece of a message."""

    neutral = _PART

    type: Literal["input_text", "output_text"] = Field(
        description='"input_text" or "output_text": images, audio and files are not supported'
    )
    text: Text = Field(description="a string")

    @model_validator(mode="before")
    @classmethod
    def _refused(cls, sent: Any) -> Any:
        """A refusal is what the assistant said."""
        if isinstance(sent, dict) and sent.get("type") == "refusal":
            return {"type": "output_text", "text": sent.get("refusal")}
        return sent


class InputItem(Sent):
    """A message, also one of an earlier response's output."""

    neutral = _ITEM

    type: Literal["message"] = Field(
        default="message",
        description='"message": tool calls, reasoning and references to items are not supported',
    )
    role: Literal["system", "developer", "user", "assistant"] = Field(
        description='"system", "developer", "user" or "assistant"'
    )
    content: Text | list[ContentPart] = Field(description="a string or a list of text parts")

    @property
    def text(self) -> str:
        """What it says."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class TextFormat(JsonSchema):
    """What the output has to look like; the parts of a schema are beside its type."""

    type: Literal["text", "json_object", "json_schema"] = Field(
        description='"text", "json_object" or "json_schema"'
    )
    name: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9_-]{0,64}$",
        description="1 to 64 letters, digits, underscores and hyphens",
    )

    @model_validator(mode="after")
    def _has_name(self) -> Self:
        if self.type == "json_schema" and not (self.name and self.schema_ is not None):
            raise PydanticCustomError(
                "no_schema", 'must have a name and a schema with type "json_schema"'
            )
        if self.type == "text" and self.schema_ is not None:
            raise PydanticCustomError("no_schema", 'must have type "json_schema" with a schema')
        return self

    @property
    def response_format(self) -> ResponseFormat:
        """As chats have it."""
        if self.schema_ is None:
            return ResponseFormat(type=self.type)
        schema = JsonSchema(name=self.name or "answer", schema=self.schema_)
        return ResponseFormat(type=self.type, json_schema=schema)


class TextConfig(Sent):
    """Settings of the output's text."""

    neutral = MappingProxyType({"verbosity": ("medium",)})

    format: TextFormat | None = Field(default=None, description="an object with a type")


class Reasoning(Sent):
    """Settings of reasoning, which there is none of."""

    neutral = _REASONING


class ResponsesRequest(Sent):
    """`POST /v1/responses`.

    Attributes:
        instructions: put in front of the input as a system message.
        top_logprobs: with `include` of the log-probabilities.
        fields, raw: as for chats.
    """

    neutral = _PARAMETERS

    model: Model
    input: Text | Annotated[list[InputItem], Field(min_length=1, max_length=1024)] = Field(
        description="a string or a list of 1 to 1024 messages"
    )
    instructions: Text | None = Field(default=None, description="a string")
    max_output_tokens: int | None = Field(
        default=None, ge=1, le=1 << 20, description="a positive whole number"
    )
    temperature: float | None = Field(
        default=None, ge=0, le=2, allow_inf_nan=False, description="a number from 0 to 2"
    )
    top_p: float | None = Field(
        default=None, gt=0, le=1, allow_inf_nan=False, description="a number above 0 and at most 1"
    )
    text: TextConfig | None = Field(default=None, description="an object with a format")
    reasoning: Reasoning | None = Field(
        default=None, description="left out: reasoning is not supported"
    )
    include: list[Literal["message.output_text.logprobs"]] | None = Field(
        default=None, description=f'a list with at most "{LOGPROBS}"'
    )
    top_logprobs: int | None = Field(
        default=None,
        ge=0,
        le=MOST_LOGPROBS,
        description=f"a whole number from 0 to {MOST_LOGPROBS}",
    )
    stream: bool | None = Field(default=None, description="true or false")
    fields: Fields | None = Field(
        default=None, description="an object of strings: the template's fields by name"
    )
    raw: bool = Field(default=False, description="true or false")
    previous_response_id: Annotated[None, BeforeValidator(_not_stored)] = Field(
        default=None, description="left out: no response is stored"
    )
    conversation: Annotated[None, BeforeValidator(_not_stored)] = Field(
        default=None, description="left out: no conversation is stored"
    )

    @property
    def chat(self) -> ChatRequest:
        """The same as a chat's request."""
        messages = [Message(role="system", content=self.instructions)] if self.instructions else []
        if isinstance(self.input, str):
            messages.append(Message(role="user", content=self.input))
        else:
            messages += [Message(role=item.role, content=item.text) for item in self.input]
        format_ = None if self.text is None else self.text.format
        return ChatRequest(
            model=self.model,
            messages=messages,
            max_completion_tokens=self.max_output_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            fields=self.fields,
            raw=self.raw,
            logprobs=bool(self.include),
            top_logprobs=self.top_logprobs,
            response_format=None if format_ is None else format_.response_format,
        )
