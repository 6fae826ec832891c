from __future__ import annotations

import math

import pytest
import torch

from cuecard.errors import ConfigError
from cuecard.evaluation.ensemble import Member, combine, predict_ensemble
from cuecard.evaluation.predict import predict
from cuecard.tasks import collate
from cuecard.types import Encoded, InputTokens, Prediction
from support.data.reviews import LONG_SPEC, SPEC, TEXT_SPEC, reviews
from support.tiny import tiny_backbone


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


def test_an_ensemble_is_its_members_together() -> None:
    backbone, records = tiny_backbone(), reviews(10)
    generator = torch.Generator().manual_seed(0)
    members = [
        Member(SPEC, InputTokens(torch.randn(3, 32, generator=generator)), slot)
        for slot in ("prefix", "suffix")
    ]
    backbone.forward(collate([(Encoded((5,), (), 0), ())], read="next"), None)  # it tries itself
    backbone.reset_counts()
    found = predict_ensemble(backbone, members, records)
    assert backbone.counts["calls"] == 1 and backbone.counts["logits"] == 2 * len(records)
    each = [predict(backbone, SPEC, records, m.injection, slot=m.slot) for m in members]
    for one, first, second in zip(found, *each, strict=True):
        mean = (first.probabilities["positive"] + second.probabilities["positive"]) / 2
        assert one.probabilities["positive"] == pytest.approx(mean, abs=1e-5)
        assert one.index == first.index


def test_words_of_several_tokens_and_priors() -> None:
    backbone, records = tiny_backbone(), reviews(6)
    injection = InputTokens(torch.randn(3, 32, generator=torch.Generator().manual_seed(1)))
    for spec, prior in ((LONG_SPEC, None), (SPEC, {"negative": -3.0, "positive": -0.1})):
        found = predict_ensemble(backbone, [Member(spec, injection, prior=prior)] * 2, records)
        alone = predict(backbone, spec, records, injection, prior=prior)
        for one, two in zip(found, alone, strict=True):
            assert one.answer == two.answer
            assert one.probabilities == pytest.approx(dict(two.probabilities), abs=1e-5)


def test_refusals() -> None:
    backbone, nothing = tiny_backbone(), InputTokens(torch.zeros(1, 32))
    other = SPEC.model_copy(update={"labels": ("positive", "negative")})
    two = [Member(SPEC, nothing), Member(other, nothing)]
    with pytest.raises(ConfigError, match="different questions"):
        predict_ensemble(backbone, two, reviews(2))
    with pytest.raises(ConfigError, match="only labels"):
        predict_ensemble(backbone, [Member(TEXT_SPEC, nothing)], reviews(2))
    with pytest.raises(ConfigError, match="as many answers"):
        predict_ensemble(backbone, [], reviews(2))
    with pytest.raises(ConfigError, match="as many answers"):
        combine([[said(0.1)], []])
