from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from transformers import PreTrainedTokenizerFast

from cuecard.errors import ConfigError, DataError, TemplateError
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Record

REVIEW = TaskSpec(
    kind="classification",
    template="Review: {text}\nSentiment:",
    labels=("0", "1"),
    words={"0": "negative", "1": "positive"},
    max_length=64,
)
TEXT = TaskSpec(kind="text-to-text", template="{text}\n", max_length=64)


def settings_with(**changes: Any) -> dict[str, Any]:
    return {"kind": "classification", "template": "{text}:", "labels": ["a", "b"], **changes}


def test_a_spec_is_json_and_comes_back_equal() -> None:
    again = TaskSpec.model_validate_json(REVIEW.model_dump_json())
    assert again == REVIEW
    assert hash(again) == hash(REVIEW)


def test_a_stop_that_is_not_given_is_not_written() -> None:
    assert "stop" not in TEXT.model_dump()
    ended = TEXT.model_copy(update={"stop": "\n"})
    assert TaskSpec.model_validate_json(ended.model_dump_json()) == ended != TEXT


def test_a_spec_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        REVIEW.max_length = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"labels": ["a"]}, "labels"),
        ({"labels": ["a", ""]}, "labels"),
        ({"labels": ["a", "b", "a"]}, "labels"),
        ({"words": {"c": "x"}}, "words"),
        ({"system": "Be brief."}, "system"),
        ({"kind": "text-to-text"}, "labels"),
        ({"stop": "."}, "stop"),
        ({"max_length": 0}, "task, max_length"),
        ({"kind": "ranking"}, "task, kind"),
        ({"kind": "regression"}, "labels"),
        ({"labels": 3}, "task, labels"),
    ],
)
def test_contradictory_settings_are_refused(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TaskSpec.parse(settings_with(**changes))
    assert caught.value.where == where


def test_an_unknown_setting_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown setting") as caught:
        TaskSpec.parse(settings_with(max_lenght=3))
    assert caught.value.hint == "did you mean max_length?"


def test_the_fields_are_the_templates() -> None:
    assert REVIEW.field_names == ("text",)


def test_a_broken_template_is_refused() -> None:
    with pytest.raises(TemplateError):
        TaskSpec.parse(settings_with(template="{text"))


def test_a_label_is_encoded_as_its_word(tokenizer: PreTrainedTokenizerFast) -> None:
    record = Record({"text": "a gem"}, "1")
    encoded = REVIEW.encode(record, tokenizer)
    assert tokenizer.decode(encoded.context) == "Review: a gem\nSentiment:"
    assert tokenizer.decode(encoded.target) == " positive"
    assert encoded.slot == 0
    assert REVIEW.encode(record, tokenizer, "suffix").slot == len(encoded.context)
    assert encoded.target == REVIEW.continuations(tokenizer)[1]
    assert REVIEW.render(record, tokenizer) == "Review: a gem\nSentiment:"


def test_cutting_leaves_the_label(tokenizer: PreTrainedTokenizerFast) -> None:
    encoded = REVIEW.encode(Record({"text": "a gem " * 500}, "0"), tokenizer, "suffix")
    assert encoded.cut > 400
    assert encoded.slot == len(encoded.context) <= 64
    assert tokenizer.decode(encoded.target) == " negative"


def test_a_text_target_ends_with_the_end_token(tokenizer: PreTrainedTokenizerFast) -> None:
    encoded = TEXT.encode(Record({"text": "a"}, "the fox 😀"), tokenizer)
    assert encoded.target[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(encoded.target[:-1]) == "the fox 😀"


def test_a_text_target_needs_an_end_token(tokenizer: PreTrainedTokenizerFast) -> None:
    endless = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer)
    with pytest.raises(ConfigError, match="no end token"):
        TEXT.encode(Record({"text": "a"}, "b"), endless)


def test_no_target_is_an_empty_target(tokenizer: PreTrainedTokenizerFast) -> None:
    assert REVIEW.encode(Record({"text": "a"}, None), tokenizer).target == ()


def test_a_label_that_is_not_in_the_list_names_its_row(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(DataError, match="not in the list") as caught:
        REVIEW.encode(Record({"text": "a"}, "2", "r.csv", 7), tokenizer)
    assert caught.value.where == "r.csv, row 7"


def test_texts_have_no_label_words(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ConfigError, match="no label words"):
        TEXT.continuations(tokenizer)


def test_in_a_chat_the_word_follows_a_line_break(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    spec = REVIEW.model_copy(update={"chat": True})
    words = [chat_tokenizer.decode(ids) for ids in spec.continuations(chat_tokenizer)]
    assert words == ["negative", "positive"]


def test_a_replaced_chat_template_is_noticed(tokenizer: PreTrainedTokenizerFast) -> None:
    spec = REVIEW.model_copy(update={"chat": True})
    other = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer)
    record = Record({"text": "b"}, None)
    other.chat_template = "1 {{ messages[0]['content'] }}"
    assert spec.render(record, other) == "1 Review: b\nSentiment:"
    other.chat_template = "2 {{ messages[0]['content'] }}"
    assert spec.render(record, other) == "2 Review: b\nSentiment:"


def test_words_that_begin_one_another_are_reported(tokenizer: PreTrainedTokenizerFast) -> None:
    spec = TaskSpec(kind="classification", template="{text}:", labels=("zz", "zz top", "qq"))
    assert spec.prefix_conflicts(tokenizer) == (("zz", "zz top"),)
    assert REVIEW.prefix_conflicts(tokenizer) == ()
