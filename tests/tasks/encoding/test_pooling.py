from __future__ import annotations

from typing import Any

import pytest
import torch

from cuecard.errors import ConfigError
from cuecard.tasks import TaskSpec
from cuecard.tasks.encoding.pooling import collate_texts, embed_parts, embed_rows, pooled, texts_of
from cuecard.tasks.encoding.tokens import closing_count
from cuecard.types import InputTokens, Record
from support.data.pairs import SPEC
from support.tiny import tiny_encoder, tiny_tokenizer

TOKENIZER = tiny_tokenizer("<s> $A </s>", mask=True)
RECORD = Record({"text": "good fox"}, "it is a good dog")


def test_a_pair_is_two_texts_in_one_template() -> None:
    spec = SPEC.model_copy(update={"template": "about: {text}"})
    row = spec.encode(RECORD, TOKENIZER)
    anchor, positive = texts_of(row)
    for text, found in (("good fox", anchor), ("it is a good dog", positive)):
        assert list(found.context) == TOKENIZER(f"about: {text}")["input_ids"][:-1]
        assert found.slot == 1 and found.target == ()


def test_a_prompt_behind_both() -> None:
    anchor, positive = texts_of(SPEC.encode(RECORD, TOKENIZER, "suffix"))
    assert anchor.slot == len(anchor.context) != len(positive.context) == positive.slot


def test_every_token_is_read_and_what_closes_them() -> None:
    rows = texts_of(SPEC.encode(RECORD, TOKENIZER))
    assert closing_count(TOKENIZER) == 1 and closing_count(tiny_tokenizer("<s> $A")) == 0
    batch = collate_texts(rows, TOKENIZER)
    lengths = [len(row.context) + 1 for row in rows]
    assert torch.bincount(batch.read_rows).tolist() == lengths
    assert batch.read_at.tolist() == [*range(lengths[0]), *range(lengths[1])]
    assert batch.attention_mask.sum(1).tolist() == [length - 1 for length in lengths]


def test_pooling_is_the_mean_of_a_texts_own_tokens() -> None:
    rows = texts_of(SPEC.encode(RECORD, TOKENIZER))
    batch = collate_texts(rows, TOKENIZER)
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(len(batch.read_rows), 8, generator=generator)
    parts = torch.split(states, torch.bincount(batch.read_rows).tolist())
    plain = torch.stack([part.mean(0) / part.mean(0).norm() for part in parts])
    torch.testing.assert_close(pooled(batch, states), plain)


def test_rows_under_several_prompts_run_together() -> None:
    backbone, rows = tiny_encoder(), texts_of(SPEC.encode(RECORD, TOKENIZER))
    prompts = [InputTokens(torch.full((length, 32), 0.5)) for length in (2, 5)]
    parts = [(rows, prompts[0]), (rows[:1], None), (rows[1:], prompts[1])]
    backbone.reset_counts()
    found = embed_parts(backbone, parts)
    assert backbone.counts["calls"] == 1
    for vectors, (some, injection) in zip(found, parts, strict=True):
        alone = embed_rows(backbone, some, injection)
        torch.testing.assert_close(vectors, alone, atol=1e-5, rtol=1e-4)
    assert float((found[0][0] - found[1][0]).abs().max()) > 1e-2


@pytest.mark.parametrize(
    "settings",
    [
        {"template": "{text} {other}"},
        {"template": "{prompt} {text}"},
        {"template": "{text} {mask}"},
        {"chat": True},
        {"labels": ("a", "b")},
    ],
)
def test_settings_that_contradict_it(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="the task has"):
        TaskSpec(**{"kind": "embedding", "template": "{text}", **settings})


def test_long_texts_are_cut_on_both_sides() -> None:
    spec = SPEC.model_copy(update={"max_length": 9})
    row = spec.encode(Record({"text": "fox " * 40}, "dog " * 40), TOKENIZER)
    assert len(row.context) == len(row.target) == 9 and row.cut > 0
    assert spec.encode(Record({"text": "fox"}, None), TOKENIZER).target == ()
