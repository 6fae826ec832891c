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
from cuecard.tasks.embedding import collate_texts, pooled, texts_of
from cuecard.training.config import LossKind
from cuecard.training.contrast import contrastive_loss
from cuecard.types import Backbone, Batch, Encoded, Injection, Reads, Tokenizer

Resolved = Literal["labels", "tokens", "pairs"]
SoftLabels = Mapping[Encoded, Sequence[float]]


def resolve_loss(kind: LossKind, spec: TaskSpec, backbone: Backbone) -> Resolved:
    """ "auto" -> "labels" where every label word is one token, else "tokens"; "pairs" for texts.

    Raises:
        ConfigError: "labels" for a task whose labels cannot be told by one token, or a loss of
            words for an embedding task.
    """
    if spec.kind == "embedding":
        if kind != "auto":
            raise ConfigError(
                "an embedding task has a loss of its own", where="loss", got=kind, expected="auto"
            )
        return "pairs"
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
class Part:
    """A batch of one prompt: its task, rows, injection, the kind of loss, and soft labels."""

    spec: TaskSpec
    rows: Sequence[Encoded]
    injection: Injection
    kind: Resolved
    soft: SoftLabels | None = None


def batch_loss(
    backbone: Backbone,
    spec: TaskSpec,
    rows: Sequence[Encoded],
    injection: Injection,
    kind: Resolved,
) -> tuple[Tensor, int]:
    """The summed loss of a batch and the number of targets it sums over."""
    (loss,) = batch_losses(backbone, [Part(spec, rows, injection, kind)])
    return loss, sum(len(row.target) for row in rows) if kind == "tokens" else len(rows)


def batch_losses(backbone: Backbone, parts: Sequence[Part]) -> list[Tensor]:
    """The summed loss of each of several prompts' batches, in one forward pass.

    "tokens": sum over target tokens of -log p(token | context, prompt, earlier target tokens).
    "labels": sum over rows of -log softmax over the label words' logits at the gold label; with
    soft labels q, of KL(q || softmax) instead.
    "pairs": see `contrastive_loss`.
    """
    batches = [_batch(part, backbone.tokenizer) for part in parts]
    injections = [part.injection for part in parts]
    found = backbone.read_many(list(zip(batches, injections, strict=True)))
    return [
        _loss(part, batch, reads, backbone.tokenizer)
        for part, batch, reads in zip(parts, batches, found, strict=True)
    ]


def _batch(part: Part, tokenizer: Tokenizer) -> Batch:
    if part.kind == "pairs":
        pairs = [texts_of(row) for row in part.rows]
        return collate_texts([*(a for a, _ in pairs), *(p for _, p in pairs)], tokenizer)
    read: Literal["next", "targets"] = "next" if part.kind == "labels" else "targets"
    return collate([(row, row.target) for row in part.rows], read=read)


def _loss(part: Part, batch: Batch, reads: Reads, tokenizer: Tokenizer) -> Tensor:
    if part.kind == "tokens":
        return reads.nll(batch.target_ids).sum()
    if part.kind == "pairs":
        anchors, positives = pooled(batch, reads.states()).chunk(2)
        return contrastive_loss(anchors, positives, [row.target for row in part.rows]).sum()
    logits = reads.logits()
    words = [ids[0] for ids in part.spec.continuations(tokenizer)]
    chosen = logits[:, torch.tensor(words, device=logits.device)]
    if part.soft is not None:
        wanted = torch.tensor([part.soft[row] for row in part.rows], device=logits.device)
        return functional.kl_div(chosen.log_softmax(-1), wanted, reduction="sum")
    gold = [words.index(row.target[0]) for row in part.rows]
    target = torch.tensor(gold, device=logits.device)
    return functional.cross_entropy(chosen, target, reduction="sum")
