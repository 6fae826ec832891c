from __future__ import annotations

import json
import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuecard.errors import ConfigError
from cuecard.tasks.splits import (
    Fractions,
    Splits,
    content_hash,
    data_hash,
    draw_rows,
    limit_held_out,
    limit_train,
    remove_duplicates,
    split_records,
)
from cuecard.types import Record

TEXTS = st.lists(st.text(max_size=8), max_size=40)


def record(text: str, target: str | None = "a", row: int = 0) -> Record:
    return Record({"text": text}, target, "f.csv", row)


def texts(rows: tuple[Record, ...]) -> list[str]:
    return [row.fields["text"] for row in rows]


@given(st.text(), st.sampled_from([" ", "\n", "\t ", "\u00a0"]))
def test_spacing_and_unicode_forms_do_not_matter(text: str, space: str) -> None:
    words = space.join(f" {text} ".split(" "))
    assert content_hash(record(words)) == content_hash(record(text))
    composed = unicodedata.normalize("NFD", text)
    assert content_hash(record(composed, "b")) == content_hash(record(text, "a"))


def test_case_words_and_fields_matter() -> None:
    different = [
        record("a b"),
        record("A b"),
        record("ab"),
        Record({"text": "a", "more": "b"}, "a"),
        Record({"text": "a b", "more": ""}, "a"),
    ]
    assert len({content_hash(row) for row in different}) == len(different)
    assert content_hash(different[4], ["text"]) == content_hash(different[0])


@given(TEXTS, st.integers(0, 5), st.randoms(use_true_random=False))
def test_a_records_split_depends_on_its_content_alone(
    lines: list[str], seed: int, rng: random.Random
) -> None:
    rows = [record(text, row=index) for index, text in enumerate([*lines, *lines])]
    parts: Fractions = (0.5, 0.25, 0.25)
    splits = split_records(rows, parts, seed)
    where = {text: name for name, found in splits.items() for text in texts(found)}
    assert sum(len(found) for _, found in splits.items()) == len(rows)
    assert sum(len(set(texts(found))) for _, found in splits.items()) == len(set(lines))
    rng.shuffle(rows)
    again = split_records([*rows, record("one more of them")], parts, seed)
    assert all(
        where.get(text, name) == name for name, found in again.items() for text in texts(found)
    )


def test_the_parts_are_about_as_large_as_asked_and_follow_the_seed() -> None:
    rows = [record(str(index)) for index in range(5000)]
    splits = split_records(rows, (0.8, 0.1, 0.1), 0)
    assert 3850 < len(splits.train) < 4150
    assert 400 < len(splits.validation) < 600
    assert splits == split_records(rows, (0.8, 0.1, 0.1), 0)
    assert splits != split_records(rows, (0.8, 0.1, 0.1), 1)


def test_a_part_of_nothing_is_empty() -> None:
    rows = [record(str(index)) for index in range(50)]
    assert len(split_records(rows, (1, 0, 0)).train) == 50
    assert split_records(rows, (0.5, 0.5, 0)).test == ()
    assert split_records(rows, (0.5, 0, 0.5)).validation == ()


@pytest.mark.parametrize("parts", [(0.8, 0.1, 0.2), (1.2, -0.1, -0.1), (80, 10, 10)])
def test_parts_must_sum_to_one(parts: Fractions) -> None:
    with pytest.raises(ConfigError, match="fractions"):
        split_records([record("a")], parts)


def test_what_is_held_out_leaves_training() -> None:
    train = [record("a"), record("b"), record("b"), record("c "), record("d"), record("d", "z")]
    splits, report = remove_duplicates(
        train, [record("e"), record("c")], [record("a"), record("F")]
    )
    assert texts(splits.train) == ["b", "d", "d"]
    assert texts(splits.validation) == ["e", "c"]
    assert texts(splits.test) == ["a", "F"]
    assert (report.train_in_held_out, report.repeated_in_train) == (2, 1)
    assert report.rows == {"train": 3, "validation": 2, "test": 2}
    assert report.labels["train"] == {"a": 2, "z": 1}


def test_validation_gives_way_to_the_test_and_the_test_is_left_alone() -> None:
    held = [record("a"), record("b")]
    splits, report = remove_duplicates([record("c")], held, [record("b"), record("b")])
    assert texts(splits.validation) == ["a"]
    assert texts(splits.test) == ["b", "b"]
    assert report.validation_in_test == 1


def test_a_text_with_two_targets_is_reported_with_its_places() -> None:
    _, report = remove_duplicates([record("a", "x", 3)], [record("a", "y", 9)], [record("b")])
    assert report.conflicting == 1
    assert report.conflict_examples == ("f.csv, row 3 and f.csv, row 9",)
    _, report = remove_duplicates([record("a", None), record("a", "x")], [], [])
    assert report.conflicting == 0


def test_many_targets_are_texts_and_not_counted() -> None:
    train = [record(str(index), f"text {index}") for index in range(201)]
    _, report = remove_duplicates(train, [], [])
    assert report.labels == {}
    assert json.loads(json.dumps(report.to_dict()))["rows"]["train"] == 201


@given(TEXTS, TEXTS, TEXTS)
def test_no_text_is_in_two_splits(train: list[str], validation: list[str], test: list[str]) -> None:
    given = [[record(text) for text in lines] for lines in (train, validation, test)]
    splits, report = remove_duplicates(*given)
    kept = [{content_hash(row) for row in rows} for _, rows in splits.items()]
    assert not kept[0] & kept[1]
    assert not kept[0] & kept[2]
    assert not kept[1] & kept[2]
    gone = report.repeated_in_train + report.train_in_held_out
    assert len(splits.train) + gone == len(train)
    assert remove_duplicates(*(rows for _, rows in splits.items()))[0] == splits


def test_the_limit_keeps_order_and_is_stable() -> None:
    splits, report = remove_duplicates([record(str(i)) for i in range(100)], [], [])
    few, counted = limit_train(splits, report, 30, 0)
    assert counted.rows["train"] == len(few.train) == 30
    assert [int(text) for text in texts(few.train)] == sorted(int(t) for t in texts(few.train))
    fewer, _ = limit_train(splits, report, 10, 0)
    assert set(texts(fewer.train)) < set(texts(few.train))
    assert counted.data_hash != report.data_hash
    assert limit_train(splits, report, 100, 0) == (splits, report)
    with pytest.raises(ConfigError, match="no rows"):
        limit_train(splits, report, 0, 0)


def test_the_limit_of_what_is_held_out_leaves_training_alone() -> None:
    rows = [[record(f"{part} {i}") for i in range(40)] for part in ("a", "b", "c")]
    splits, report = remove_duplicates(*rows)
    few, counted = limit_held_out(splits, report, 10, 0)
    assert few.train == splits.train
    assert len(few.validation) == len(few.test) == 10
    assert dict(counted.rows) == {"train": 40, "validation": 10, "test": 10}
    assert counted.data_hash != report.data_hash
    assert limit_held_out(splits, report, 40, 0) == (splits, report)
    with pytest.raises(ConfigError, match="no rows"):
        limit_held_out(splits, report, 0, 0)


def test_the_data_hash_sees_targets_and_splits() -> None:
    one, two = (record("a"),), (record("a", "b"),)
    hashes = {data_hash(Splits(*parts)) for parts in ((one,), (two,), ((), one), ((), (), one))}
    assert len(hashes) == 4


def test_drawn_rows_are_of_every_label_though_the_file_is_sorted_by_it() -> None:
    records = [Record({"text": f"row {n}"}, "ab"[n >= 100]) for n in range(200)]
    drawn = draw_rows(records, 60, "salt")
    assert len(drawn) == 60
    assert sum(record.target == "a" for record in drawn) == pytest.approx(30, abs=12)
    assert [records.index(r) for r in drawn] == sorted(records.index(r) for r in drawn)
    again = draw_rows(records[::-1], 60, "salt")
    assert sorted(texts(again)) == sorted(texts(drawn))
    assert draw_rows(records, 999, "salt") == tuple(records)
