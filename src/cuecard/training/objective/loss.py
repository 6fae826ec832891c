"""The loss, on targets alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cuecard.errors import ConfigError
from cuecard.lazy import functional, torch
from cuecard.tasks import TaskSpec, collate
from cuecard.tasks.encoding.batching import NO_TARGET, image_batch, inside_of
from cuecard.tasks.encoding.head_inputs import HeadRows, read_for_heads
from cuecard.tasks.encoding.label_words import LabelWords, log_rest
from cuecard.tasks.encoding.pooling import collate_texts, pooled, texts_of
from cuecard.tasks.encoding.word_reads import WordReads, collate_words, layout_for
from cuecard.training.config import LossKind
from cuecard.training.objective.fluency import FluencyTerm, FluentRows, fluency_losses
from cuecard.training.objective.held import HeldTo
from cuecard.training.objective.label_sample import Sample
from cuecard.training.objective.top_tokens import Taught, divergence
from cuecard.types import Backbone, Batch, Encoded, Head, Injection, Reads, Tokenizer

if TYPE_CHECKING:
    from torch import Tensor

Resolved = Literal["labels", "tokens", "head", "pairs", "masks"]
SoftLabels = Mapping[Encoded, Sequence[float]]


def resolve_loss(kind: LossKind, spec: TaskSpec, backbone: Backbone) -> Resolved:
    """ "auto" -> "head" for a task with one, "labels" where every label word is one token, else
    "tokens"; "pairs" for texts, "masks" for images' masks.

    Raises:
        ConfigError: "labels" for a task without label words, a loss of words for a task of vectors
            or masks, or a head's loss without a head, or another one with it.
    """
    mode = spec.mode
    if mode in ("vector", "pixels"):
        if kind != "auto":
            raise ConfigError(
                f"the kind {spec.kind} has a loss of its own",
                where="loss",
                got=kind,
                expected="auto",
            )
        return "pairs" if mode == "vector" else "masks"
    if "head" in (mode, kind):
        if mode != "head" or kind not in ("auto", "head"):
            raise ConfigError(
                "the loss does not fit the task",
                where="loss",
                got=f"{kind} for {spec.kind} {'with' if mode == 'head' else 'without'} a head",
                expected="auto",
            )
        return "head"
    if mode != "labels":
        if kind == "labels":
            raise ConfigError(
                "the loss 'labels' compares a classification's labels",
                where="loss",
                got=f"labels for the kind {spec.kind}",
                expected="the loss 'tokens' or auto",
            )
        return "tokens"
    if kind == "auto":
        return "labels" if spec.label_words(backbone.tokenizer).single else "tokens"
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
class PromptBatch:
    """A batch of one prompt: task, rows, injection, the kind of loss, and what else it learns.

    Attributes:
        soft: label probabilities to learn instead of the rows' own labels.
        temperature: what the scores are divided by where they learn those.
        taught: a teacher's likeliest tokens to learn instead of the rows' targets.
        fluency: hidden words of the rows that it is to say as well; None for none.
        head: what answers instead of the LM head.
        teacher: what the loss also compares with.
        sample: the labels that each row's own is compared with, see `sample_labels`; all if None.
        held: the frozen model that it is held to as well; None for none.
    """

    spec: TaskSpec
    rows: Sequence[Encoded]
    injection: Injection
    loss: Resolved
    soft: SoftLabels | None = None
    head: Head | None = None
    teacher: Teacher | None = None
    sample: Sample | None = None
    held: HeldTo | None = None
    temperature: float = 1.0
    fluency: FluencyTerm | None = None
    taught: Taught | None = None


def count_targets(kind: Resolved, spec: TaskSpec, rows: Sequence[Encoded]) -> int:
    """What a batch's summed loss sums over: tokens and labels' ends, tagged words, or rows."""
    if kind == "tokens":
        return sum(len(row.target) + bool(row.barred) for row in rows)
    return spec.task_kind.count_goals(rows) if kind == "head" else len(rows)


def batch_loss(
    backbone: Backbone,
    spec: TaskSpec,
    rows: Sequence[Encoded],
    injection: Injection,
    kind: Resolved,
    taught: Taught | None = None,
) -> tuple[Tensor, int]:
    """The summed loss of a batch and the number of targets it sums over."""
    part = PromptBatch(spec, rows, injection, kind, taught=taught)
    (loss,) = batch_losses(backbone, [part])
    return loss, count_targets(kind, spec, rows)


def batch_losses(backbone: Backbone, parts: Sequence[PromptBatch]) -> list[Tensor]:
    """The summed loss of each of several prompts' batches, in one forward pass.

    "tokens": sum over target tokens of -log p(token | context, prompt, earlier target tokens), and
    of not going on as another label (`LabelWords`); with a teacher's tokens, of `divergence`
    instead. "labels": sum over rows of -log softmax over
    the labels' scores (of one token: their logits) at the gold label, of a sample of the labels if
    one was drawn; with soft labels q, of T^2 KL(q || softmax at T) instead. "head":
    `TaskKind.head_loss`; prompts with a head make one pass together, those without another; what is
    held to the frozen model costs its distance to it, see `HeldTo`. "pairs":
    `TaskKind.vector_loss`. "masks": `TaskKind.mask_loss`. With teachers, which answer in words, at
    each read also lambda times `_distance`. With a fluency constraint, per target also the weighted
    mean loss of the hidden words, which make a pass of their own, see `fluency_losses`.
    """
    # A process has no row of a batch that is smaller than the processes are many.
    empty = [number for number, part in enumerate(parts) if not part.rows]
    losses: dict[int, Tensor] = {n: torch.zeros((), device=backbone.device) for n in empty}
    asking = [(n, part) for n, part in enumerate(parts) if part.rows]
    plain = [n for n, part in asking if part.head is None and part.teacher is None]
    headed = [number for number, part in asking if part.head is not None]
    taught = [number for number, part in asking if part.teacher is not None]
    losses |= zip(headed, _head_losses(backbone, [parts[number] for number in headed]), strict=True)
    for chosen in (plain, taught):
        if not chosen:
            continue
        some = [parts[number] for number in chosen]
        asked = [_asked(part, backbone) for part in some]
        pairs = [(each.batch, part.injection) for each, part in zip(asked, some, strict=True)]
        found = backbone.read_many(pairs, keep="both" if chosen is taught else "logits")
        for number, part, each, reads in zip(chosen, some, asked, found, strict=True):
            losses[number] = _loss(part, each, reads, backbone.tokenizer)
        if chosen is taught:
            apart = _distances(backbone, some, asked, found)
            losses |= {n: losses[n] + more for n, more in zip(chosen, apart, strict=True)}
    losses |= {n: losses[n] + more for n, more in _fluency(backbone, parts).items()}
    return [losses[number] for number in range(len(parts))]


def _fluency(backbone: Backbone, parts: Sequence[PromptBatch]) -> dict[int, Tensor]:
    """Of the parts with a fluency constraint: what it costs all their targets together."""
    asked = {
        number: FluentRows(part.rows, part.injection, part.fluency)
        for number, part in enumerate(parts)
        if part.fluency is not None
    }
    if not asked:
        return {}
    found = fluency_losses(backbone, [*asked.values()])
    counts = [count_targets(parts[n].loss, parts[n].spec, parts[n].rows) for n in asked]
    return {n: loss * count for n, loss, count in zip(asked, found, counts, strict=True)}


@dataclass(frozen=True, slots=True)
class _Asked:
    """A part's batch, and where the labels' scores are read if they are of several tokens.

    Attributes:
        labels: per row those that are compared.
    """

    batch: Batch
    reads: WordReads | None = None
    labels: Sequence[LabelWords] = ()


def _asked(part: PromptBatch, backbone: Backbone) -> _Asked:
    inside = inside_of(backbone)
    if part.loss == "masks":
        return _Asked(image_batch(part.rows))
    if part.loss == "pairs":
        texts = [texts_of(row) for row in part.rows]
        anchors, positives = [a for a, _ in texts], [p for _, p in texts]
        return _Asked(collate_texts([*anchors, *positives], backbone.tokenizer))
    if part.loss == "tokens":
        # Behind a target that begins other labels' tokens, it is read that none of them follows.
        targets = [(*row.target, NO_TARGET) if row.barred else row.target for row in part.rows]
        return _Asked(collate(list(zip(part.rows, targets, strict=True)), inside=inside))
    words = part.spec.label_words(backbone.tokenizer)
    if words.single:
        rows = [(row, row.target) for row in part.rows]
        return _Asked(collate(rows, read="next", inside=inside))
    each = [words] * len(part.rows)
    if part.sample is not None:
        each = [words.some(labels) for labels in part.sample.labels]
    pairs = [(row, own.asked) for row, own in zip(part.rows, each, strict=True)]
    reads = collate_words(pairs, layout_for(backbone, pairs, part.injection))
    return _Asked(reads.batch, reads, each)


def _head_losses(backbone: Backbone, parts: Sequence[PromptBatch]) -> list[Tensor]:
    if not parts:
        return []
    heads = [part.head for part in parts if part.head is not None]
    read = read_for_heads(
        backbone,
        [HeadRows(p.rows, p.injection, h) for p, h in zip(parts, heads, strict=True)],
    )
    losses = []
    for part, head, states in zip(parts, heads, read, strict=True):
        loss = part.spec.task_kind.head_loss(part.spec, part.rows, head(states).float())
        held = part.held
        losses.append(
            loss if held is None else loss + held.distance(backbone, part.rows, head, states)
        )
    return losses


def _distances(
    backbone: Backbone,
    parts: Sequence[PromptBatch],
    asked: Sequence[_Asked],
    found: Sequence[Reads],
) -> list[Tensor]:
    """Each part's weighted distance to its teacher; the teachers make one pass, no gradients."""
    teachers = [part.teacher for part in parts if part.teacher is not None]
    pairs = [(a.batch, teacher.injection) for a, teacher in zip(asked, teachers, strict=True)]
    with torch.no_grad():
        wanted = backbone.read_many(pairs, keep="both")
    return [
        teacher.weight * _distance(part, each, ours, theirs, backbone.tokenizer)
        for teacher, part, each, ours, theirs in zip(
            teachers, parts, asked, found, wanted, strict=True
        )
    ]


def _distance(
    part: PromptBatch, asked: _Asked, ours: Reads, theirs: Reads, tokenizer: Tokenizer
) -> Tensor:
    """Sum over the reads of KL(teacher || student) and the mean squared difference of the states.

    Wang et al. (2023, arXiv:2303.02861), section 3.2. The KL is over what the loss is over: the
    label words, or the vocabulary. The states are those the LM head takes in at the read.
    """
    apart = (ours.states() - theirs.states()).pow(2).mean(-1).sum()
    if part.loss == "tokens":
        return ours.divergence(theirs).sum() + apart
    student, teacher = (_label_scores(part, asked, reads, tokenizer) for reads in (ours, theirs))
    pair = student.log_softmax(-1), teacher.log_softmax(-1)
    return functional.kl_div(*pair, reduction="sum", log_target=True) + apart


def _loss(part: PromptBatch, asked: _Asked, reads: Reads, tokenizer: Tokenizer) -> Tensor:
    batch = asked.batch
    if part.loss == "masks":
        return part.spec.task_kind.mask_loss(part.spec, part.rows, reads.logits())
    if part.loss == "tokens":
        if part.taught is not None:
            return divergence(part.rows, part.taught, reads).sum()
        return reads.nll(batch.target_ids).sum() - _log_ends(part.rows, batch, reads)
    if part.loss == "pairs":
        anchors, positives = pooled(batch, reads.states()).chunk(2)
        targets = [row.target for row in part.rows]
        return part.spec.task_kind.vector_loss(anchors, positives, targets).sum()
    scores = _label_scores(part, asked, reads, tokenizer)
    if part.soft is not None:
        wanted = torch.tensor([part.soft[row] for row in part.rows], device=scores.device)
        warm = part.temperature
        apart = functional.kl_div((scores / warm).log_softmax(-1), wanted, reduction="sum")
        return apart * warm**2
    if part.sample is not None:
        gold = [0] * len(part.rows)  # a sample begins with the row's own label
    else:
        words = part.spec.label_words(tokenizer).words
        gold = [words.index(row.target) for row in part.rows]
    target = torch.tensor(gold, device=scores.device)
    return functional.cross_entropy(scores, target, reduction="sum")


def _log_ends(rows: Sequence[Encoded], batch: Batch, reads: Reads) -> Tensor | float:
    """The summed log-probability that targets do not go on as other labels."""
    barred = [row.barred for row in rows if row.barred]
    if not barred:
        return 0.0
    ends = (batch.target_ids == NO_TARGET).nonzero().flatten().tolist()
    at = [end for end, tokens in zip(ends, barred, strict=True) for _ in tokens]
    tokens = [token for some in barred for token in some]
    logs = reads.log_probs(torch.tensor(at), torch.tensor(tokens))
    return torch.stack(
        [log_rest(part) for part in torch.split(logs, [len(b) for b in barred])]
    ).sum()


def _label_scores(part: PromptBatch, asked: _Asked, reads: Reads, tokenizer: Tokenizer) -> Tensor:
    """[N, labels] float32 the scores of the labels that are compared, up to a row's constant."""
    words = part.spec.label_words(tokenizer)
    if asked.reads is None:
        logits = reads.logits()
        return logits[:, torch.tensor([ids[0] for ids in words.words], device=logits.device)]
    sums = torch.split(asked.reads.sums(reads), [len(own.asked) for own in asked.labels])
    rows = []
    for own, some in zip(asked.labels, sums, strict=True):
        scores = own.scores(some)
        if part.spec.normalize == "length":
            scores = scores / own.lengths.to(scores.device)
        rows.append(scores)
    found = torch.stack(rows).float()
    if part.sample is not None:
        found = found + part.sample.weights(found)
    return found
