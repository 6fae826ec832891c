"""What clients send: OpenAI's shapes, and `/v1/classify`.

Whatever is not offered is refused by name; nothing that a client asks for is passed over silently.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

MOST_STOPS = 4
MOST_MODELS = 32
_SEED = 1 << 63


def _whole(text: str) -> str:
    """Refuse halves of characters (lone surrogates), which JSON can write and nothing can read."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError("half a character is no text") from error
    return text


Text = Annotated[str, AfterValidator(_whole)]
Model = Annotated[
    Text,
    Field(
        min_length=1,
        max_length=200,
        description="`name`, `name@alias`, `name@3`, or the backbone's own name.",
    ),
]
Fields = Annotated[
    dict[Text, Text], Field(description="The template's fields, by name, instead of one text.")
]
StopText = Annotated[Text, Field(min_length=1, max_length=200)]
Nothing = Annotated[list[Any], Field(max_length=0)]


class _Sent(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class StreamOptions(_Sent):
    """How to stream."""

    include_usage: bool = False


class ResponseFormat(_Sent):
    """Only plain text is offered."""

    type: Literal["text"]


class Generating(_Sent):
    """What completions and chats have in common.

    Attributes:
        temperature: 0 where it is not given, since that is how prompts are measured.
        fields: the template's fields, for a template that has several.
        raw: take the text as the whole context, and the prompt's vectors without its template.
        n and what follows it: only the values that change nothing.
    """

    model: Model
    max_tokens: int | None = Field(default=None, ge=1, le=1 << 20)
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(default=None, gt=0, le=1, allow_inf_nan=False)
    seed: int | None = Field(default=None, ge=-_SEED, lt=_SEED)
    stop: StopText | Annotated[list[StopText], Field(max_length=MOST_STOPS)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    fields: Fields | None = None
    raw: bool = False
    user: Text | None = None
    metadata: dict[Text, Text] | None = None
    n: int | None = Field(default=None, ge=1, le=1)
    presence_penalty: float | None = Field(default=None, ge=0, le=0, allow_inf_nan=False)
    frequency_penalty: float | None = Field(default=None, ge=0, le=0, allow_inf_nan=False)
    logit_bias: Annotated[dict[Text, Any], Field(max_length=0)] | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end an answer."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)


class CompletionRequest(Generating):
    """`POST /v1/completions`."""

    prompt: Text | Annotated[list[Text], Field(min_length=1)] | None = None
    logprobs: int | None = Field(default=None, ge=0, le=0)
    echo: Literal[False] | None = None
    best_of: int | None = Field(default=None, ge=1, le=1)
    suffix: None = None


class TextPart(_Sent):
    """A piece of a message; only text is offered."""

    type: Literal["text"]
    text: Text


class Message(_Sent):
    """One turn of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[TextPart]
    name: Text | None = None

    @property
    def text(self) -> str:
        """What it says."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class ChatRequest(Generating):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=1024)]
    max_completion_tokens: int | None = Field(default=None, ge=1, le=1 << 20)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=0)
    response_format: ResponseFormat | None = None
    tools: Nothing | None = None
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None
    store: Literal[False] | None = None


Input = Text | Fields


class ClassifyRequest(_Sent):
    """`POST /v1/classify`: every input under every model."""

    model: Model | Annotated[list[Model], Field(min_length=1, max_length=MOST_MODELS)]
    input: Input | Annotated[list[Input], Field(min_length=1)]
    user: Text | None = None

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
        raise ValueError("token ids are not taken, as they would be another tokenizer's: send text")
    return value


class EmbeddingRequest(_Sent):
    """`POST /v1/embeddings`.

    Attributes:
        input: texts, none of them empty; no token ids.
        encoding_format: "base64": the vector's numbers as little-endian float32.
        dimensions: only the number that the backbone gives.
    """

    model: Model
    input: Annotated[Text | Annotated[list[Text], Field(min_length=1)], BeforeValidator(_no_ids)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = Field(default=None, ge=1)
    user: Text | None = None

    @property
    def texts(self) -> list[str]:
        """The texts to embed."""
        return [self.input] if isinstance(self.input, str) else self.input
