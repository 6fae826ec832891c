"""What a backbone answers under a prompt: label scores, or generated text.

A label's score is the summed log-probability of its word's tokens after the context, under the
softmax over the whole vocabulary; where its tokens begin another label's, of that and of not going
on as the other one (`LabelWords`); `normalize: length` divides it by the number of tokens. Of a
masked model it is that at the word's masks, one per token, all read at once.
Calibrated scores have a prior taken off: what the labels get on average over unlabelled rows
(batch calibration, Zhou et al. 2023, arXiv:2309.17249) or on inputs without content (Zhao et al.
2021, arXiv:2102.09690).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from cuecard.errors import ConfigError
from cuecard.evaluation.heads import head_outputs
from cuecard.evaluation.likely_words import is_long, score_likely
from cuecard.evaluation.loglikelihood import OnRows, score_next, score_words
from cuecard.lazy import inference_mode, np, torch
from cuecard.tasks.encoding.batching import mask_logits, ordered_batches, row_lengths
from cuecard.tasks.encoding.label_words import LabelWords
from cuecard.tasks.predictions import label_scores, log_softmax, word_predictions
from cuecard.tasks.readers.columns import options_of
from cuecard.tasks.spec import TaskSpec
from cuecard.types import (
    Backbone,
    Encoded,
    Head,
    Injection,
    Prediction,
    Record,
    Slot,
    Tokenizer,
    Tower,
)

BATCH_ROWS = 32

# The share of the probability that labels may have together to be left out where only answers and
# probabilities are looked at.
NEGLIGIBLE = 0.01

# Zhao et al.'s stand-ins for an input that says nothing.
CONTENT_FREE = ("N/A", "", "[MASK]")


# Where models with a tower, or other kinds, are found.
_SUCH_AS: Mapping[Tower, str] = {
    "text": "; for images a kind that begins with image-",
    "vision": ", such as a ViT",
    "mask-decoder": ", such as SAM",
}


def check_task(backbone: Backbone, spec: TaskSpec) -> None:
    """Refuse, before any work, a task that this backbone cannot be asked.

    Raises:
        ConfigError: images for a model that sees none, texts for one that reads none, `{mask}` for
            a model that has none, or no `{mask}` for one that reads there.
    """
    tower = spec.task_kind.tower
    if tower not in backbone.takes:
        raise ConfigError(
            f"this backbone does not {_does(tower, backbone)}",
            where=f"kind {spec.kind}, backbone {backbone.name}",
            got=f"a model with a {' and a '.join(backbone.takes)} tower",
            expected=f"a model with a {tower} tower{_SUCH_AS[tower]}",
        )
    if spec.mode == "head":
        return  # it reads states, which every backbone has
    reason = backbone.unreadable(spec.reads)
    if reason is None:
        return
    raise ConfigError(
        "this backbone cannot be asked in this way",
        where=f"template {spec.template!r}, backbone {backbone.name}",
        got=reason,
        expected="a template with {mask} where the label's word goes, such as "
        "'{text} It was {mask}.'"
        if "masks" in backbone.reads
        else f"a backbone with {spec.reads} to read",
    )


def _does(tower: Tower, backbone: Backbone) -> str:
    """What a model does that has a tower, other than this one."""
    if tower == "vision":
        return "give states of images" if "mask-decoder" in backbone.takes else "see images"
    return "find parts of images" if tower == "mask-decoder" else "read texts"


def predict(
    backbone: Backbone,
    spec: TaskSpec,
    records: Sequence[Record],
    injection: Injection | None = None,
    *,
    slot: Slot = "prefix",
    batch_rows: int = BATCH_ROWS,
    token_budget: int | None = None,
    prior: Mapping[str, float] | None = None,
    stop: str | None = None,
    head: Head | None = None,
    on_rows: OnRows | None = None,
    negligible: float = 0.0,
) -> list[Prediction]:
    """One prediction per record, in the records' order. Targets are not looked at.

    Args:
        injection: the prompt; None for the template alone.
        slot: where the prompt is.
        batch_rows: the most rows in a forward pass.
        token_budget: the most rows times longest row in a forward pass; None for no limit.
        prior: label -> log-prior, taken off the scores (classification), or its threshold as a
            logit (multi-label).
        stop: a text that ends an answer (text-to-text only), by default the task's; the end token
            always does.
        head: what answers a task with a trained head.
        on_rows: called after every pass with the number of records just finished.
        negligible: of a long list of labels of several tokens, those that have together less than
            this share of the probability are not computed to their ends: they get an upper bound
            of it (see `score_likely`). 0 computes all. The answers are the same.

    Raises:
        ConfigError: a prior for a task without labels or not for exactly the task's labels, a head
            that is missing or too much, or a task that the backbone cannot be asked.
        TemplateError: a record without a field of the template.
        BackboneError: a row that does not fit the backbone.
    """
    check_task(backbone, spec)
    if spec.mode == "vector":
        raise ConfigError(
            "an embedding task has vectors, not answers",
            where="kind",
            got=spec.kind,
            expected="classification or text-to-text",
            hint="`embed` gives the vectors, `evaluate` looks texts up",
        )
    check_head(backbone, spec, head, prior)
    if head is not None:
        return _by_head(
            backbone, spec, records, injection, head, slot, batch_rows, token_budget, prior, on_rows
        )
    rows = [spec.encode(replace(r, target=None), backbone.tokenizer, slot) for r in records]
    if spec.mode == "pixels":
        return _find_masks(backbone, spec, rows, injection, batch_rows, token_budget, on_rows)
    if spec.mode == "options":
        return _choose(backbone, spec, records, rows, injection, batch_rows, token_budget, on_rows)
    if spec.mode == "text":
        texts = _generate(backbone, spec, rows, injection, batch_rows, token_budget, on_rows)
        cut = [cut_answer(text, spec.stop if stop is None else stop) for text in texts]
        return [Prediction(i, answer, {}, {}) for i, answer in enumerate(cut)]
    words = spec.label_words(backbone.tokenizer)
    with torch.inference_mode():
        if words.single:
            firsts = [word[0] for word in words.words]
            found = score_next(backbone, rows, firsts, injection, batch_rows, token_budget, on_rows)
        else:
            run = rows, injection, batch_rows, token_budget, on_rows
            sums = _sums(backbone, spec, words, *run, negligible, prior or {})
            found = torch.tensor(sums, dtype=torch.float64).reshape(len(rows), len(words.asked))
        return word_predictions(words, found, spec.labels, normalize=spec.normalize, prior=prior)


def _sums(
    backbone: Backbone,
    spec: TaskSpec,
    words: LabelWords,
    rows: Sequence[Encoded],
    injection: Injection | None,
    batch_rows: int,
    token_budget: int | None,
    on_rows: OnRows | None,
    negligible: float,
    prior: Mapping[str, float],
) -> list[list[float]]:
    """The log-probabilities of the words that the labels' scores are made of, [n][A]."""
    plain = spec.normalize == "none" and not spec.parsed.has_mask
    if negligible and plain and is_long(words.asked):
        offsets = [-prior.get(label, 0.0) for label in spec.labels]
        offsets += [-math.inf] * (len(words.asked) - len(words))  # each is part of a label
        how = (batch_rows, token_budget, on_rows)
        return score_likely(
            backbone, rows, words.asked, injection, *how, share=negligible, offsets=offsets
        )
    each = [words.asked] * len(rows)
    return score_words(backbone, rows, each, injection, batch_rows, token_budget, on_rows)


def batch_prior(predictions: Sequence[Prediction]) -> dict[str, float]:
    """label -> log of its mean probability over predictions that are not calibrated.

    Raises:
        ConfigError: no predictions, or predictions of texts.
    """
    labels, scores = label_scores(predictions)
    logs = log_softmax(scores)
    mean = np.logaddexp.reduce(logs, axis=0) - np.log(len(logs))
    return {label: float(value) for label, value in zip(labels, mean, strict=True)}


def label_prior(
    backbone: Backbone,
    spec: TaskSpec,
    records: Sequence[Record],
    injection: Injection | None = None,
    *,
    slot: Slot = "prefix",
    batch_rows: int = BATCH_ROWS,
    token_budget: int | None = None,
    on_rows: OnRows | None = None,
) -> dict[str, float]:
    """The batch-calibration prior of a prompt over unlabelled records, for `predict`.

    Raises:
        ConfigError: no records, or a text-to-text task.
    """
    predictions = predict(
        backbone,
        spec,
        records,
        injection,
        slot=slot,
        batch_rows=batch_rows,
        token_budget=token_budget,
        on_rows=on_rows,
    )
    return batch_prior(predictions)


def content_free_prior(
    backbone: Backbone,
    spec: TaskSpec,
    injection: Injection | None = None,
    *,
    slot: Slot = "prefix",
) -> dict[str, float]:
    """The prior of a prompt on inputs that say nothing, for `predict`.

    Raises:
        ConfigError: a text-to-text task.
    """
    blanks = content_free_records(spec, backbone.tokenizer)
    return label_prior(backbone, spec, blanks, injection, slot=slot)


def content_free_records(spec: TaskSpec, tokenizer: Tokenizer) -> list[Record]:
    """Inputs that say nothing, as far as they leave a token to read after."""
    blanks = [Record(dict.fromkeys(spec.field_names, text), None) for text in CONTENT_FREE]
    # A template that is its field alone has no token to read after when the field is empty.
    return [record for record in blanks if spec.encode(record, tokenizer).context]


def cut_answer(text: str, stop: str | None) -> str:
    """An answer without surrounding space and without what follows the first `stop`."""
    answer = text.strip()
    return answer if stop is None else answer.split(stop, 1)[0].strip()


@inference_mode
def _choose(
    backbone: Backbone,
    spec: TaskSpec,
    records: Sequence[Record],
    rows: Sequence[Encoded],
    injection: Injection | None,
    batch_rows: int,
    token_budget: int | None,
    on_rows: OnRows | None,
) -> list[Prediction]:
    """The likeliest of each record's own options."""
    words = [spec.option_words(record, backbone.tokenizer) for record in records]
    asked = [own.asked for own in words]
    found = score_words(backbone, rows, asked, injection, batch_rows, token_budget, on_rows)
    predictions = []
    for index, (record, sums, own) in enumerate(zip(records, found, words, strict=True)):
        given = torch.tensor([sums], dtype=torch.float64)
        options = options_of(record)
        (one,) = word_predictions(own, given, options, normalize=spec.normalize)
        predictions.append(replace(one, index=index))
    return predictions


@inference_mode
def _find_masks(
    backbone: Backbone,
    spec: TaskSpec,
    rows: Sequence[Encoded],
    injection: Injection | None,
    batch_rows: int,
    token_budget: int | None,
    on_rows: OnRows | None,
) -> list[Prediction]:
    found: dict[int, Prediction] = {}
    for chosen in ordered_batches(row_lengths(rows), batch_rows, token_budget):
        some = [rows[index] for index in chosen]
        logits = mask_logits(backbone, some, injection)
        for index, one in zip(chosen, spec.task_kind.mask_answers(spec, some, logits), strict=True):
            found[index] = replace(one, index=index)
        if on_rows is not None:
            on_rows(len(chosen))
    return [found[index] for index in range(len(rows))]


def _by_head(
    backbone: Backbone,
    spec: TaskSpec,
    records: Sequence[Record],
    injection: Injection | None,
    head: Head,
    slot: Slot,
    batch_rows: int,
    token_budget: int | None,
    prior: Mapping[str, float] | None,
    on_rows: OnRows | None,
) -> list[Prediction]:
    bare = [replace(record, target=None) for record in records]
    each = [spec.encode_all(record, backbone.tokenizer, slot) for record in bare]
    outputs = head_outputs(
        backbone,
        [row for rows in each for row in rows],
        injection,
        head,
        batch_rows=batch_rows,
        token_budget=token_budget,
        on_rows=on_rows if all(len(rows) == 1 for rows in each) else None,
    )
    if on_rows is not None and any(len(rows) > 1 for rows in each):
        on_rows(len(records))
    return spec.task_kind.head_answers(spec, records, outputs, backbone.tokenizer, prior)


def check_head(
    backbone: Backbone, spec: TaskSpec, head: Head | None, prior: Mapping[str, float] | None = None
) -> None:
    """Refuse a head that is missing, too much, or of other sizes, and a prior for no labels.

    Raises:
        ConfigError: one of these.
    """
    spec.check_head(head, backbone)
    kind = spec.task_kind
    if prior is not None and not (kind.single_label or kind.has_thresholds):
        raise ConfigError("a prior needs labels", where="prior", expected="a classification")
    if prior is not None and kind.has_thresholds and set(prior) != set(spec.labels):
        raise ConfigError(
            "the prior is not for these labels",
            where="prior",
            got=", ".join(sorted(prior)) or "(none)",
            expected=", ".join(sorted(spec.labels)),
        )


def _generate(
    backbone: Backbone,
    spec: TaskSpec,
    rows: Sequence[Encoded],
    injection: Injection | None,
    batch_rows: int,
    token_budget: int | None,
    on_rows: OnRows | None,
) -> list[str]:
    if any(row.images for row in rows):
        raise ConfigError(
            "text is generated from text alone",
            where=f"backbone {backbone.name}",
            got="records with images",
            expected="records of texts",
        )
    texts = [""] * len(rows)
    end = backbone.tokenizer.eos_token_id
    lengths = [len(row.context) + spec.max_new_tokens for row in rows]
    for chosen in ordered_batches(lengths, batch_rows, token_budget):
        answers = backbone.generate(
            [rows[i].context for i in chosen],
            [rows[i].placement for i in chosen],
            injection,
            spec.max_new_tokens,
            () if end is None else (int(end),),
        )
        for i, ids in zip(chosen, answers, strict=True):
            texts[i] = str(backbone.tokenizer.decode(ids, skip_special_tokens=True))
        if on_rows is not None:
            on_rows(len(chosen))
    return texts
