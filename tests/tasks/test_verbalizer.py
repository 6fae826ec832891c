from __future__ import annotations

from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from cuecard.errors import ConfigError
from cuecard.tasks.verbalizer import Verbalizer


def test_words_stand_for_labels_in_order(tokenizer: PreTrainedTokenizerFast) -> None:
    verbalizer = Verbalizer({"0": "negative", "1": " positive "})
    assert verbalizer.labels == ("0", "1")
    ids = verbalizer.continuations(tokenizer, False)
    assert [tokenizer.decode(word) for word in ids] == [" negative", " positive"]
    bare = verbalizer.continuations(tokenizer, True)
    assert [tokenizer.decode(word) for word in bare] == ["negative", "positive"]


@pytest.mark.parametrize("word", ["", "  \n"])
def test_a_word_needs_tokens(tokenizer: PreTrainedTokenizerFast, word: str) -> None:
    with pytest.raises(ConfigError, match="no tokens") as caught:
        Verbalizer({"a": "x", "b": word}).continuations(tokenizer, False)
    assert "'b'" in str(caught.value.where)


def test_two_labels_cannot_share_a_word(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ConfigError, match="same word") as caught:
        Verbalizer({"a": "good", "b": "good "}).continuations(tokenizer, False)
    assert "'a' and 'b'" in str(caught.value.where)


def test_a_word_that_begins_another_is_reported(tokenizer: PreTrainedTokenizerFast) -> None:
    verbalizer = Verbalizer({"yes": "zz", "very": "zz top", "no": "qq"})
    assert verbalizer.prefix_conflicts(tokenizer, False) == (("yes", "very"),)
    assert Verbalizer({"a": "zz", "b": "qq"}).prefix_conflicts(tokenizer, False) == ()


def test_labels_that_a_tokenizer_reads_alike_are_refused() -> None:
    def uncased(text: str, **options: Any) -> dict[str, list[int]]:
        return {"input_ids": [ord(char) for char in text.lower()]}

    reader: Any = uncased
    with pytest.raises(ConfigError, match="reads two labels alike") as caught:
        Verbalizer({"May": "May", "may": "may"}).continuations(reader, False)
    assert "'May' and 'may'" in str(caught.value.where)
    assert "upper and lower case" in str(caught.value.got)
