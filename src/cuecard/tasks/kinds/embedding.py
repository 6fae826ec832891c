"""A text becomes a vector, near to that of the text that belongs to it."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING

from cuecard.lazy import functional, torch
from cuecard.metrics.answers import retrieval_metrics
from cuecard.metrics.values import MetricValues
from cuecard.tasks.encoding.bound import BoundTask
from cuecard.tasks.kinds.base import Baseline, Predictions, Records, Targets, TaskKind
from cuecard.tasks.settings import NoSettings, TaskSettings, contradiction
from cuecard.tasks.text_features import fitted_words, text_of
from cuecard.types import Prediction, Record, value_text

if TYPE_CHECKING:
    from torch import Tensor

TEMPERATURE = 0.05

FOUND = 10
"""How many of the nearest texts an answer names."""


class EmbeddingKind(TaskKind[NoSettings]):
    """A text as a vector."""

    name = "embedding"
    about = "a text as a vector, near to that of the text that belongs to it"
    template = "{text}"
    metric = "recall@1"
    second = "recall@10"
    headings = ("recall@1", "recall@10")
    mode = "vector"

    def check(self, spec: TaskSettings) -> None:
        """Both texts of a pair are read in the same template."""
        template = spec.parsed
        if spec.chat or template.has_prompt or len(template.fields) != 1:
            raise contradiction(
                "a template that is not for single texts",
                "template",
                spec.template,
                "one field alone",
            )

    def target_ids(self, spec: TaskSettings, record: Record, bound: BoundTask) -> tuple[int, ...]:
        """The ids of the text that belongs to it, in the template."""
        (field,) = spec.field_names
        return bound.encoder({field: value_text(record.target or "")}).ids

    def score(self, spec: TaskSettings, gold: Targets, predictions: Predictions) -> MetricValues:
        """Whether the right text is the nearest, or among the nearest."""
        return MetricValues(*retrieval_metrics(gold, predictions))

    def baselines(self, spec: TaskSettings, train: Records, test: Records) -> Iterator[Baseline]:
        """The nearest target by TF-IDF."""
        name = "TF-IDF"
        yield Baseline("tfidf", name, name, lambda: match_pairs(spec, train, test), slow=True)

    def vector_loss(
        self, anchors: Tensor, positives: Tensor, targets: Sequence[Hashable]
    ) -> Tensor:
        """See `contrastive_loss`."""
        return contrastive_loss(anchors, positives, targets)

    def instruction(self, spec: TaskSettings) -> str:
        """What is looked for with what."""
        (field,) = (name.replace("_", " ") for name in spec.field_names)
        return f"Represent the {field} to find the {spec.target_field.replace('_', ' ')}.\n\n"


def contrastive_loss(anchors: Tensor, positives: Tensor, texts: Sequence[Hashable]) -> Tensor:
    """[n] -log exp(a_i p_i / t) / sum_j exp(a_i p_j / t).

    InfoNCE (van den Oord et al. 2018, arXiv:1807.03748, section 2.3) with the other pairs of a
    batch as negatives (Henderson et al. 2017, arXiv:1705.00652, section 4.4), on cosines over a
    temperature of 0.05 (Gao et al. 2021, arXiv:2104.08821, section 3).

    Args:
        anchors, positives: [n, H] of unit length.
        texts: what the positives are; an equal one is no negative.
    """
    scores = anchors @ positives.T / TEMPERATURE
    number = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    which = torch.tensor([number[text] for text in texts], device=scores.device)
    own = torch.arange(len(which), device=scores.device)
    equal = (which[:, None] == which) & (own[:, None] != own)
    return functional.cross_entropy(scores.masked_fill(equal, float("-inf")), own, reduction="none")


def distinct_targets(records: Sequence[Record]) -> dict[str, int]:
    """The records' targets, each once -> the first record that has it."""
    first: dict[str, int] = {}
    for place, record in enumerate(records):
        first.setdefault(value_text(record.target or ""), place)
    return first


def ranked(texts: Sequence[str], cosines: Tensor) -> list[Prediction]:
    """The texts with the largest of each row's cosines [n, texts], as predictions."""
    largest, order = cosines.topk(min(FOUND, len(texts)), dim=1)
    found = []
    for index, (values, chosen) in enumerate(zip(largest.tolist(), order.tolist(), strict=True)):
        scores = {texts[at]: value for at, value in zip(chosen, values, strict=True)}
        found.append(Prediction(index, next(iter(scores)), scores, {}))
    return found


def match_pairs(spec: TaskSettings, train: Records, test: Records) -> list[Prediction]:
    """Each text looked up among the test rows' targets by the cosine of TF-IDF.

    Raises:
        ConfigError: training rows without a word.
    """
    known = [text for r in train for text in (text_of(spec, r), value_text(r.target or ""))]
    words = fitted_words(known)
    targets = list(distinct_targets(test))
    texts = words.transform([text_of(spec, record) for record in test])
    cosines = (texts @ words.transform(targets).T).toarray()
    return ranked(targets, torch.from_numpy(cosines))


EMBEDDING = EmbeddingKind()
