"""Several prompts in one pass over the rows: the same answers, for fewer tokens."""

from __future__ import annotations

import pytest
import torch

from cuecard.errors import DataError
from cuecard.evaluation.evaluate import evaluate
from cuecard.evaluation.together import AskedPrompt, evaluate_together
from cuecard.tasks import TaskSpec
from cuecard.types import Backbone, Injection, InputTokens, PrefixKV, Record
from support.data.reviews import LONG_SPEC, SPEC, reviews
from support.tiny import tiny_backbone

FRONT = "Review: good good good good\nSentiment: good\n\nReview: bad bad bad\nSentiment: bad\n\n"
LATE = {"template": FRONT + "Review: {text}{prompt}\nSentiment:"}
RECORDS = reviews(40)


def late_prefix(backbone: Backbone, seed: int) -> PrefixKV:
    generator = torch.Generator().manual_seed(seed)
    shape = backbone.states(torch.zeros(3, backbone.hidden_size)).keys_values
    assert shape is not None
    return PrefixKV(torch.randn(shape.shape, generator=generator), late=True)


def vectors(backbone: Backbone, seed: int) -> InputTokens:
    generator = torch.Generator().manual_seed(seed)
    return InputTokens(torch.randn(3, backbone.hidden_size, generator=generator))


@pytest.mark.parametrize("spec", [SPEC, LONG_SPEC], ids=["one token", "several tokens"])
@pytest.mark.parametrize("make", [late_prefix, vectors])
def test_all_answer_as_they_do_alone_and_the_inputs_run_once(spec: TaskSpec, make: object) -> None:
    assert callable(make)
    backbone = tiny_backbone()
    spec = spec.model_copy(update=LATE)
    first, second = make(backbone, 0), make(backbone, 1)
    asked = [
        AskedPrompt(spec, first, "infix"),
        AskedPrompt(spec, second, "infix", prior={"negative": -0.5, "positive": 0.5}),
        AskedPrompt(spec),
    ]
    alone = [
        evaluate(backbone, one.spec, RECORDS, one.injection, slot=one.slot, prior=one.prior)
        for one in asked
    ]
    backbone.reset_counts()
    told: list[int] = []
    found = evaluate_together(backbone, RECORDS, asked, batch_rows=8, on_rows=told.append)
    assert sum(told) == len(RECORDS) and len(told) == 5
    for ours, plain in zip(found, alone, strict=True):
        assert [p.answer for p in ours.found.predictions] == [p.answer for p in plain.predictions]
        assert [p.index for p in ours.found.predictions] == [*range(len(RECORDS))]
        for one, other in zip(ours.found.predictions, plain.predictions, strict=True):
            assert dict(one.scores) == pytest.approx(dict(other.scores), abs=1e-4)
        assert ours.found.score == plain.score
        assert ours.found.tokens_per_request == plain.tokens_per_request
    rows = asked[0].rows(backbone, RECORDS)
    inputs = {row.context[: row.slot] for row in rows}
    front = len(backbone.tokenizer.encode(FRONT + "Review:", add_special_tokens=False))
    shared = front + sum(len(ids) - front for ids in inputs)
    own = sum(len(row.context) - row.slot for row in rows)
    words = sum(len(word) - 1 for word in spec.continuations(backbone.tokenizer))
    least = own + words * len(RECORDS)
    length = 3 * len(RECORDS) * isinstance(first, InputTokens)
    assert [one.tokens for one in found] == [least + length, least + length, least]
    assert backbone.counts["tokens"] == shared + 3 * least + 2 * length


def test_what_begins_otherwise_is_answered_too() -> None:
    """It runs whole; the answers are its own."""
    backbone = tiny_backbone()
    late = SPEC.model_copy(update=LATE)
    prompt: Injection = late_prefix(backbone, 0)
    found = evaluate_together(
        backbone, RECORDS, [AskedPrompt(late, prompt, "infix"), AskedPrompt(SPEC)]
    )
    plain = evaluate(backbone, SPEC, RECORDS)
    assert [p.answer for p in found[1].found.predictions] == [p.answer for p in plain.predictions]
    contexts = sum(len(row.context) for row in AskedPrompt(SPEC).rows(backbone, RECORDS))
    assert found[1].tokens > 0.8 * contexts


def test_a_row_without_a_target_is_refused_before_anything_runs() -> None:
    backbone = tiny_backbone()
    backbone.reset_counts()
    with pytest.raises(DataError):
        evaluate_together(backbone, [*RECORDS, Record({"text": "good"}, None)], [AskedPrompt(SPEC)])
    assert backbone.counts["tokens"] == 0
