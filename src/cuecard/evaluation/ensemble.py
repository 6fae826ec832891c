"""An ensemble: several prompts on one backbone, asked as one.

Lester, Al-Rfou, Constant (EMNLP 2021), section 6, "Prompt Ensembling": N prompts on one frozen
model are an ensemble for the price of one model; there the majority of the votes decides.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from cuecard.errors import ConfigError
from cuecard.evaluation.evaluate import Evaluation, prompt_tokens, score_predictions
from cuecard.evaluation.predict import BATCH_ROWS
from cuecard.lazy import inference_mode, np, torch
from cuecard.tasks.encoding.batching import collate, ordered_batches
from cuecard.tasks.encoding.head_inputs import HeadRows, read_for_heads
from cuecard.tasks.encoding.label_words import LabelWords
from cuecard.tasks.predictions import word_predictions
from cuecard.tasks.spec import TaskSpec
from cuecard.types import (
    Backbone,
    Batch,
    Encoded,
    Head,
    Injection,
    Prediction,
    Record,
    Slot,
)

Rule = Literal["mean", "vote"]


class EnsembleMember(Protocol):
    """A prompt on its backbone, as `Prompt.bind` gives it."""

    @property
    def backbone(self) -> Backbone: ...

    @property
    def spec(self) -> TaskSpec: ...

    @property
    def injection(self) -> Injection | None: ...

    @property
    def slot(self) -> Slot: ...

    @property
    def prior(self) -> Mapping[str, float] | None: ...

    @property
    def head(self) -> Head | None: ...

    def predict(self, rows: Sequence[Record], *, batch_rows: int) -> list[Prediction]: ...


@dataclass(frozen=True)
class Ensemble:
    """Several prompts for one task on one backbone, asked as one.

    Attributes:
        members: prompts that `Prompt.bind` put on one backbone. Their templates may differ, their
            labels may not.
        rule: see `combine`.
    """

    members: Sequence[EnsembleMember]
    rule: Rule = "mean"

    def __post_init__(self) -> None:
        """
        Raises:
            ConfigError: no members, members that give neither labels nor texts, on several
                backbones or for different questions, or a rule that the task cannot have.
        """
        if not self.members:
            raise ConfigError(
                "an ensemble needs at least one prompt", got="0 prompts", expected="1 or more"
            )
        for member in self.members:
            kind, mode = member.spec.task_kind, member.spec.mode
            labels = kind.single_label or kind.has_thresholds
            if mode in ("head", "vector", "pixels") and not labels:
                raise ConfigError(
                    "prompts that answer with neither labels nor texts cannot form an ensemble",
                    got=f"the kind {member.spec.kind}",
                    expected="labels, options or texts",
                )
            if member.backbone is not self.backbone:
                raise ConfigError(
                    "the prompts of an ensemble are on different backbones",
                    got=f"{member.backbone.name} and {self.backbone.name}, loaded apart",
                    expected="prompts that are bound to one backbone",
                )
        asked = {(member.spec.kind, member.spec.labels) for member in self.members}
        if len(asked) > 1:
            raise ConfigError(
                "the prompts of an ensemble differ in kind or labels",
                got="; ".join(sorted(f"{kind} {', '.join(labels)}" for kind, labels in asked)),
                expected="one kind of task with one list of labels",
            )
        if self.rule == "mean" and self.spec.mode == "text":
            raise ConfigError(
                "the rule mean needs probabilities, which generated texts do not have",
                where="rule",
                got=f"mean for the kind {self.spec.kind}",
                expected="vote",
            )

    @property
    def backbone(self) -> Backbone:
        """The backbone of all members."""
        return self.members[0].backbone

    @property
    def spec(self) -> TaskSpec:
        """The first member's task."""
        return self.members[0].spec

    def predict(
        self, records: Sequence[Record], *, batch_rows: int = BATCH_ROWS
    ) -> list[Prediction]:
        """One prediction per record, of all prompts together. Targets are not looked at.

        Where labels are one token each, or heads answer, all prompts run in one forward pass per
        batch of rows.

        Args:
            batch_rows: the most rows in a forward pass, every member's counted.

        Raises:
            CuecardError: as `cuecard.evaluation.predict.predict`.
        """
        tokenizer, labelled = self.backbone.tokenizer, self.spec.mode == "labels"
        words = [m.spec.label_words(tokenizer) for m in self.members] if labelled else []
        heads = [m.head for m in self.members if m.head is not None]
        if words and all(own.single for own in words):
            each = _in_one_pass(self.backbone, self.members, records, words, batch_rows)
        elif len(heads) == len(self.members):
            each = _heads_in_one_pass(self.backbone, self.members, records, heads, batch_rows)
        else:
            each = [member.predict(records, batch_rows=batch_rows) for member in self.members]
        return combine(each, self.rule, self.spec)

    def evaluate(
        self, records: Sequence[Record], *, batch_rows: int = BATCH_ROWS, seed: int = 0
    ) -> Evaluation:
        """Answer labelled records and compare the answers with their targets.

        Raises:
            CuecardError: as `cuecard.evaluation.evaluate.evaluate`.
        """
        started = time.perf_counter()
        predictions = self.predict(records, batch_rows=batch_rows)
        tokenizer = self.backbone.tokenizer
        return score_predictions(
            self.spec,
            records,
            predictions,
            seconds=time.perf_counter() - started,
            tokens_per_request=sum(
                prompt_tokens(member.spec, tokenizer, member.injection) for member in self.members
            ),
            seed=seed,
        )


@inference_mode
def _in_one_pass(
    backbone: Backbone,
    members: Sequence[EnsembleMember],
    records: Sequence[Record],
    words: Sequence[LabelWords],
    batch_rows: int,
) -> list[list[Prediction]]:
    """Each member's predictions; all members' rows of a batch run in one forward pass."""
    firsts = [[word[0] for word in own.words] for own in words]
    scores = [torch.zeros(len(records), len(of), dtype=torch.float64) for of in firsts]
    for chosen, rows in _batches(backbone, members, records, batch_rows):
        parts: list[tuple[Batch, Injection | None]] = [
            (collate([(row, ()) for row in own], read="next"), member.injection)
            for own, member in zip(rows, members, strict=True)
        ]
        for score, of, logits in zip(scores, firsts, backbone.forward_many(parts), strict=True):
            logs = logits[:, of] - logits.logsumexp(-1, keepdim=True)
            score[chosen] = logs.double().cpu()
    return [
        word_predictions(own, score, m.spec.labels, normalize=m.spec.normalize, prior=m.prior)
        for own, score, m in zip(words, scores, members, strict=True)
    ]


@inference_mode
def _heads_in_one_pass(
    backbone: Backbone,
    members: Sequence[EnsembleMember],
    records: Sequence[Record],
    heads: Sequence[Head],
    batch_rows: int,
) -> list[list[Prediction]]:
    """The same by the members' heads."""
    outputs = [np.zeros((len(records), len(member.spec.labels))) for member in members]
    for chosen, rows in _batches(backbone, members, records, batch_rows):
        parts = [
            HeadRows(own, member.injection, head)
            for own, member, head in zip(rows, members, heads, strict=True)
        ]
        states = read_for_heads(backbone, parts)
        for output, head, read in zip(outputs, heads, states, strict=True):
            output[chosen] = head(read).double().cpu().numpy()
    return [
        member.spec.task_kind.answers(member.spec, output, member.prior)
        for member, output in zip(members, outputs, strict=True)
    ]


def _batches(
    backbone: Backbone, members: Sequence[EnsembleMember], records: Sequence[Record], most: int
) -> Iterator[tuple[list[int], list[list[Encoded]]]]:
    """The places of some of the records, and each member's rows of these; at most so many rows."""
    bare = [replace(record, target=None) for record in records]
    rows = [
        [member.spec.encode(record, backbone.tokenizer, member.slot) for record in bare]
        for member in members
    ]
    lengths = [max(row.positions for row in same) for same in zip(*rows, strict=True)]
    for chosen in ordered_batches(lengths, max(1, most // len(members))):
        yield chosen, [[own[i] for i in chosen] for own in rows]


def combine(
    answers: Sequence[Sequence[Prediction]], rule: Rule = "mean", spec: TaskSpec | None = None
) -> list[Prediction]:
    """The predictions [prompts][records] of an ensemble as one list.

    "mean" takes the mean of the probabilities; the scores are its logarithms. "vote" takes the
    answer given most often, of equals the one with the larger mean probability, then the one given
    by the earlier prompt; the probabilities are the shares of the votes. Of any number of labels
    those hold whose mean probability, or share of the votes, is above a half.

    Args:
        spec: the task; without it an answer is one label, or a text.

    Raises:
        ConfigError: no predictions, or lists of different lengths.
    """
    if not answers or len({len(one) for one in answers}) != 1:
        raise ConfigError(
            "the prompts gave different numbers of answers",
            got=", ".join(str(len(one)) for one in answers) or "no prompts",
            expected="one or more prompts, each with an answer per record",
        )
    rows = zip(*answers, strict=True)
    if spec is not None and spec.task_kind.has_thresholds:
        return [_each_label(given, rule, spec) for given in rows]
    together = _mean if rule == "mean" else _vote
    return [together(given) for given in rows]


def _each_label(given: Sequence[Prediction], rule: Rule, spec: TaskSpec) -> Prediction:
    kind, shares = spec.task_kind, _means(given)
    if rule == "vote":
        votes = Counter(label for one in given for label in kind.labels_of(spec, one.answer))
        shares = {label: votes[label] / len(given) for label in shares}
    inside = np.clip([shares[label] for label in spec.labels], 1e-12, 1 - 1e-12)
    (found,) = kind.answers(spec, (np.log(inside) - np.log1p(-inside))[None])
    return replace(found, index=given[0].index, probabilities=shares)


def _means(given: Sequence[Prediction]) -> dict[str, float]:
    labels = given[0].probabilities
    return {x: math.fsum(one.probabilities[x] for one in given) / len(given) for x in labels}


def _mean(given: Sequence[Prediction]) -> Prediction:
    means = _means(given)
    scores = {label: math.log(max(mean, 1e-300)) for label, mean in means.items()}
    return Prediction(given[0].index, max(means, key=means.__getitem__), scores, means)


def _vote(given: Sequence[Prediction]) -> Prediction:
    votes, means = Counter(one.answer for one in given), _means(given)
    # A counter keeps the order of first votes, and `max` takes the first of equals.
    answer = max(votes, key=lambda text: (votes[text], means.get(text, 0.0)))
    shares = {label: votes[label] / len(given) for label in means}
    return Prediction(
        given[0].index, answer, {label: float(votes[label]) for label in means}, shares
    )
