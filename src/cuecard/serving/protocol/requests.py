"""Request bodies: OpenAI's formats, and `/v1/classify`.

Unsupported parameters are rejected by name; nothing a client asks for is ignored silently. Values
without effect are accepted (`cuecard.serving.protocol.neutral`).
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

from cuecard.serving.protocol.neutral import (
    MESSAGE,
    PARAMETERS,
    PART,
    STREAM_OPTIONS,
    Neutral,
    without_neutral,
)

MAX_STOPS = 4
MAX_MODELS = 32
MAX_CHOICES = 128
MAX_LOGPROBS = 20
CUSTOM_ERRORS = frozenset({"unpaired_surrogate", "token_ids", "no_schema", "not_stored"})
"""Error types with messages of our own."""
_SEED = 1 << 63


def _no_surrogates(text: str) -> str:
    """Reject unpaired surrogates, which JSON can escape but UTF-8 cannot encode."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise PydanticCustomError("unpaired_surrogate", "has an unpaired surrogate") from error
    return text


def _stops(value: Any) -> Any:
    """Drop empty stop texts."""
    if isinstance(value, list):
        return [each for each in value if each != ""]
    return value or None if isinstance(value, str) else value


def _unless_false(value: Any) -> Any:
    """Chat clients send false where completions take a number."""
    return None if value is False else value


Text = Annotated[str, AfterValidator(_no_surrogates)]
Name = Annotated[Text, Field(min_length=1, max_length=200)]
Model = Annotated[
    Name,
    Field(description="the name of a model: name, name@alias, name@3, or the backbone's own name"),
]
Fields = dict[Text, Text]
StopText = Annotated[Text, Field(max_length=200)]


class RequestModel(BaseModel):
    """A request body, or an object in one.

    Each field's description completes the error message "must be ...".

    Attributes:
        neutral: parameters accepted without effect, with the accepted values.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    neutral: ClassVar[Neutral] = {}

    @model_validator(mode="before")
    @classmethod
    def _without_neutral(cls, sent: Any) -> Any:
        if not isinstance(sent, dict):
            return sent
        return without_neutral(sent, cls.model_fields, cls.neutral)


class StreamOptions(RequestModel):
    """Streaming options."""

    neutral = STREAM_OPTIONS

    include_usage: bool = Field(default=False, description="true or false")


class JsonSchema(RequestModel):
    """A JSON schema for the answer.

    Attributes:
        name, description: not shown to the model.
        schema_: the JSON schema.
        strict: without effect: an answer always matches its schema.
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


class ResponseFormat(RequestModel):
    """The format of the answer."""

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
    def output_schema(self) -> dict[str, Any] | None:
        """The JSON schema of the answer, also one given with "json_object"; None for any text."""
        if self.type == "text":
            return None
        given = self.json_schema.schema_ if self.json_schema is not None else None
        return {"type": "object"} if given is None else given


class GenerationRequest(RequestModel):
    """The parameters that completions and chats share.

    Attributes:
        temperature: 0 by default, since prompts are evaluated greedily.
        fields: the values of a template with several fields.
        raw: use the prompt's vectors without its template; the text is the whole context.
        n: the number of choices, sampled independently.
        response_format: also for completions, as in vLLM.
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
        StopText | Annotated[list[StopText], Field(max_length=MAX_STOPS)] | None,
        BeforeValidator(_stops),
    ] = Field(
        default=None,
        description=f"a string or a list of at most {MAX_STOPS} strings, each of at most 200 "
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
        le=MAX_CHOICES,
        description=f"a whole number from 1 to {MAX_CHOICES}",
    )
    response_format: ResponseFormat | None = Field(
        default=None, description="an object with a type"
    )

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop texts."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)


class CompletionRequest(GenerationRequest):
    """`POST /v1/completions`."""

    prompt: Text | Annotated[list[Text], Field(min_length=1)] | None = Field(
        default=None,
        description="a string or a list of strings; token ids are not supported",
    )
    logprobs: Annotated[
        Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None, BeforeValidator(_unless_false)
    ] = Field(default=None, description=f"a whole number from 0 to {MAX_LOGPROBS}")


class TextPart(RequestModel):
    """A part of a message; only text is supported."""

    neutral = PART

    type: Literal["text"] = Field(
        description='"text": images, audio and files are not supported in messages'
    )
    text: Text = Field(description="a string")


def _as_text(part: Any) -> Any:
    """A part of an assistant's message; a refusal counts as text."""
    if isinstance(part, dict) and part.get("type") == "refusal":
        return {"type": "text", "text": part.get("refusal")}
    return part


class Message(RequestModel):
    """One message of a chat, also as this server or another one returned it."""

    neutral = MESSAGE

    role: Literal["system", "developer", "user", "assistant"] = Field(
        description='"system", "developer", "user" or "assistant"; tools are not supported'
    )
    content: Text | list[TextPart] = Field(description="a string or a list of text parts")
    name: Text | None = Field(default=None, description="a string")

    @model_validator(mode="before")
    @classmethod
    def _null_content(cls, sent: Any) -> Any:
        """An assistant's content may be null or missing, and its refusal counts as content."""
        if not isinstance(sent, dict) or sent.get("role") != "assistant":
            return sent
        content, refusal = sent.get("content"), sent.get("refusal")
        if isinstance(content, list):
            content = [_as_text(part) for part in content]
        if isinstance(refusal, str) and not content:
            return {**sent, "content": refusal, "refusal": None}
        return {**sent, "content": "" if content is None else content}

    @property
    def text(self) -> str:
        """Its text."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class ChatRequest(GenerationRequest):
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
        le=MAX_LOGPROBS,
        description=f"a whole number from 0 to {MAX_LOGPROBS}",
    )


Input = Text | Fields


class ClassifyRequest(RequestModel):
    """`POST /v1/classify`: every input under every model."""

    neutral = PARAMETERS

    model: Name | Annotated[list[Name], Field(min_length=1, max_length=MAX_MODELS)] = Field(
        description=f"the name of a model, or a list of 1 to {MAX_MODELS} names"
    )
    input: Input | Annotated[list[Input], Field(min_length=1)] = Field(
        description="a string, an object with the template's fields as strings, or a list of "
        "these; an image is a string too: base64 or a data URL"
    )

    @property
    def models(self) -> tuple[str, ...]:
        """The model names."""
        return (self.model,) if isinstance(self.model, str) else tuple(self.model)

    @property
    def inputs(self) -> tuple[str | dict[str, str], ...]:
        """The inputs."""
        return tuple(self.input) if isinstance(self.input, list) else (self.input,)


class ClassifyForm(RequestModel):
    """`POST /v1/classify` as a form, where a part is repeated for each of several values."""

    neutral = PARAMETERS

    model: Annotated[list[Name], Field(min_length=1, max_length=MAX_MODELS)] = Field(
        description=f"the name of a model, in 1 to {MAX_MODELS} parts"
    )
    input: Annotated[list[Text | bytes], Field(min_length=1)] = Field(
        description="a file or a text, in one part each"
    )

    @property
    def models(self) -> tuple[str, ...]:
        """The model names."""
        return tuple(self.model)

    @property
    def inputs(self) -> tuple[str | bytes, ...]:
        """The inputs."""
        return tuple(self.input)


def _no_ids(value: Any) -> Any:
    """Reject token ids, which OpenAI accepts: they would be another tokenizer's."""
    parts = value if isinstance(value, list) else []
    if any(isinstance(part, int | list) for part in parts):
        raise PydanticCustomError("token_ids", "has token ids, which are not supported: send text")
    return value


class EmbeddingRequest(RequestModel):
    """`POST /v1/embeddings`.

    Attributes:
        input: non-empty texts; no token ids.
        encoding_format: "base64": the numbers as little-endian float32.
        dimensions: only the backbone's own number.
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
