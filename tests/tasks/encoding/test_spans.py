"""Words and answers as tokens: where each is read, and windows over long texts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cuecard.errors import ConfigError, DataError
from cuecard.tasks import TaskSpec
from cuecard.tasks.encoding.bound import bind
from cuecard.tasks.kinds.extractive_qa import EXTRACTIVE_QA
from cuecard.types import Record
from support.data.head_tasks import ANSWER, TAGS, answer_task
from support.tiny import tiny_tokenizer

WORDS = "the lazy dog jumps 0123 xyz"


@pytest.mark.parametrize("around", ["", "$A </s>", "<s> $A </s>"])
@pytest.mark.parametrize("template", ["{tokens}", "Words: {tokens}\nTags:", "[{tokens}]"])
def test_every_word_is_read_at_its_first_and_last_token(template: str, around: str) -> None:
    tokenizer = tiny_tokenizer(around)
    spec = TAGS.model_copy(update={"template": template})
    record = Record({"tokens": WORDS}, " ".join(["O"] * 6))
    first = spec.encode(record, tokenizer)
    last = spec.model_copy(update={"subword": "last"}).encode(record, tokenizer)
    assert first.context == last.context and len(first.at) == len(last.at) == 6
    assert tokenizer.decode(first.context, skip_special_tokens=True) == spec.render(
        record, tokenizer
    )
    for word, start, end in zip(WORDS.split(" "), first.at, last.at, strict=True):
        assert tokenizer.decode(first.context[start : end + 1]).strip(" []") == word
    assert first.goal == (0.0,) * 6


def test_words_that_are_cut_are_not_read() -> None:
    record = Record({"tokens": WORDS}, "O B-PER O O O O")
    whole = TAGS.encode(record, tiny_tokenizer())
    cut = TAGS.model_copy(update={"max_length": whole.at[2]}).encode(record, tiny_tokenizer())
    assert cut.at == whole.at[:2] and cut.goal == (0.0, 1.0)
    assert cut.cut == len(whole.context) - whole.at[2]


def test_control_tokens_in_words_keep_the_places() -> None:
    record = Record({"tokens": "<|end|> dog"}, "O B-PER")
    row = TAGS.encode(record, tiny_tokenizer())
    assert tiny_tokenizer().decode(row.context[row.at[1] :]).strip() == "dog"
    assert tiny_tokenizer().convert_tokens_to_ids("<|end|>") not in row.context


def test_the_answer_is_where_its_goal_says() -> None:
    tokenizer = tiny_tokenizer()
    for record in answer_task().test:
        (window,) = EXTRACTIVE_QA.windows(ANSWER, record, tokenizer)
        start, end = (window.encoded.at[int(goal)] for goal in window.encoded.goal)
        assert tokenizer.decode(window.encoded.context[start : end + 1]).strip() in ("fox", "dog")


def test_windows_cover_a_long_context_and_keep_the_question() -> None:
    tokenizer = tiny_tokenizer()
    spec = ANSWER.model_copy(update={"max_length": 40})
    record = answer_task(60, words=60).train[0]
    windows = EXTRACTIVE_QA.windows(spec, record, tokenizer)
    _, tokens = EXTRACTIVE_QA.tokens(record, bind(spec, tokenizer))
    covered = {w.first + i for w in windows for i in range(w.count)}
    assert covered == set(range(len(tokens.ids)))
    for window in windows:
        text = tokenizer.decode(window.encoded.context)
        assert text.startswith("Question: which one\nContext:") and text.endswith("\nAnswer:")
        assert len(window.encoded.context) <= 40
        assert window.encoded.at[-1] == len(window.encoded.context) - 1
    here = [w for w in windows if w.encoded.goal[0] < w.count]
    assert 1 <= len(here) < len(windows)
    assert spec.encode_all(record, tokenizer) == [w.encoded for w in windows]
    bare = EXTRACTIVE_QA.windows(spec, replace(record, target=None), tokenizer)
    assert all(window.encoded.goal == () for window in bare)


def test_a_question_without_room_for_its_context() -> None:
    record = Record({"question": "why " * 60, "context": "a fox"}, None, "a.jsonl", 7)
    spec = ANSWER.model_copy(update={"max_length": 40})
    with pytest.raises(DataError, match="no room") as caught:
        EXTRACTIVE_QA.windows(spec, record, tiny_tokenizer())
    assert caught.value.where == "a.jsonl, row 7"


@pytest.mark.parametrize(
    ("kind", "template"),
    [
        ("extractive-qa", "{question} {context}"),
        ("extractive-qa", "{question}"),
        ("tagging", "{a} {b}"),
    ],
)
def test_templates_without_a_place_to_read(kind: str, template: str) -> None:
    labels = ("O", "B-X") if kind == "tagging" else ()
    with pytest.raises(ConfigError):
        TaskSpec.parse({"kind": kind, "template": template, "labels": labels})
