"""Texts under a prompt, beside what the transformers model itself gives."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from cuecard.artifacts import Prompt
from cuecard.artifacts.bound_prompt import BoundPrompt
from cuecard.backbones.forward import reads
from cuecard.engine.protocol import Sampling
from cuecard.errors import BackboneError, ConfigError
from cuecard.integrations.lm_eval.text_model import TextModel
from cuecard.integrations.lm_eval.written_texts import TextRequest
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Head
from support.data.reviews import SPEC, TEXT_SPEC, reviews
from support.random_prompts import random_prompt
from support.tiny import shared_backbone, tiny_encoder

PAIRS = [
    ("Review: a warm film\nSentiment:", " positive"),
    ("Review: a warm film\nSentiment:", " negative and long"),
    ("one of the best films of the year , warm and funny ", "and true ."),
    ("", "it is good and not bad"),
]


def bound(slot: Any = "prefix", spec: TaskSpec = SPEC, **more: Any) -> BoundPrompt:
    backbone = shared_backbone("llama")
    return random_prompt(backbone, 1, spec, slot=slot, **more).bind(backbone)


def by_hand(prompt: BoundPrompt | None, context: Any, target: Any, at: int) -> tuple[float, bool]:
    """log p and greedy by the transformers model alone, vectors among its embeddings."""
    backbone = shared_backbone("llama")
    model, ids = backbone.model, torch.tensor([*context, *target[:-1]])
    embeds = model.get_input_embeddings()(ids)
    if prompt is not None:
        embeds = torch.cat([embeds[:at], prompt.prompt.vectors, embeds[at:]])
    with torch.no_grad():
        logits = model(inputs_embeds=embeds[None]).logits[0, -len(target) :]
    wanted = torch.tensor(target)
    logs = logits.log_softmax(-1).gather(1, wanted[:, None]).sum()
    return float(logs), bool((logits.argmax(-1) == wanted).all())


@pytest.mark.parametrize("slot", ["prefix", "suffix", None])
def test_continuations_are_scored_as_by_hand(slot: str | None) -> None:
    prompt = None if slot is None else bound(slot)
    model = TextModel(shared_backbone("llama"), prompt)
    rows = [model.pair(*pair) for pair in PAIRS]
    greedy = model.backbone.generate(
        [rows[0].context], [rows[0].placement], model.injection, 3, ()
    )[0]
    rows.append(model._placed(rows[0].context, tuple(greedy)))
    counted: list[int] = []
    found = model.score(rows, batch_rows=2, on_rows=counted.append)
    assert sum(counted) == len(rows) and len(counted) == 3
    for row, (logprob, likeliest) in zip(rows, found, strict=True):
        at = len(row.context) if slot == "suffix" else 0
        expected, wanted = by_hand(prompt, row.context, row.target, at)
        assert logprob == pytest.approx(expected, abs=2e-4)
        assert likeliest is wanted
    assert [one.greedy for one in found] == [False] * len(PAIRS) + [True]


def test_many_words_are_scored_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    model = TextModel(shared_backbone("llama"), bound())
    rows = [model.pair(*pair) for pair in PAIRS]
    greedy = model.backbone.generate(
        [rows[0].context], [rows[0].placement], model.injection, 9, ()
    )[0]
    rows.append(model._placed(rows[0].context, tuple(greedy)))
    whole = model.score(rows)
    monkeypatch.setattr(reads, "WHOLE_BYTES", 384 * 4)
    monkeypatch.setattr(reads, "PIECE_BYTES", 384 * 4 * 2)
    pieces = model.score(rows)
    assert [one.greedy for one in pieces] == [one.greedy for one in whole]
    assert [one.logprob for one in pieces] == pytest.approx([one.logprob for one in whole])


def test_a_space_between_belongs_to_the_continuation() -> None:
    model = TextModel(shared_backbone("llama"))
    assert model.pair("a warm film ", "is good") == model.pair("a warm film", " is good")
    row = model.pair("a warm", " film")
    assert model.tokenizer.decode([*row.context, *row.target]) == "a warm film"
    empty = model.pair("", "good")
    assert empty.context == (model.tokenizer.bos_token_id,)


def test_a_context_that_is_too_long_loses_its_beginning() -> None:
    model = TextModel(shared_backbone("llama"), bound(), max_length=12)
    row = model.pair("good " * 40 + "and warm", " and funny")
    whole = TextModel(shared_backbone("llama"), bound()).pair(
        "good " * 40 + "and warm", " and funny"
    )
    kept = 12 + 1 - len(row.target)
    assert row.target == whole.target and row.context == whole.context[-kept:]
    with pytest.raises(BackboneError, match="longer than what the model can read"):
        model.pair("good", " bad" * 40)


def test_windows_read_each_token_once_with_as_much_before_as_fits() -> None:
    prompt = bound()
    text = "one of the best films of the year , warm and funny and true . good and not bad"
    whole = TextModel(shared_backbone("llama"), prompt)
    (row,) = whole.windows(text)
    ids = whole.ids(text)
    assert row.target == ids and row.context == (whole.first_token,)
    expected, _ = by_hand(prompt, row.context, ids, 0)
    assert whole.score([row])[0].logprob == pytest.approx(expected, abs=2e-4)
    small = TextModel(shared_backbone("llama"), prompt, max_length=7)
    rows = small.windows(text)
    assert [token for each in rows for token in each.target] == [*ids]
    for each in rows[1:]:  # input and target overlap as in the harness' own windows
        assert len(each.context) + len(each.target) - 1 == 7
    assert rows[-1].context[-1] == ids[len(ids) - len(rows[-1].target) - 1]
    assert small.windows("") == []


def test_texts_are_continued_up_to_a_stop() -> None:
    prompt = bound()
    model = TextModel(shared_backbone("llama"), prompt)
    contexts = ["a warm film is", "it is bad and", "one of the best films"]
    requests = [TextRequest(text, Sampling(12)) for text in contexts]
    rows = [model.ids(text) for text in contexts]
    places = [model._placed(ids, ()).placement for ids in rows]
    backbone = model.backbone
    ends = (int(backbone.tokenizer.eos_token_id),)
    with backbone.lock:
        written = backbone.generate(rows, places, prompt.injection, 12, ends)
    expected = [backbone.tokenizer.decode(ids, skip_special_tokens=True) for ids in written]
    done: list[int] = []
    assert model.generate(requests, done.append) == expected and sum(done) == 3
    stop = expected[0][3:5]
    (cut,) = model.generate([TextRequest(contexts[0], Sampling(12), (stop,))])
    assert cut == expected[0].partition(stop)[0] != expected[0]
    short = TextModel(shared_backbone("llama"), prompt, max_length=16)
    assert short.generate([TextRequest("good " * 20 + contexts[0], Sampling(8))])
    with pytest.raises(ConfigError, match="no context fits"):
        short.generate([TextRequest("good", Sampling(16))])


def test_drawn_texts_are_the_same_by_seed() -> None:
    model = TextModel(shared_backbone("llama"), bound())
    requests = [TextRequest("a warm", Sampling(8, temperature=2.0, seed=seed)) for seed in (3, 4)]
    first, other = model.generate(requests)
    assert model.generate(requests) == [first, other] and first != other


def test_contexts_fill_the_template_where_the_prompt_answers() -> None:
    prompt = bound()
    model = TextModel(shared_backbone("llama"), prompt, template=True)
    texts = [record.text("text") for record in reviews(6)]
    rows = [model.pair(text, f" {label}") for text in texts for label in SPEC.labels]
    found = iter(model.score(rows))
    for text, one in zip(texts, prompt.predict(texts), strict=True):
        scores = {label: next(found).logprob for label in SPEC.labels}
        assert scores == pytest.approx(one.scores, abs=2e-4), text
    titles = bound(spec=TEXT_SPEC)
    filled = TextModel(shared_backbone("llama"), titles, template=True)
    assert [
        text.strip()
        for text in filled.generate(
            [TextRequest(text, Sampling(TEXT_SPEC.max_new_tokens)) for text in texts]
        )
    ] == titles.generate(texts)
    with pytest.raises(ConfigError, match="no place in a template"):
        model.windows("a text")


def test_an_encoder_decoder_reads_both_parts_apart() -> None:
    backbone = shared_backbone("t5-relu")
    model = TextModel(backbone)
    row = model.pair("a warm film", " is good")
    inputs = backbone.tokenizer("a warm film", return_tensors="pt").input_ids
    labels = backbone.tokenizer(" is good", return_tensors="pt", add_special_tokens=False).input_ids
    with torch.no_grad():
        loss = backbone.model(input_ids=inputs, labels=labels).loss * labels.shape[1]
    (found,) = model.score([row])
    assert found.logprob == pytest.approx(-float(loss), abs=2e-4) and math.isfinite(found.logprob)


PAIR_SPEC = TaskSpec(kind="classification", template="{first} {second} Same:", labels=("no", "yes"))
INFIX = SPEC.model_copy(update={"template": "Review: {text}\n{prompt} Sentiment:"})


def test_what_does_not_go_together_is_refused() -> None:
    backbone = shared_backbone("llama")
    with pytest.raises(ConfigError, match="does not continue texts"):
        TextModel(tiny_encoder())
    with pytest.raises(ConfigError, match="nothing to read"):
        TextModel(backbone, max_length=0)
    with pytest.raises(ConfigError, match="no prompt whose template"):
        TextModel(backbone, template=True)
    with pytest.raises(ConfigError, match="in the middle of a template"):
        TextModel(backbone, bound("infix", INFIX))
    TextModel(backbone, bound("infix", INFIX), template=True)
    with pytest.raises(ConfigError, match="several fields: first, second"):
        TextModel(backbone, bound(spec=PAIR_SPEC), template=True)
    headed = replace(bound(), other=(SPEC, Head(torch.zeros(2, 32), torch.zeros(2))))
    with pytest.raises(ConfigError, match="by a trained head"):
        TextModel(backbone, headed)
    words = Prompt.create(
        torch.zeros(0, 32),
        backbone=backbone,
        spec=SPEC,
        method="search",
        method_config={},
        slot="prefix",
    )
    with pytest.raises(ConfigError, match="a prompt of words"):
        TextModel(backbone, words.bind(backbone))
    in_template = TextModel(backbone, words.bind(backbone), template=True)
    (one,) = in_template.score([in_template.pair("a warm film", " good")])
    (expected,) = words.bind(backbone).predict(["a warm film"])
    assert one.logprob == pytest.approx(expected.scores["positive"], abs=2e-4)
