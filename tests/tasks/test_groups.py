"""Rows that must not be told apart: near-copies, and pairs that share a text."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from cuecard.errors import DataError
from cuecard.tasks.groups import choose_grouping, components, near_form
from cuecard.tasks.splits import content_hash, remove_duplicates, split_records
from cuecard.tasks.task import Task, TaskSpec
from cuecard.types import Record

Write = Callable[[str, str | bytes], Path]

PAIRS = TaskSpec(
    kind="classification", template="{premise} / {claim}:", labels=("yes", "no", "maybe")
)
WORDS = ["river", "lamp", "stone", "cloud", "violin", "harbor", "pepper", "ladder", "mirror"]


def pair(premise: str, claim: str, target: str = "yes", group: str = "") -> Record:
    return Record({"premise": premise, "claim": claim}, target, "f.csv", 1, group)


def premises(count: int, each: int = 3, seed: int = 0) -> list[Record]:
    """Every premise with so many claims of its own."""
    rng = random.Random(seed)
    named = [f"The {rng.choice(WORDS)} stands by a {rng.choice(WORDS)}, {n}." for n in range(count)]
    return [
        pair(premise, f"Claim {n}.{k}: there is a {rng.choice(WORDS)} here.", PAIRS.labels[k % 3])
        for n, premise in enumerate(named)
        for k in range(each)
    ]


def shared(task: Task, name: str) -> set[str]:
    """Near forms of a field that stand in more than one split."""
    each = [{near_form(r.fields[name]) for r in rows} for rows in (task.train, task.validation)]
    tested = {near_form(r.fields[name]) for r in task.test}
    return (each[0] & each[1]) | (each[0] & tested) | (each[1] & tested)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("Where is it?", "  where   IS it"),
        ("It's well-known", "its well known"),
        ("zero\u200bwidth", "zerowidth"),
        ("\uff26\uff55\uff4c\uff4c width", "full width"),
        ("cafe\u0301", "caf\u00e9"),
        ("Stra\u00dfe", "STRASSE"),
    ],
)
def test_near_copies_have_one_form(one: str, two: str) -> None:
    assert near_form(one) == near_form(two)


def test_what_says_something_else_has_another_form() -> None:
    texts = [
        "1.5 kg",
        "15 kg",
        "1 5 6",
        "C++",
        "C",
        "good \U0001f600",
        "good \U0001f622",
        "...",
        "!",
    ]
    assert len({near_form(text) for text in texts} - {near_form("1 5 kg")}) == len(texts) - 1
    assert near_form(" .. .") == ".. ."


def test_near_copies_stay_in_one_split() -> None:
    rows = [Record({"text": f"call number {n} back"}, "a") for n in range(300)]
    copies = [Record({"text": f"Call  number {n} back!"}, "a") for n in range(300)]
    splits = split_records([*rows, *copies], (0.6, 0.2, 0.2))
    where = [{near_form(r.fields["text"]) for r in part} for _, part in splits.items()]
    assert not where[0] & where[1] and not where[0] & where[2] and not where[1] & where[2]
    # One of each two stays where it was without the other.
    alone = split_records(rows, (0.6, 0.2, 0.2)), split_records(copies, (0.6, 0.2, 0.2))
    for row, copy in zip(rows, copies, strict=True):
        least = min((row, copy), key=content_hash)
        mine = next(name for name, part in splits.items() if row in part)
        assert any(mine == name and least in part for s in alone for name, part in s.items())


def test_rows_without_copies_are_split_as_ever() -> None:
    """Against the rule in plain words: the hash of seed and content."""
    rows = [Record({"text": f"row {n}"}, "a") for n in range(200)]
    splits = split_records(rows, (0.8, 0.1, 0.1), 3)
    for name, part in splits.items():
        for row in part:
            drawn = sha256(f"split:3:{content_hash(row)}".encode()).digest()[:8]
            at = int.from_bytes(drawn, "big") / 2**64
            assert name == ("train" if at < 0.8 else "validation" if at < 0.9 else "test")


def test_what_repeats_stays_in_one_split() -> None:
    task = Task.from_records(PAIRS, premises(120))
    assert shared(task, "premise") == set()
    assert task.report.group_fields == ("premise",)
    assert "'premise' stay in one split: 360 rows share one" in task.report.grouping
    sizes = [len(task.train), len(task.validation), len(task.test)]
    assert sum(sizes) == 360 and sizes[0] > 200 and min(sizes) > 10
    apart = Task.from_records(PAIRS, premises(120), group_field="none")
    assert shared(apart, "premise") and apart.report.group_fields == ()


def test_neither_order_nor_the_split_of_others_matters() -> None:
    rows = premises(60)
    first = Task.from_records(PAIRS, rows)
    mixed = random.Random(1).sample(rows, len(rows))
    again = Task.from_records(PAIRS, mixed)
    for name in ("train", "validation", "test"):
        key = [content_hash(r) for r in getattr(first, name)]
        assert sorted(key) == sorted(content_hash(r) for r in getattr(again, name))


def test_both_fields_repeat() -> None:
    rows = premises(90, 2)
    rows += [pair(f"Another premise, number {n}, of some length", rows[n].fields["claim"])
             for n in range(0, 60, 3)]  # fmt: skip
    task = Task.from_records(PAIRS, rows)
    assert task.report.group_fields == ("claim", "premise")
    assert shared(task, "premise") == shared(task, "claim") == set()


def test_a_common_claim_does_not_put_everything_together() -> None:
    rows = premises(80, 2)
    rows += [pair(rows[n].fields["premise"], "There is nobody in the picture at all.")
             for n in range(0, 160, 2)]  # fmt: skip
    task = Task.from_records(PAIRS, rows)
    assert task.report.group_fields == ("premise",)
    assert shared(task, "premise") == set()


@pytest.mark.parametrize(
    "setting",
    [
        lambda n: "Decide whether the claim follows from the text that is given here.",
        lambda n: ("English", "German")[n % 2],
        lambda n: f"product line {n % 9}",
    ],
)
def test_settings_are_no_groups(setting: Callable[[int], str]) -> None:
    rows = [pair(setting(n), f"Claim {n} about {WORDS[n % 9]}") for n in range(240)]
    assert choose_grouping(rows).fields == ()
    rows = [pair(setting(n), r.fields["claim"], r.target or "") for n, r in enumerate(rows)]
    few, many = split_records(rows, (0.8, 0.1, 0.1)), Task.from_records(PAIRS, rows)
    assert many.test == few.test


def test_a_field_that_cannot_be_split_by_is_told() -> None:
    contexts = [f"A rather long text about the {WORDS[k]}, which many ask about." for k in range(3)]
    rows = [pair(contexts[n % 3], f"Question {n}") for n in range(90)]
    found = choose_grouping(rows)
    assert found.fields == () and "would link too many rows" in found.note
    named = Task.from_records(PAIRS, rows, group_field="premise")
    assert shared(named, "premise") == set()
    assert "'premise'" in named.report.grouping


def test_few_groups_still_fill_every_split() -> None:
    for seed in range(12):
        task = Task.from_records(PAIRS, premises(10, 4, seed), seed=seed)
        assert task.train and task.validation and task.test
        assert shared(task, "premise") == set()


def test_a_group_of_training_in_a_test_file_leaves_training() -> None:
    rows = premises(60)
    test = [pair(rows[3 * n].fields["premise"].upper(), f"New claim {n}") for n in range(5)]
    task = Task.from_records(PAIRS, {"train": rows, "test": test})
    assert task.test == tuple(test)
    assert shared(task, "premise") == set()
    assert "removed for it: 15 training and 0 validation rows" in task.report.grouping
    assert task.report.train_in_held_out == 15


def test_so_many_shared_texts_stay_and_are_told() -> None:
    rows = premises(40)
    test = [pair(r.fields["premise"], f"New {n}") for n, r in enumerate(rows[::3])]
    task = Task.from_records(PAIRS, {"train": rows, "test": test})
    assert task.report.group_fields == ()
    assert "kept because they are so many" in task.report.grouping
    assert len(task.train) + len(task.validation) == 120


def test_a_column_that_the_template_does_not_read(write: Write) -> None:
    lines = [f"note {n} of this person,{'ab'[n % 2]},person {n % 40}" for n in range(240)]
    path = write("notes.csv", "\n".join(["text,label,who", *lines]))
    task = Task.from_file(path, group_field="who")
    each = [{r.group for r in rows} for rows in (task.train, task.validation, task.test)]
    assert all(each) and sum(map(len, each)) == 40
    assert set(task.train[0].fields) == {"text"}
    held = write("held.csv", "text,label,who\nsomething new,a,Person 3\nsomething else,b,nobody")
    given = Task.from_file(path, test=held, group_field="who")
    assert "person 3" not in {r.group for r in given.train}
    with pytest.raises(DataError, match="no column 'whom'"):
        Task.from_file(path, group_field="whom")


def test_components_are_linked_through_others() -> None:
    keys = [[("a", "1")], [("a", "2")], [("b", "1")], [("a", "1"), ("b", "1")], [("b", "9")]]
    assert components(keys) == [0, 1, 0, 0, 4]
    assert Counter(components(keys[:3])) == {0: 1, 1: 1, 2: 1}


def test_near_copies_leave_training_and_validation() -> None:
    train = [
        Record({"text": t}, "a") for t in ("Ring me back!", "Ring him back", "ring him  back.")
    ]
    held = [Record({"text": "RING HIM BACK"}, "a"), Record({"text": "new"}, "a")]
    splits, report = remove_duplicates(train, held, [Record({"text": "New?"}, "a")])
    assert [r.fields["text"] for r in splits.train] == ["Ring me back!"]
    assert [r.fields["text"] for r in splits.validation] == ["RING HIM BACK"]
    assert (report.train_in_held_out, report.validation_in_test) == (2, 1)
