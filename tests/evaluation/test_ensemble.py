from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest
import torch

from cuecard.errors import ConfigError
from cuecard.evaluation.ensemble import Ensemble, combine
from cuecard.evaluation.evaluate import evaluate
from cuecard.evaluation.predict import predict
from cuecard.tasks import collate
from cuecard.tasks.spec import TaskSpec
from cuecard.types import (
    Backbone,
    Encoded,
    Head,
    Injection,
    InputTokens,
    LayerTokens,
    Prediction,
    Record,
    Slot,
)
from support.data.head_tasks import TAGS
from support.data.reviews import LONG_SPEC, SPEC, TEXT_SPEC, reviews
from support.serving.requests import noise
from support.tiny import tiny_backbone
from support.tiny_sam import SPEC as MASKS
from support.tiny_vision import LAYERS, WIDTH, pictures, several_pictures, tiny_vision
from support.tiny_vision import SEVERAL_SPEC as SEVERAL_IMAGES
from support.tiny_vision import SPEC as IMAGES


def said(a: float, index: int = 0) -> Prediction:
    shares = {"a": a, "b": 1 - a}
    return Prediction(index, max(shares, key=shares.__getitem__), shares, shares)


def test_mean_of_probabilities() -> None:
    (one,) = combine([[said(0.9)], [said(0.45)], [said(0.3)]], "mean")
    assert one.answer == "a"
    assert one.probabilities == pytest.approx({"a": 0.55, "b": 0.45})
    assert one.scores["b"] == pytest.approx(math.log(0.45))


def test_votes_and_ties() -> None:
    (one,) = combine([[said(0.9)], [said(0.45)], [said(0.3)]], "vote")
    assert one.answer == "b" and one.probabilities == pytest.approx({"a": 1 / 3, "b": 2 / 3})
    (tied,) = combine([[said(0.45)], [said(0.9)]], "vote")
    assert tied.answer == "a"


def test_votes_on_texts_take_the_first_of_equals() -> None:
    texts = [[Prediction(0, text, {}, {})] for text in ("x", "y", "y", "x")]
    assert combine(texts, "vote")[0].answer == "x"
    assert combine(texts[1:], "vote")[0].answer == "y"


@dataclass(frozen=True)
class Asked:
    """A prompt on a backbone; saved ones are `BoundPrompt`."""

    backbone: Backbone
    spec: TaskSpec = SPEC
    injection: Injection | None = None
    slot: Slot = "prefix"
    prior: Mapping[str, float] | None = None
    head: Head | None = None

    def predict(self, rows: Sequence[Record], *, batch_rows: int = 32) -> list[Prediction]:
        how = {"slot": self.slot, "prior": self.prior, "head": self.head, "batch_rows": batch_rows}
        return predict(self.backbone, self.spec, rows, self.injection, **how)  # type: ignore[arg-type]


def test_an_ensemble_is_its_members_together() -> None:
    backbone, records = tiny_backbone(), reviews(10)
    generator = torch.Generator().manual_seed(0)
    vectors = [InputTokens(torch.randn(3, 32, generator=generator)) for _ in range(2)]
    slots: tuple[Slot, Slot] = ("prefix", "suffix")
    members = [Asked(backbone, SPEC, own, slot) for own, slot in zip(vectors, slots, strict=True)]
    backbone.forward(collate([(Encoded((5,), ()), ())], read="next"), None)  # it tries itself
    backbone.reset_counts()
    found = Ensemble(members).predict(records)
    assert backbone.counts["calls"] == 1 and backbone.counts["logits"] == 2 * len(records)
    each = [member.predict(records) for member in members]
    for one, first, second in zip(found, *each, strict=True):
        mean = (first.probabilities["positive"] + second.probabilities["positive"]) / 2
        assert one.probabilities["positive"] == pytest.approx(mean, abs=1e-5)
        assert one.index == first.index
    scored = Ensemble(members).evaluate(records)
    assert [one.answer for one in scored.predictions] == [one.answer for one in found]
    alone = [evaluate(backbone, SPEC, records, own, slot="prefix") for own in vectors]
    assert scored.tokens_per_request == sum(one.tokens_per_request for one in alone)


@pytest.mark.parametrize("spec", [IMAGES, SEVERAL_IMAGES], ids=lambda spec: spec.kind)
def test_heads_on_images_answer_together(spec: TaskSpec) -> None:
    backbone, count = tiny_vision(), len(spec.labels)
    records = pictures(9) if spec is IMAGES else several_pictures(9)
    prior = {label: 0.3 * number for number, label in enumerate(spec.labels)}
    members = [
        Asked(
            backbone,
            spec,
            injection,
            prior=prior,
            head=Head(noise(seed, count, WIDTH), noise(9, count)),
        )
        for seed, injection in enumerate(
            (InputTokens(noise(7, 3, WIDTH)), LayerTokens(noise(8, LAYERS, 3, WIDTH)), None)
        )
    ]
    together = Ensemble(members)
    assert backbone.tower.patches == 9  # tried once, and not counted
    backbone.reset_counts()
    found = together.predict(records, batch_rows=30)
    assert backbone.counts["calls"] == len(members) and backbone.counts["remembered"] == 18 * 10
    each = [member.predict(records) for member in members]
    for one, *single in zip(found, *each, strict=True):
        assert one.index == single[0].index
        for label, share in one.probabilities.items():
            mean = sum(other.probabilities[label] for other in single) / len(single)
            assert share == pytest.approx(mean, abs=1e-6)
    voted = Ensemble(members, "vote").predict(records)
    for one, mean, *single in zip(voted, found, *each, strict=True):
        said = [set(spec.task_kind.labels_of(spec, other.answer)) for other in single]
        held = [x for x in spec.labels if sum(x in labels for labels in said) >= 2]
        sure = max(mean.probabilities, key=mean.probabilities.__getitem__)
        above = [label for label, share in mean.probabilities.items() if share > 0.5]
        if spec.task_kind.single_label:
            assert one.answer in held and mean.answer == sure
        else:
            assert one.answer == ",".join(held) and mean.answer == ",".join(above)
    scored = together.evaluate(records)
    assert scored.primary == spec.task_kind.metric
    assert [one.answer for one in scored.predictions] == [one.answer for one in found]


def test_words_of_several_tokens_and_priors() -> None:
    backbone, records = tiny_backbone(), reviews(6)
    injection = InputTokens(torch.randn(3, 32, generator=torch.Generator().manual_seed(1)))
    for spec, prior in ((LONG_SPEC, None), (SPEC, {"negative": -3.0, "positive": -0.1})):
        member = Asked(backbone, spec, injection, prior=prior)
        found = Ensemble([member, member]).predict(records)
        for one, two in zip(found, member.predict(records), strict=True):
            assert one.answer == two.answer
            assert one.probabilities == pytest.approx(dict(two.probabilities), abs=1e-5)


def test_refusals() -> None:
    backbone = tiny_backbone()
    other = SPEC.model_copy(update={"labels": ("positive", "negative")})
    for members, text in (
        ([Asked(backbone), Asked(backbone, other)], "differ in kind"),
        ([Asked(backbone), Asked(tiny_backbone())], "different backbones"),
        ([Asked(backbone, TAGS)], "neither labels nor texts"),
        ([Asked(backbone, MASKS)], "neither labels nor texts"),
        ([Asked(backbone, TEXT_SPEC)], "needs probabilities"),
        ([], "at least one prompt"),
    ):
        with pytest.raises(ConfigError, match=text):
            Ensemble(members)
    with pytest.raises(ConfigError, match="different numbers"):
        combine([[said(0.1)], []])
