"""What a prompt has to beat: the most common answer, and the best prompt written by hand.

Which hand-written prompt is best, and how its answers are read, is decided on validation rows
alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from cuecard.errors import ConfigError
from cuecard.evaluation.evaluate import Evaluation, prompt_tokens, score_predictions
from cuecard.evaluation.manual import ManualPrompt
from cuecard.evaluation.metrics import text_metrics
from cuecard.evaluation.predict import (
    BATCH_ROWS,
    batch_prior,
    calibrate,
    content_free_prior,
    cut_answer,
    predict,
)
from cuecard.lazy import np
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Backbone, Prediction, Record


@dataclass(frozen=True, slots=True)
class Trial:
    """One hand-written prompt on the validation rows.

    Attributes:
        name: the prompt's name.
        variant: how its answers were read: "plain", "batch-calibrated", "content-free-calibrated";
            for texts "plain", "first line" or "first paragraph".
        demonstrations: how many.
        score: accuracy, or ROUGE-L of texts.
        tokens: prompt tokens per request.
    """

    name: str
    variant: str
    demonstrations: int
    score: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Choice:
    """The best hand-written prompt on the validation rows, ready for `evaluate`.

    Attributes:
        manual: the prompt.
        spec: the task in its words.
        variant: as in `Trial`.
        prior: log-priors to take off, for `predict`; None without calibration.
        stop: the text that ends an answer, for `predict`; None for all of it.
        score: its validation score.
        table: every trial, in the order tried.
        skipped: name -> why a candidate could not be used.
        as_written: the best one without calibration or any other reading; None if it is this one.
    """

    manual: ManualPrompt
    spec: TaskSpec
    variant: str
    prior: Mapping[str, float] | None
    stop: str | None
    score: float
    table: tuple[Trial, ...]
    skipped: Mapping[str, str]
    as_written: Choice | None = None


def select_manual(
    backbone: Backbone,
    spec: TaskSpec,
    validation: Sequence[Record],
    candidates: Sequence[ManualPrompt],
    *,
    batch_rows: int = BATCH_ROWS,
    token_budget: int | None = None,
    on_trial: Callable[[Trial], None] | None = None,
) -> Choice:
    """Try every candidate, with and without calibration, and keep the best on validation.

    Of equals the earlier stays, and the plain one before the calibrated.

    Raises:
        ConfigError: no candidate can be used.
    """
    table: list[Trial] = []
    skipped: dict[str, str] = {}
    best: Choice | None = None
    plain: Choice | None = None
    for manual in candidates:
        try:
            asked = manual.to_spec(spec, backbone.tokenizer, backbone.max_positions)
        except ConfigError as error:
            skipped[manual.name] = error.what
            continue
        raw = predict(backbone, asked, validation, batch_rows=batch_rows, token_budget=token_budget)
        tokens = prompt_tokens(asked, backbone.tokenizer)
        for variant, prior, stop, predictions in _variants(backbone, asked, raw):
            score = _validation_score(spec, validation, predictions)
            trial = Trial(manual.name, variant, len(manual.demonstrations), score, tokens)
            table.append(trial)
            if on_trial is not None:
                on_trial(trial)
            choice = Choice(manual, asked, variant, prior, stop, score, (), {})
            if best is None or score > best.score:
                best = choice
            if variant == "plain" and (plain is None or score > plain.score):
                plain = choice
    if best is None:
        raise ConfigError(
            "no hand-written prompt can be used",
            got="; ".join(f"{name}: {why}" for name, why in skipped.items()) or "no candidates",
            expected="at least one",
        )
    best = replace(best, table=tuple(table), skipped=skipped)
    if plain is None or best.variant == "plain":
        return best
    return replace(best, as_written=replace(plain, table=best.table, skipped=skipped))


def majority(
    spec: TaskSpec, train: Sequence[Record], test: Sequence[Record], *, seed: int = 0
) -> Evaluation:
    """The evaluation of always giving the training records' most common answer.

    Raises:
        ConfigError: no training record has a target.
    """
    counts = Counter(record.target for record in train if record.target is not None)
    if not counts:
        raise ConfigError("there is no most common answer", got="no targets", expected="some")
    answer, most = counts.most_common(1)[0]
    total = counts.total()
    # Of equals the task's first label, whatever the order of the rows.
    answer = next((label for label in spec.labels if counts[label] == most), answer)
    shares = {label: counts[label] / total for label in spec.labels}
    scores = {label: float(np.log(max(share, 1e-12))) for label, share in shares.items()}
    same = [Prediction(i, answer, scores, shares) for i in range(len(test))]
    return score_predictions(spec, test, same, seed=seed)


Variant = tuple[str, Mapping[str, float] | None, str | None, Sequence[Prediction]]


def _variants(backbone: Backbone, spec: TaskSpec, raw: Sequence[Prediction]) -> Iterator[Variant]:
    """The ways to read the same predictions: name, prior, stop, predictions."""
    yield "plain", None, None, raw
    if spec.kind == "text-to-text":
        for name, stop in (("first line", "\n"), ("first paragraph", "\n\n")):
            yield name, None, stop, [replace(p, answer=cut_answer(p.answer, stop)) for p in raw]
        return
    for name, prior in (
        ("batch-calibrated", batch_prior(raw)),
        ("content-free-calibrated", content_free_prior(backbone, spec)),
    ):
        yield name, prior, None, calibrate(raw, prior)


def _validation_score(
    spec: TaskSpec, records: Sequence[Record], predictions: Sequence[Prediction]
) -> float:
    gold = [str(record.target) for record in records]
    answers = [prediction.answer for prediction in predictions]
    if spec.kind == "text-to-text":
        return text_metrics(gold, answers)[0]["rouge_l"]
    return float(np.mean([g == a for g, a in zip(gold, answers, strict=True)]))
