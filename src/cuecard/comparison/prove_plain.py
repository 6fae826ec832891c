"""Contestants that are no prompts: constants, linear models of the texts, and the untrained start.

They learn from training rows, are chosen on validation rows and see the test rows once.
"""

from __future__ import annotations

import time

from cuecard.comparison.comparison import TOO_DEAR, Comparison, Contestant, test_tokens
from cuecard.evaluation.baselines.image_models import fit_nearest_mean, image_vectors
from cuecard.evaluation.baselines.text_models import (
    Fitted,
    fit_tfidf,
    fit_vectors,
)
from cuecard.evaluation.baselines.text_vectors import has_text_vectors, text_vectors, vector_depth
from cuecard.evaluation.baselines.zero_shot import zero_shot
from cuecard.evaluation.evaluate import evaluate, score_predictions
from cuecard.lazy import torch
from cuecard.tasks import draw_rows
from cuecard.tasks.text_features import text_of
from cuecard.training.trainables.head import head_of
from cuecard.training.trainables.initial_method import new_method
from cuecard.types import Backbone

# Sentence vectors of so many training rows say what more would, to a point or two.
_VECTOR_ROWS = 1_000
# A probe of so many images is as good as one of more.
_IMAGE_ROWS = 2_000
# And of so many, at most and at least, where the backbone itself has to make them.
_OWN_VECTOR_ROWS, _LEAST_VECTOR_ROWS = 400, 40
# Of the tokens that no other contestant needs for its test.
_VECTOR_SHARE = 0.4


def compare_baselines(comparison: Comparison) -> None:
    """Add what the kind of task has to beat: the most common answer, and the like."""
    task = comparison.task
    for each in task.spec.task_kind.baselines(task.spec, task.train, task.test):
        if each.slow:
            comparison.begin(each.name)
        with comparison.optional(each.name):
            found = score_predictions(task.spec, task.test, each.predict())
            comparison.add(Contestant(each.key, each.name, each.against, found))


def compare_no_prompt(comparison: Comparison) -> None:
    """Add the model as it is; one that finds parts, at a row's points or the whole image's box."""
    task, name = comparison.task, "no prompt"
    comparison.begin(name)
    found = evaluate(comparison.backbone, task.spec, task.test)
    comparison.add(Contestant("no_prompt", name, name, found))


def compare_bare(comparison: Comparison) -> None:
    """Add the template without a prompt, which chooses among options too."""
    task, name = comparison.task, "the template without a prompt"
    comparison.begin(name)
    with comparison.optional(name):
        found = evaluate(
            comparison.backbone, task.spec, task.test, on_rows=comparison.test_progress()
        )
        size = len(task.spec.template.encode())
        comparison.add(Contestant("template", name, name, found, size))


def compare_start(comparison: Comparison, reserved: int) -> None:
    """Add the prompt as it was before its first step, calibrated as the trained one is.

    Args:
        reserved: tokens that other contestants need.
    """
    task, run = comparison.task, comparison.run
    name, against = "start, untrained", "the prompt before its first step"
    if run.alongside is not None:
        found = run.alongside.start
        comparison.add(Contestant("start", name, against, found, run.prompt.nbytes))
        return
    if not comparison.affords(name, test_tokens(comparison, task) + reserved):
        return
    _compare_start(comparison, name, against)


def compare_zero_shot(comparison: Comparison, *, started: bool) -> None:
    """Add the labels' names in a template, which cost no pass over images that are known already.

    Args:
        started: whether the prompt is around names, too: then also as it was before its first step.
    """
    task, name = comparison.task, "zero-shot"
    if started:
        _compare_start(comparison, "start, untrained", "the prompt before its first step")
    comparison.begin(name)
    with comparison.optional(name):
        injection, head = zero_shot(comparison.backbone, task.spec)
        found = evaluate(
            comparison.backbone,
            task.spec,
            task.test,
            injection,
            head=head,
            on_rows=comparison.test_progress(),
        )
        comparison.add(Contestant("zero_shot", name, name, found))


def _compare_start(comparison: Comparison, name: str, against: str) -> None:
    task, run = comparison.task, comparison.run
    comparison.begin(name)
    with comparison.optional(name), torch.no_grad():
        seed = run.prompt.manifest.seed or 0
        made = new_method(comparison.backbone, task.spec, run.method, seed, records=task.train)
        found = evaluate(
            comparison.backbone,
            task.spec,
            task.test,
            made.injection(),
            slot=run.method.slot,
            prior=run.start_prior,
            head=head_of(made),
            on_rows=comparison.test_progress(),
        )
        comparison.add(Contestant("start", name, against, found, run.prompt.nbytes))


def compare_image_models(comparison: Comparison) -> None:
    """Add what is learnt from the frozen encoder's states alone: nearest means, a linear probe."""
    task, backbone = comparison.task, comparison.backbone
    what = f"frozen states of {backbone.name}"
    comparison.begin(what)
    with comparison.optional(what):
        started = time.process_time()
        parts = (draw_rows(task.train, _IMAGE_ROWS, "vectors"), task.validation, task.test)
        rows = [(part, image_vectors(backbone, task.spec, part)) for part in parts]
        spent = time.process_time() - started
        features = f"{what}, {len(parts[0]):,} training rows"
        if task.spec.task_kind.single_label:
            fitted = fit_nearest_mean(task.spec, rows[0], rows[2][1], features, spent)
            name = "nearest class mean"
            _add(comparison, "nearest_mean", name, f"the {name}", fitted)
        fitted = fit_vectors(task.spec, rows, features, spent)
        name = "linear probe"
        _add(comparison, "linear_probe", f"{name}, logistic regression", f"a {name}", fitted)


def compare_text_models(comparison: Comparison, encoder: Backbone | None, reserved: float) -> None:
    """Add linear models of the texts' words and of their vectors, where the kind has them.

    Args:
        encoder: what makes the vectors; the backbone itself by default.
        reserved: tokens that other contestants need.
    """
    task = comparison.task
    model = task.spec.task_kind.text_model
    if model is None:
        return
    how = "ridge regression" if model == "number" else "logistic regression"
    name = f"TF-IDF, {how}"
    comparison.begin(name)
    with comparison.optional(name):
        fitted = fit_tfidf(task.spec, task.train, task.validation, task.test)
        _add(comparison, "tfidf", name, f"TF-IDF with {how}", fitted)
    source = comparison.backbone if encoder is None else encoder
    kind = f"sentence vectors of {source.name}"
    if not has_text_vectors(source):
        comparison.leave_out(kind, "an encoder-decoder has no state per token to read")
        return
    rows = _vector_rows(comparison, source, reserved)
    if rows is None:
        comparison.leave_out(kind, TOO_DEAR)
        return
    comparison.begin(f"{kind}, {how}")
    with comparison.optional(kind):
        fitted = _fit_vectors(comparison, source, rows)
        against = f"{kind} with {how}"
        _add(comparison, "sentence_vectors", f"{kind}, {how}", against, fitted)


def _vector_rows(comparison: Comparison, source: Backbone, reserved: float) -> int | None:
    """Of how many training rows a model makes vectors; None where too few would be paid for.

    A small encoder costs next to nothing; the backbone itself gets a share of what is left.
    """
    if source is not comparison.backbone:
        return _VECTOR_ROWS
    task, encode = comparison.task, comparison.backbone.tokenizer.encode
    texts = [text_of(task.spec, record) for record in task.test]
    each = max(1.0, sum(len(encode(text)) for text in texts) / len(texts)) * vector_depth(source)
    paid = (comparison.tokens_left - reserved) * _VECTOR_SHARE
    rows = round(paid / each - len(texts)) * 2 // 3
    return min(rows, _OWN_VECTOR_ROWS) if rows >= _LEAST_VECTOR_ROWS else None


def _fit_vectors(comparison: Comparison, source: Backbone, count: int) -> Fitted:
    task, started = comparison.task, time.process_time()
    parts = (
        draw_rows(task.train, count, "vectors"),
        draw_rows(task.validation, count // 2, "vectors"),
        task.test,
    )
    rows = [
        (part, text_vectors(source, [text_of(task.spec, record) for record in part]))
        for part in parts
    ]
    spent = time.process_time() - started
    features = f"mean states of {source.name}, {len(parts[0]):,} training rows"
    return fit_vectors(task.spec, rows, features, spent)


def _add(comparison: Comparison, key: str, name: str, against: str, fitted: Fitted) -> None:
    task = comparison.task
    found = score_predictions(task.spec, task.test, fitted.predictions)
    facts = {
        "features": fitted.features,
        "strength": fitted.strength,
        "validation_score": fitted.score,
    }
    comparison.add(Contestant(key, name, against, found, fitted.nbytes, fitted.cpu_seconds, facts))
