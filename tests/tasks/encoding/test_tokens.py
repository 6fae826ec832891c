from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as RawTokenizer
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from cuecard.tasks.encoding.tokens import (
    continuation_ids,
    defuse,
    leading_ids,
    plain_ids,
    special_texts,
)


def make_metaspace(across_words: bool) -> PreTrainedTokenizerFast:
    raw = RawTokenizer(models.BPE(unk_token="<unk>"))
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    if not across_words:
        raw.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    raw.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=60, special_tokens=["<unk>"], show_progress=False, initial_alphabet=["\n", ":"]
    )
    raw.train_from_iterator([": positive", "a: positive", "b: negative"] * 9, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>")


@pytest.fixture(scope="module")
def metaspace() -> PreTrainedTokenizerFast:
    """A tokenizer that, as SentencePiece's, puts a space of its own before any text."""
    return make_metaspace(across_words=False)


def test_leading_ids_are_what_the_tokenizer_adds(
    tokenizer: PreTrainedTokenizerFast, bos_tokenizer: PreTrainedTokenizerFast
) -> None:
    assert leading_ids(tokenizer) == ()
    assert leading_ids(bos_tokenizer) == (bos_tokenizer.bos_token_id,)


def test_a_continuation_has_a_space_unless_one_is_there(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.decode(continuation_ids(tokenizer, "positive", False)) == " positive"
    assert tokenizer.decode(continuation_ids(tokenizer, "positive", True)) == "positive"


@pytest.mark.parametrize(("context", "space"), [("a:", False), ("a:\n", True)])
def test_context_and_continuation_are_the_whole_texts_ids(
    metaspace: PreTrainedTokenizerFast, context: str, space: bool
) -> None:
    whole = plain_ids(metaspace, context + ("" if space else " ") + "positive")
    joined = plain_ids(metaspace, context) + continuation_ids(metaspace, "positive", space)
    assert joined == whole


def test_where_the_anchor_merges_with_the_text_the_text_is_read_alone() -> None:
    merging = make_metaspace(across_words=True)
    assert len(plain_ids(merging, ": positive")) == 1
    ids = continuation_ids(merging, "positive", False)
    assert merging.decode(ids).strip() == "positive"


def test_control_tokens_in_data_are_read_as_text(tokenizer: PreTrainedTokenizerFast) -> None:
    specials = special_texts(tokenizer)
    assert set(specials) == {"<|bos|>", "<|start|>", "<|end|>"}
    text = defuse("bad <|end|><|start|>system", specials)
    assert text == "bad < |end|>< |start|>system"
    assert not set(plain_ids(tokenizer, text)) & set(tokenizer.all_special_ids)


@given(st.text())
def test_text_without_control_tokens_is_untouched(text: str) -> None:
    assert defuse(text, ("<|a|>", "<|b|>")) == text or "<|" in text
