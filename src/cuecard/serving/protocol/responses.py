"""Response bodies: OpenAI's formats, and `/v1/classify`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class Error(BaseModel):
    """The error."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorBody(BaseModel):
    """The body of every error response."""

    error: Error


class Usage(BaseModel):
    """Tokens of texts and templates; a prompt's vectors are not counted."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class TextsUsage(BaseModel):
    """Tokens of the texts, templates included."""

    prompt_tokens: int
    total_tokens: int


Reason = Literal["stop", "length"]


class TextLogprobs(BaseModel):
    """Log-probabilities of a completion's tokens."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]] | None = None
    text_offset: list[int]


class TextChoice(BaseModel):
    """A completion of one prompt."""

    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Reason | None


class Completion(BaseModel):
    """The response of `/v1/completions`.

    Attributes:
        model: the version that answered, such as reviews@3.
        system_fingerprint: its digest; None without a prompt.
    """

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str | None
    choices: list[TextChoice]
    usage: Usage


class TopLogprob(BaseModel):
    """One of the likeliest tokens at a position."""

    token: str
    bytes: list[int]
    logprob: float


class TokenLogprob(TopLogprob):
    """One token of a chat's answer."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(BaseModel):
    """Log-probabilities of a chat's answer."""

    content: list[TokenLogprob]
    refusal: None = None


class ChatMessage(BaseModel):
    """The assistant's message."""

    role: Literal["assistant"]
    content: str
    refusal: None = None


class ChatChoice(BaseModel):
    """A chat's answer."""

    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None
    finish_reason: Reason


class ChatCompletion(BaseModel):
    """The response of `/v1/chat/completions`, like `Completion`."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str | None
    choices: list[ChatChoice]
    usage: Usage


class OutputText(BaseModel):
    """A response's text."""

    type: Literal["output_text"]
    text: str
    annotations: list[str]
    logprobs: list[TokenLogprob]


class OutputMessage(BaseModel):
    """The assistant's message in a response."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    status: Literal["in_progress", "completed", "incomplete"]
    content: list[OutputText]


class IncompleteDetails(BaseModel):
    """Why a response is incomplete."""

    reason: Literal["max_output_tokens"]


class ResponseUsage(BaseModel):
    """Tokens of a response, like `Usage`."""

    input_tokens: int
    input_tokens_details: dict[str, int]
    output_tokens: int
    output_tokens_details: dict[str, int]
    total_tokens: int


class ResponseBody(BaseModel):
    """The response of `/v1/responses`, with its settings.

    Attributes:
        model: the version that answered, such as reviews@3.
        system_fingerprint: its digest; None without a prompt.
    """

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["completed", "incomplete"]
    incomplete_details: IncompleteDetails | None
    instructions: str | None
    max_output_tokens: int | None
    model: str
    output: list[OutputMessage]
    store: Literal[False]
    system_fingerprint: str | None
    temperature: float
    top_p: float
    usage: ResponseUsage


class Classified(BaseModel):
    """One input under one model.

    Attributes:
        index: the input's index in the request.
        model: the model name in the request.
        version: the version that answered.
        digest: of that version's prompt.
        label: the most probable label; of a multi-label prompt all that hold, with its separator.
        labels: the same as a list: one, or those that hold.
        probabilities: label -> probability, calibrated by the prompt's saved prior.
        scores: label -> log-probability, or a multi-label head's logit, calibrated likewise.
        cut: tokens of the input that were truncated.
    """

    object: Literal["classification"]
    index: int
    model: str
    version: str
    digest: str
    label: str
    labels: list[str]
    probabilities: dict[str, float]
    scores: dict[str, float]
    cut: int


class Classification(BaseModel):
    """The response of `/v1/classify`: a row per input and model, the inputs in order."""

    object: Literal["list"]
    data: list[Classified]
    usage: TextsUsage


class Segmented(BaseModel):
    """The part of an image that a model found.

    Attributes:
        index: the input's index in the request.
        model: the model name in the request.
        version: the version that answered.
        digest: of that version's prompt.
        mask: a PNG of the image's size in base64, one bit a pixel, white for the part.
        area: the part's pixels.
        box: left, top, right and bottom of the box around it, the last two beside it; null for an
            empty part.
    """

    object: Literal["segmentation"]
    index: int
    model: str
    version: str
    digest: str
    mask: str
    area: int
    box: tuple[int, int, int, int] | None


class Segmentation(BaseModel):
    """The response of `/v1/segment`: a row per input and model, the inputs in order."""

    object: Literal["list"]
    data: list[Segmented]
    usage: TextsUsage


class TextVector(BaseModel):
    """One text's embedding, of unit length.

    Attributes:
        index: the text's index in the request.
        embedding: its numbers; for `encoding_format` "base64" their bytes, little-endian float32.
        cut: tokens of the text that were truncated to the task's maximum length.
    """

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str
    cut: int


class TextVectors(BaseModel):
    """The response of `/v1/embeddings`.

    Attributes:
        model: the version that answered, such as faq@3.
        system_fingerprint: its digest; None without a prompt.
    """

    object: Literal["list"]
    data: list[TextVector]
    model: str
    system_fingerprint: str | None
    usage: TextsUsage


class ModelCard(BaseModel):
    """A model that can be requested.

    Attributes:
        root: the version the name resolves to; for the backbone its name.
        digest: of that version's prompt.
        parent: the backbone.
        kind, labels, fields: of the task.
    """

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str
    parent: str | None
    digest: str | None = None
    kind: str | None = None
    labels: list[str] = []
    fields: list[str] = []


class ModelList(BaseModel):
    """The response of `/v1/models`."""

    object: Literal["list"]
    data: list[ModelCard]
