"""What clients send: OpenAI's shapes, and `/v1/classify`.

Whatever is not offered is refused by name; nothing that a client asks for is passed over silently.
Values that ask for nothing are accepted (`cuecard.serving.neutral`).
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic_core import PydanticCustomError

from cuecard.serving.neutral import (
    MESSAGE,
    PARAMETERS,
    PART,
    STREAM_OPTIONS,
    Neutral,
    without_neutral,
)

MOST_STOPS = 4
MOST_MODELS = 32
MOST_CHOICES = 128
MOST_LOGPROBS = 20
OWN_WORDS = frozenset({"unpaired_surrogate", "token_ids", "no_schema", "not_stored"})
"""Types of errors whose messages are ours, and say what a field must not have."""
_SEED = 1 << 63


def _whole(text: str) -> str:
    """Refuse halves of characters (lone surrogates), which JSON can write and nothing can read."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise PydanticCustomError("unpaired_surrogate", "has an unpaired surrogate") from error
    return text


def _stops(value: Any) -> Any:
    """Drop empty texts, which stop nothing."""
    if isinstance(value, list):
        return [each for each in value if each != ""]
    return value or None if isinstance(value, str) else value


def _unless_false(value: Any) -> Any:
    """A number for completions, which chats' clients switch off by false."""
    return None if value is False else value


Text = Annotated[str, AfterValidator(_whole)]
Name = Annotated[Text, Field(min_length=1, max_length=200)]
Model = Annotated[
    Name,
    Field(description="the name of a model: name, name@alias, name@3, or the backbone's own name"),
]
Fields = dict[Text, Text]
StopText = Annotated[Text, Field(max_length=200)]


class Sent(BaseModel):
    """What a client sends.

    Every field's description completes "must be ...": it is what a client is told is allowed.

    Attributes:
        neutral: parameters without effect that are accepted, with their values.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    neutral: ClassVar[Neutral] = {}

    @model_validator(mode="before")
    @classmethod
    def _without_neutral(cls, sent: Any) -> Any:
        if not isinstance(sent, dict):
            return sent
        return without_neutral(sent, cls.model_fields, cls.neutral)


class StreamOptions(Sent):
    """How to stream."""

    neutral = STREAM_OPTIONS

    include_usage: bool = Field(default=False, description="true or false")


class JsonSchema(Sent):
    """A schema for an answer.

    Attributes:
        name, description: for the reader; the model does not see them.
        schema_: the JSON schema.
        strict: without effect: an answer always follows its schema.
    """

    name: str = Field(
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
        description="1 to 64 letters, digits, underscores and hyphens",
    )
    description: Text | None = Field(default=None, description="a string")
    schema_: dict[str, Any] | None = Field(
        default=None, alias="schema", description="a JSON schema, which is an object"
    )
    strict: bool | None = Field(default=None, description="true or false")


class ResponseFormat(Sent):
    """What an answer has to look like."""

    type: Literal["text", "json_object", "json_schema"] = Field(
        description='"text", "json_object" or "json_schema"'
    )
    json_schema: JsonSchema | None = Field(
        default=None, description="an object with a name and a schema"
    )

    @model_validator(mode="after")
    def _has_schema(self) -> Self:
        if self.type == "json_schema" and self.json_schema is None:
            raise PydanticCustomError("no_schema", 'must have json_schema with type "json_schema"')
        if self.type == "text" and self.json_schema is not None:
            raise PydanticCustomError("no_schema", 'must have type "json_schema" with json_schema')
        return self

    @property
    def wanted(self) -> dict[str, Any] | None:
        """The JSON schema of an answer, also one given with "json_object"; None for any text."""
        if self.type == "text":
            return None
        given = self.json_schema.schema_ if self.json_schema is not None else None
        return {"type": "object"} if given is None else given


class Generating(Sent):
    """What completions and chats have in common.

    Attributes:
        temperature: 0 where it is not given, since that is how prompts are measured.
        fields: the template's fields, for a template that has several.
        raw: take the text as the whole context, and the prompt's vectors without its template.
        n: choices, each drawn for itself.
        response_format: also for completions, as vLLM has it.
    """

    neutral = PARAMETERS

    model: Model
    max_tokens: int | None = Field(
        default=None, ge=1, le=1 << 20, description="a positive whole number"
    )
    temperature: float | None = Field(
        default=None, ge=0, le=2, allow_inf_nan=False, description="a number from 0 to 2"
    )
    top_p: float | None = Field(
        default=None,
        gt=0,
        le=1,
        allow_inf_nan=False,
        description="a number above 0 and at most 1",
    )
    seed: int | None = Field(
        default=None, ge=-_SEED, lt=_SEED, description="a whole number of at most 64 bits"
    )
    stop: Annotated[
        StopText | Annotated[list[StopText], Field(max_length=MOST_STOPS)] | None,
        BeforeValidator(_stops),
    ] = Field(
        default=None,
        description=f"a string or a list of at most {MOST_STOPS} strings, each of at most 200 "
        "characters",
    )
    stream: bool | None = Field(default=None, description="true or false")
    stream_options: StreamOptions | None = Field(
        default=None, description="an object with include_usage"
    )
    fields: Fields | None = Field(
        default=None, description="an object of strings: the template's fields by name"
    )
    raw: bool = Field(default=False, description="true or false")
    n: int | None = Field(
        default=None,
        ge=1,
        le=MOST_CHOICES,
        description=f"a whole number from 1 to {MOST_CHOICES}",
    )
    response_format: ResponseFormat | None = Field(
        default=None, description="an object with a type"
    )

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end an answer."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)


class CompletionRequest(Generating):
    """`POST /v1/completions`."""

    prompt: Text | Annotated[list[Text], Field(min_length=1)] | None = Field(
        default=None,
        description="a string or a list of strings; token ids are not supported",
    )
    logprobs: Annotated[
        Annotated[int, Field(ge=0, le=MOST_LOGPROBS)] | None, BeforeValidator(_unless_false)
    ] = Field(default=None, description=f"a whole number from 0 to {MOST_LOGPROBS}")


class TextPart(Sent):
    """A piece of a message; only text is offered."""

    neutral = PART

    type: Literal["text"] = Field(
        description='"text": images, audio and files are not supported in messages'
    )
    text: Text = Field(description="a string")


def _said(part: Any) -> Any:
    """A part of an assistant's message, of which a refusal is text too."""
    if isinstance(part, dict) and part.get("type") == "refusal":
        return {"type": "text", "text": part.get("refusal")}
    return part


class Message(Sent):
    """One turn of a chat, also as this server or another one gave it to the client."""

    neutral = MESSAGE

    role: Literal["system", "developer", "user", "assistant"] = Field(
        description='"system", "developer", "user" or "assistant"; tools are not supported'
    )
    content: Text | list[TextPart] = Field(description="a string or a list of text parts")
    name: Text | None = Field(default=None, description="a string")

    @model_validator(mode="before")
    @classmethod
    def _silent(cls, sent: Any) -> Any:
        """An assistant may have said nothing, or refused: its content is null then, or left out."""
        if not isinstance(sent, dict) or sent.get("role") != "assistant":
            return sent
        said, refusal = sent.get("content"), sent.get("refusal")
        if isinstance(said, list):
            said = [_said(part) for part in said]
        if isinstance(refusal, str) and not said:
            return {**sent, "content": refusal, "refusal": None}
        return {**sent, "content": "" if said is None else said}

    @property
    def text(self) -> str:
        """What it says."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class ChatRequest(Generating):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=1024)] = Field(
        description="a list of 1 to 1024 messages"
    )
    max_completion_tokens: int | None = Field(
        default=None, ge=1, le=1 << 20, description="a positive whole number"
    )
    logprobs: bool | None = Field(default=None, description="true or false")
    top_logprobs: int | None = Field(
        default=None,
        ge=0,
        le=MOST_LOGPROBS,
        description=f"a whole number from 0 to {MOST_LOGPROBS}",
    )


Input = Text | Fields


class ClassifyRequest(Sent):
    """`POST /v1/classify`: every input under every model."""

    neutral = PARAMETERS

    model: Name | Annotated[list[Name], Field(min_length=1, max_length=MOST_MODELS)] = Field(
        description=f"the name of a model, or a list of 1 to {MOST_MODELS} names"
    )
    input: Input | Annotated[list[Input], Field(min_length=1)] = Field(
        description="a string, an object with the template's fields as strings, or a list of these"
    )

    @property
    def models(self) -> tuple[str, ...]:
        """The prompts to ask."""
        return (self.model,) if isinstance(self.model, str) else tuple(self.model)

    @property
    def inputs(self) -> tuple[str | dict[str, str], ...]:
        """The rows to answer."""
        return tuple(self.input) if isinstance(self.input, list) else (self.input,)


def _no_ids(value: Any) -> Any:
    """Refuse token ids, as OpenAI takes them: they would be those of another tokenizer."""
    parts = value if isinstance(value, list) else []
    if any(isinstance(part, int | list) for part in parts):
        raise PydanticCustomError("token_ids", "has token ids, which are not supported: send text")
    return value


class EmbeddingRequest(Sent):
    """`POST /v1/embeddings`.

    Attributes:
        input: texts, none of them empty; no token ids.
        encoding_format: "base64": the vector's numbers as little-endian float32.
        dimensions: only the number that the backbone gives.
    """

    neutral = PARAMETERS

    model: Model
    input: Annotated[
        Text | Annotated[list[Text], Field(min_length=1)], BeforeValidator(_no_ids)
    ] = Field(description="a string or a list of strings, none of them empty")
    encoding_format: Literal["float", "base64"] | None = Field(
        default=None, description='"float" or "base64"'
    )
    dimensions: int | None = Field(default=None, ge=1, description="a positive whole number")

    @property
    def texts(self) -> list[str]:
        """The texts to embed."""
        return [self.input] if isinstance(self.input, str) else self.input
