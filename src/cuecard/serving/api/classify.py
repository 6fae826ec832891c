"""`/v1/classify`: labels with probabilities, many inputs under many prompts at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch

from cuecard.engine.protocol import Engine, Scoring
from cuecard.serving.api.contexts import check_size, fields_of, off_the_loop, task_row
from cuecard.serving.http.context import RequestContext
from cuecard.serving.models.catalog import PromptCatalog, ServedPrompt
from cuecard.serving.protocol.answers import Classification, Classified, TextsUsage
from cuecard.serving.protocol.errors import APIError, bad_request, embeddings_only, head_not_served
from cuecard.serving.protocol.requests import ClassifyRequest
from cuecard.serving.settings import Limits
from cuecard.tasks.encoding.label_words import LabelWords
from cuecard.tasks.predictions import word_predictions
from cuecard.types import Encoded, Prediction


@dataclass(frozen=True, slots=True)
class Question:
    """One record for one prompt."""

    served: ServedPrompt
    row: Encoded
    words: LabelWords


def question(served: ServedPrompt, fields: Mapping[str, str], engine: Engine) -> Question:
    """A record in the prompt's template, with its labels' words.

    Raises:
        APIError: it is longer than the backbone's positions.
    """
    words = served.spec.label_words(engine.tokenizer)
    row = task_row(served, fields, engine.tokenizer)
    check_length(engine, served, row, words.longest)
    return Question(served, row, words)


async def ask(engine: Engine, questions: Sequence[Question]) -> list[Prediction]:
    """Each one's labels with scores and probabilities, calibrated by its prompt's saved prior."""
    rows = [Scoring(q.served.held, q.row, q.words.asked) for q in questions]
    scores = await engine.score(rows)
    return [_prediction(q, found) for q, found in zip(questions, scores, strict=True)]


async def classify(
    request: ClassifyRequest,
    engine: Engine,
    catalog: PromptCatalog,
    limits: Limits,
    context: RequestContext,
) -> Classification:
    """Answer every input under every model.

    Raises:
        APIError: a model that is not there or labels nothing, too many or too long inputs.
    """
    models, inputs = request.models, request.inputs
    if len(models) * len(inputs) > limits.max_texts:
        raise APIError(
            413,
            "batch_too_large",
            f"{len(inputs)} inputs under {len(models)} models: at most {limits.max_texts} pairs.",
            param="input",
        )
    texts = [
        text for each in inputs for text in (each.values() if isinstance(each, dict) else [each])
    ]
    characters = check_size(texts, limits.max_characters, "input")
    for model in models:
        context.allow(model, catalog.backbone)
    with ExitStack() as stack:
        prompts = [
            _labelling(model, stack.enter_context(catalog.acquire(model))) for model in models
        ]
        context.served = ", ".join(map(str, prompts))

        def encode() -> list[Question]:
            return [
                question(served, _given(served, each), engine)
                for each in inputs
                for served in prompts
            ]

        questions = await off_the_loop(characters * len(models), encode)
        tokens = sum(len(q.row.context) for q in questions)
        context.reserve(tokens)
        context.prompt_tokens = tokens
        answers = await ask(engine, questions)
    data = [
        Classified(
            object="classification",
            index=place // len(models),
            model=models[place % len(models)],
            version=str(q.served),
            digest=q.served.held.digest,
            label=answer.answer,
            probabilities=dict(answer.probabilities),
            scores=dict(answer.scores),
            cut=q.row.cut,
        )
        for place, (q, answer) in enumerate(zip(questions, answers, strict=True))
    ]
    usage = TextsUsage(prompt_tokens=tokens, total_tokens=tokens)
    return Classification(object="list", data=data, usage=usage)


def check_length(engine: Engine, served: ServedPrompt | None, row: Encoded, more: int) -> None:
    """A row with its prompt and what follows fits the backbone.

    Raises:
        APIError: it does not.
    """
    vectors = 0 if served is None else served.held.injection.length
    whole = len(row.context) + vectors + more
    if whole > engine.max_positions:
        answer = f", the answer up to {more}" if more else ""
        raise bad_request(
            f"The backbone has {engine.max_positions} positions; the input takes "
            f"{len(row.context)}, the prompt's vectors {vectors}{answer}.",
            None,
            "context_length_exceeded",
        )


def _labelling(model: str, served: ServedPrompt | None) -> ServedPrompt:
    if served is not None and served.spec.mode == "head":
        raise head_not_served(model)
    if served is not None and served.spec.mode == "vector":
        raise embeddings_only(model)
    if served is None or served.spec.mode != "labels":
        raise bad_request(f"The model '{model}' has no labels.", "model", "unsupported")
    return served


def _given(served: ServedPrompt, each: str | dict[str, str]) -> dict[str, str]:
    if isinstance(each, dict):
        return fields_of(served, None, each, "input")
    return fields_of(served, each, None, "input")


def _prediction(question: Question, scores: Sequence[float]) -> Prediction:
    spec, prior = question.served.spec, question.served.prompt.manifest.prior
    sums = torch.tensor([scores], dtype=torch.float64)
    return word_predictions(
        question.words, sums, spec.labels, normalize=spec.normalize, prior=prior
    )[0]
