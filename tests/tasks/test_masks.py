"""Masks in templates, with the tokenizers there are: word pieces, bytes and sentence pieces."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from cuecard.errors import ConfigError, TemplateError
from cuecard.tasks import TaskSpec, collate
from cuecard.tasks.encoding.encoder import Encoder
from cuecard.tasks.template import Template
from cuecard.types import Record
from support.data.reviews import MASKED_SPEC, SPEC
from support.tiny import tiny_tokenizer

WORDS = "[PAD] [CLS] [SEP] [UNK] [MASK] it was great terrible fun ##s a gem review : . , ( ) [ ]"
PIECES = "[PAD] [CLS] [SEP] [UNK] [MASK] _it _was _great great _a _gem _ . ( :"


def word_pieces() -> Any:
    """As BERT's."""
    known = {word: number for number, word in enumerate(WORDS.split())}
    raw = Tokenizer(models.WordPiece(known, unk_token="[UNK]"))
    raw.normalizer = normalizers.BertNormalizer(lowercase=True)
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    names = {"cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]", "pad": "[PAD]", "unk": "[UNK]"}
    tokens = {f"{name}_token": text for name, text in names.items()}
    return PreTrainedTokenizerFast(tokenizer_object=raw, **tokens)


def sentence_pieces() -> Any:
    """As ALBERT's and DeBERTa's, whose words begin with their space."""
    words = PIECES.replace("_", "\u2581").split()
    pieces = [(word, -1.0 - place / 10) for place, word in enumerate(words)]
    raw = Tokenizer(models.Unigram(pieces, unk_id=3))
    raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    mask = AddedToken("[MASK]", lstrip=True)
    return PreTrainedTokenizerFast(tokenizer_object=raw, mask_token=mask, unk_token="[UNK]")


TOKENIZERS = {
    "words": word_pieces,
    "sentences": sentence_pieces,
    "bytes": lambda: tiny_tokenizer("<s> $A </s>", mask=True),
}
GREAT = {"words": ["great"], "sentences": ["\u2581great"]}


def spec(template: str) -> TaskSpec:
    words = {"good": "great", "bad": "a gem"}
    return TaskSpec(kind="classification", template=template, labels=("good", "bad"), words=words)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_word_at_the_mask_is_the_word_in_the_text(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    asked = spec("{text} it was {mask}.")
    row = asked.encode(Record({"text": "a gem"}, "good"), tokenizer)
    assert row.mask is not None and row.context[row.mask] == tokenizer.mask_token_id
    filled = (*row.context[: row.mask], *row.target, *row.context[row.mask + 1 :])
    plain = tokenizer("a gem it was great.")["input_ids"]
    assert list(filled) == plain[: len(filled)]
    if name in GREAT:
        assert tokenizer.convert_ids_to_tokens(row.target) == GREAT[name]


def test_a_word_that_touches_what_comes_before() -> None:
    tokenizer = sentence_pieces()
    ids = spec("{text} ({mask}").continuations(tokenizer)[0]
    assert tokenizer.convert_ids_to_tokens(ids) == ["great"]


def test_a_prompt_stands_behind_what_opens_every_text() -> None:
    tokenizer = word_pieces()
    record = Record({"text": "a gem"}, None)
    asked = spec("{text} it {prompt}was {mask}.")
    assert asked.encode(record, tokenizer).slot == 1
    infix = asked.encode(record, tokenizer, "infix")
    names = tokenizer.convert_ids_to_tokens(infix.context)
    assert names == ["[CLS]", "a", "gem", "it", "was", "[MASK]", "."]
    assert infix.slot == 4 and infix.mask == 5
    assert asked.encode(record, tokenizer, "suffix").slot == 7
    assert spec("{text} it was").encode(record, tokenizer).slot == 0


def test_as_many_masks_as_tokens() -> None:
    tokenizer = word_pieces()
    asked = spec("{text} it was {mask} .")
    row = asked.encode(Record({"text": "a gem"}, "bad"), tokenizer, "suffix")
    one = asked.encode(Record({"text": "fun"}, "good"), tokenizer)
    assert len(row.target) == 2 and len(one.target) == 1
    batch = collate([(row, row.target), (one, one.target)])
    shown = tokenizer.convert_ids_to_tokens(batch.input_ids[0])
    assert shown == ["[CLS]", "a", "gem", "it", "was", "[MASK]", "[MASK]", "."]
    assert batch.read_rows.tolist() == [0, 0, 1] and batch.read_at.tolist() == [5, 6, 4]
    assert batch.target_ids.tolist() == [*row.target, *one.target]
    assert batch.slot.tolist() == [8, 1] and batch.context.tolist() == [8, 6]
    batch = collate([(row, row.target)], read="next")
    assert batch.input_ids.tolist() == [list(row.context)] and batch.read_at.tolist() == [5]


def test_data_cannot_bring_a_mask_of_its_own() -> None:
    row = spec("{text} {mask}").encode(Record({"text": "a [MASK] gem"}, None), word_pieces())
    assert row.context.count(4) == 1 and row.mask == len(row.context) - 1


def test_cutting_keeps_the_mask() -> None:
    asked = spec("{text} it was {mask} .").model_copy(update={"max_length": 8})
    row = asked.encode(Record({"text": "fun " * 50}, None), word_pieces())
    assert len(row.context) == 8 and row.cut == 47 and row.mask == 6


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match="the backbone's tokenizer has none"):
        MASKED_SPEC.encode(Record({"text": "a"}, None), tiny_tokenizer())
    with pytest.raises(TemplateError, match="more than one mask"):
        Template("{text} {mask} {mask}")
    with pytest.raises(TemplateError, match="names no field"):
        Template("It was {mask}")
    with pytest.raises(ConfigError, match="2 mask tokens"):
        Encoder(Template("{text} {mask} [MASK]"), word_pieces(), 64)
    with pytest.raises(ConfigError, match="a mask where no label"):
        TaskSpec(kind="text-to-text", template="{text} {mask}")


def test_words_at_masks_do_not_begin_each_other() -> None:
    tokenizer = tiny_tokenizer("<s> $A </s>", mask=True)
    words = {"negative": "good", "positive": "good fun"}
    assert SPEC.model_copy(update={"words": words}).prefix_conflicts(tokenizer)
    assert not MASKED_SPEC.model_copy(update={"words": words}).prefix_conflicts(tokenizer)
