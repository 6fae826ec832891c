"""A text made shorter in words: by its model's summary, and without what it expects anyway."""

from __future__ import annotations

import pytest
import torch

from cuecard.tasks import TaskSpec, collate
from cuecard.training.compiling.full_text import FullText
from cuecard.training.compiling.shorter import informative_ids, made_shorter, summary_ids
from cuecard.types import Encoded
from support.tiny import shared_backbone

TEXT = "it is good and not bad : good for one , bad for none . the lazy dog jumps over it ."
SPECS = {
    "plain": TaskSpec(kind="text-to-text", template="{prompt}\n\n{text}\nAnswer:"),
    "labels": TaskSpec(
        kind="classification", template="Rules: {prompt}\n{text}\nLabel:", labels=("a", "b")
    ),
    "chat": TaskSpec(kind="text-to-text", template="{prompt}\n{a} {b}", chat=True),
    "system": TaskSpec(kind="text-to-text", template="{q}", chat=True, system="Read: {prompt}"),
}


@pytest.mark.parametrize("name", SPECS)
def test_a_summary_is_what_the_model_writes_after_the_text(name: str) -> None:
    backbone = shared_backbone("llama")
    text = FullText.of(backbone, SPECS[name], TEXT)
    found = summary_ids(text, 6)
    ending = "<|end|><|assistant|>" if SPECS[name].chat else ""
    asked = (
        "Summarize the text above. Keep every fact that questions about it may ask for."
        if SPECS[name].chat
        else "Summary of the text above:"
    )
    between = "<|end|><|user|>" if name == "system" else "\n\n"
    after = backbone.tokenizer(between + asked + ending, add_special_tokens=False)["input_ids"]
    whole = [(*text.before, *text.ids, *after)]
    (wanted,) = backbone.generate(whole, [Encoded((), ()).placement], None, 6, (2,))
    assert found == tuple(token for token in wanted if token != 2)
    assert summary_ids(text, 3) == found[:3]


@pytest.mark.parametrize("name", ["plain", "chat"])
def test_the_most_informative_tokens_are_the_least_likely_ones(name: str) -> None:
    backbone = shared_backbone("llama")
    text = FullText.of(backbone, SPECS[name], TEXT)
    whole = (*text.before, *text.ids)
    rows = [
        Encoded(whole[:n], whole[n : n + 1]) for n in range(max(1, len(text.before)), len(whole))
    ]
    logs = backbone.forward(collate([(row, row.target) for row in rows]), None).log_softmax(-1)
    nats = [-float(log[row.target[0]]) for log, row in zip(logs, rows, strict=True)]
    nats = nats if text.before else [torch.inf, *nats]
    order = sorted(range(text.length), key=lambda place: -nats[place])
    assert informative_ids(text, 5) == tuple(text.ids[place] for place in sorted(order[:5]))
    assert informative_ids(text, text.length) == text.ids


def test_they_stand_where_the_text_does() -> None:
    text = FullText.of(shared_backbone("llama"), SPECS["chat"], TEXT)
    ways = made_shorter(text, 4, summary_ids(text, 8))
    assert [*ways] == ["first tokens", "last tokens", "own summary", "informative tokens"]
    for way in ways.values():
        assert way.late and way.length == 4
    first = text.in_its_place(text.ids[:4]).keys_values
    torch.testing.assert_close(first, ways["first tokens"].keys_values, rtol=1e-4, atol=1e-4)
    assert "own summary" not in made_shorter(text, 4, ())
