"""The loss, on targets alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from cuecard.errors import ConfigError
from cuecard.tasks import TaskSpec, collate
from cuecard.tasks.batching import inside_of
from cuecard.tasks.embedding import collate_texts, pooled, texts_of
from cuecard.training.config import LossKind
from cuecard.training.contrast import contrastive_loss
from cuecard.training.head import head_loss
from cuecard.types import Backbone, Batch, Encoded, Head, Injection, Reads, Tokenizer

Resolved = Literal["labels", "tokens", "head", "pairs"]
SoftLabels = Mapping[Encoded, Sequence[float]]


def resolve_loss(kind: LossKind, spec: TaskSpec, backbone: Backbone) -> Resolved:
    """ "auto" -> "head" for a task with one, "labels" where every label word is one token, else
    "tokens"; "pairs" for texts.

    Raises:
        ConfigError: "labels" for a task whose labels cannot be told by one token, a loss of words
            for an embedding task, or a head's loss without a head, or another one with it.
    """
    if spec.kind == "embedding":
        if kind != "auto":
            raise ConfigError(
                "an embedding task has a loss of its own", where="loss", got=kind, expected="auto"
            )
        return "pairs"
    if spec.headed or kind == "head":
        if not spec.headed or kind not in ("auto", "head"):
            raise ConfigError(
                "the loss does not fit what answers",
                where="loss",
                got=f"{kind} for a {spec.kind} {'with' if spec.headed else 'without'} a head",
                expected="auto",
            )
        return "head"
    possible = spec.kind == "classification" and all(
        len(ids) == 1 for ids in spec.continuations(backbone.tokenizer)
    )
    if kind == "labels" and not possible:
        raise ConfigError(
            "the loss 'labels' needs a classification whose label words are one token each",
            where="loss",
            got=f"{spec.kind} with words {', '.join(spec.verbalizer.words.values()) or '(none)'}",
            expected="other words, or the loss 'tokens'",
        )
    if kind == "auto":
        return "labels" if possible else "tokens"
    return kind


@dataclass(frozen=True, slots=True)
class Teacher:
    """An injection that another one is to answer like.

    Attributes:
        weight: lambda, of the distance to what the teacher does beside the loss on the targets.
    """

    injection: Injection
    weight: float


@dataclass(frozen=True, slots=True)
class Part:
    """A batch of one prompt: task, rows, injection, the kind of loss, and what else it learns.

    Attributes:
        soft: label probabilities to learn instead of the rows' own labels.
        head: what answers instead of the LM head.
        teacher: what the loss also compares with.
    """

    spec: TaskSpec
    rows: Sequence[Encoded]
    injection: Injection
    kind: Resolved
    soft: SoftLabels | None = None
    head: Head | None = None
    teacher: Teacher | None = None


def count_targets(kind: Resolved, spec: TaskSpec, rows: Sequence[Encoded]) -> int:
    """What a batch's summed loss sums over: tokens, tagged words, or rows."""
    if kind == "tokens":
        return sum(len(row.target) for row in rows)
    return sum(len(row.at) for row in rows) if spec.kind == "tagging" else len(rows)


def batch_loss(
    backbone: Backbone,
    spec: TaskSpec,
    rows: Sequence[Encoded],
    injection: Injection,
    kind: Resolved,
) -> tuple[Tensor, int]:
    """The summed loss of a batch and the number of targets it sums over."""
    (loss,) = batch_losses(backbone, [Part(spec, rows, injection, kind)])
    return loss, count_targets(kind, spec, rows)


def batch_losses(backbone: Backbone, parts: Sequence[Part]) -> list[Tensor]:
    """The summed loss of each of several prompts' batches, in one forward pass.

    "tokens": sum over target tokens of -log p(token | context, prompt, earlier target tokens).
    "labels": sum over rows of -log softmax over the label words' logits at the gold label; with
    soft labels q, of KL(q || softmax) instead. "head": see `head_loss`; prompts with a head make
    one pass together, those without another. "pairs": see `contrastive_loss`.
    With teachers, which answer in words, at each read also lambda times `_distance`.
    """
    losses: dict[int, Tensor] = {}
    plain = [n for n, part in enumerate(parts) if part.head is None and part.teacher is None]
    headed = [number for number, part in enumerate(parts) if part.head is not None]
    taught = [number for number, part in enumerate(parts) if part.teacher is not None]
    for chosen in (plain, headed, taught):
        if not chosen:
            continue
        some = [parts[number] for number in chosen]
        batches = [_batch(part, backbone) for part in some]
        pairs = [(batch, part.injection) for batch, part in zip(batches, some, strict=True)]
        if chosen is headed:
            found = backbone.read_many(pairs, states=True)
        elif chosen is taught:
            found = backbone.read_both(pairs)
        else:
            found = backbone.read_many(pairs)
        for number, part, batch, reads in zip(chosen, some, batches, found, strict=True):
            losses[number] = _loss(part, batch, reads, backbone.tokenizer)
        if chosen is taught:
            apart = _distances(backbone, some, batches, found)
            losses |= {n: losses[n] + more for n, more in zip(chosen, apart, strict=True)}
    return [losses[number] for number in range(len(parts))]


def _batch(part: Part, backbone: Backbone) -> Batch:
    if part.kind == "pairs":
        texts = [texts_of(row) for row in part.rows]
        anchors, positives = [a for a, _ in texts], [p for _, p in texts]
        return collate_texts([*anchors, *positives], backbone.tokenizer)
    read: Mapping[Resolved, Literal["targets", "next", "states"]] = {
        "tokens": "targets",
        "labels": "next",
        "head": "states",
    }
    rows = [(row, row.target) for row in part.rows]
    return collate(rows, read=read[part.kind], inside=inside_of(backbone))


def _distances(
    backbone: Backbone, parts: Sequence[Part], batches: Sequence[Batch], found: Sequence[Reads]
) -> list[Tensor]:
    """Each part's weighted distance to its teacher; the teachers make one pass, no gradients."""
    teachers = [part.teacher for part in parts if part.teacher is not None]
    pairs = [(b, teacher.injection) for b, teacher in zip(batches, teachers, strict=True)]
    with torch.no_grad():
        wanted = backbone.read_both(pairs)
    return [
        teacher.weight * _distance(part, ours, theirs, backbone.tokenizer)
        for teacher, part, ours, theirs in zip(teachers, parts, found, wanted, strict=True)
    ]


def _distance(part: Part, ours: Reads, theirs: Reads, tokenizer: Tokenizer) -> Tensor:
    """Sum over the reads of KL(teacher || student) and the mean squared difference of the states.

    Wang et al. (2023, arXiv:2303.02861), section 3.2. The KL is over what the loss is over: the
    label words, or the vocabulary. The states are those the LM head takes in at the read.
    """
    apart = (ours.states() - theirs.states()).pow(2).mean(-1).sum()
    if part.kind == "tokens":
        return ours.divergence(theirs).sum() + apart
    student, teacher = (_label_logits(part, reads, tokenizer) for reads in (ours, theirs))
    pair = student.log_softmax(-1), teacher.log_softmax(-1)
    return functional.kl_div(*pair, reduction="sum", log_target=True) + apart


def _loss(part: Part, batch: Batch, reads: Reads, tokenizer: Tokenizer) -> Tensor:
    if part.kind == "tokens":
        return reads.nll(batch.target_ids).sum()
    if part.kind == "pairs":
        anchors, positives = pooled(batch, reads.states()).chunk(2)
        return contrastive_loss(anchors, positives, [row.target for row in part.rows]).sum()
    if part.head is not None:
        return head_loss(part.spec, part.rows, part.head(reads.states()))
    chosen = _label_logits(part, reads, tokenizer)
    if part.soft is not None:
        wanted = torch.tensor([part.soft[row] for row in part.rows], device=chosen.device)
        return functional.kl_div(chosen.log_softmax(-1), wanted, reduction="sum")
    words = [ids[0] for ids in part.spec.continuations(tokenizer)]
    gold = [words.index(row.target[0]) for row in part.rows]
    target = torch.tensor(gold, device=chosen.device)
    return functional.cross_entropy(chosen, target, reduction="sum")


def _label_logits(part: Part, reads: Reads, tokenizer: Tokenizer) -> Tensor:
    """[N, labels] the logits of the label words' tokens."""
    logits = reads.logits()
    words = [ids[0] for ids in part.spec.continuations(tokenizer)]
    return logits[:, torch.tensor(words, device=logits.device)]
