from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuecard.errors import DataError
from cuecard.tasks.readers.tables import Table, Wanted, as_text, records, require_columns


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (1.0, "1"),
        (-0.5, "-0.5"),
        (True, "true"),
        (False, "false"),
        ("1.0", "1.0"),
        (None, None),
        (math.nan, None),
        (math.inf, "inf"),
        (10**30, "1" + "0" * 30),
    ],
)
def test_values_are_written_as_a_person_would(value: Any, text: str | None) -> None:
    assert as_text(value, "here") == text


@pytest.mark.parametrize("value", [[], {}, b"x", ["a"]])
def test_other_values_are_refused(value: Any) -> None:
    with pytest.raises(DataError, match="not text") as caught:
        as_text(value, "f.json, row 3")
    assert caught.value.where == "f.json, row 3"


@pytest.mark.parametrize(("value", "what"), [("a\0b", "NUL"), ("a \ud83d b", "unpaired surrogate")])
def test_characters_no_text_has_are_refused(value: str, what: str) -> None:
    with pytest.raises(DataError, match=what):
        as_text(value, "here")


@given(st.text(alphabet=st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")))
def test_any_other_text_stays_as_it_is(text: str) -> None:
    assert as_text(text, "here") == text


def one(values: dict[str, Any], **names: Any) -> Table:
    return Table("f", None, [(4, values)], names)


def test_fields_can_be_read_from_other_columns() -> None:
    table = one({"Review body": " a ", "stars": 5.0, "more": []})
    (record,) = records(table, Wanted(["text"], "stars", {"text": "Review body"}))
    assert record.fields == {"text": " a "}
    assert (record.target, record.source, record.row) == ("5", "f", 4)


def test_without_a_target_labels_are_not_read() -> None:
    (record,) = records(one({"text": "a", "label": None}), Wanted(["text"], None))
    assert record.target is None


def test_class_numbers_become_names() -> None:
    wanted = Wanted(["text"], "label")
    (record,) = records(one({"text": "a", "label": 1}, label=["no", "yes"]), wanted)
    assert record.target == "yes"
    with pytest.raises(DataError, match="label is missing"):
        records(one({"text": "a", "label": -1}, label=["no", "yes"]), wanted)


@pytest.mark.parametrize(
    ("values", "what", "where"),
    [
        ({"text": "", "label": "a"}, "the text is empty", "f, row 4, column 'text'"),
        ({"text": " \n", "label": "a"}, "the text is empty", "f, row 4, column 'text'"),
        ({"text": None, "label": "a"}, "the text is empty", "f, row 4, column 'text'"),
        ({"text": "a", "label": ""}, "the label is missing", "f, row 4, column 'label'"),
        ({"text": "a", "label": None}, "the label is missing", "f, row 4, column 'label'"),
        ({"text": "a", "label": ["b"]}, "not text", "f, row 4, column 'label'"),
        ({"text": "a"}, "no column 'label'", "f, row 4"),
    ],
)
def test_a_row_that_cannot_be_used_names_its_place(
    values: dict[str, Any], what: str, where: str
) -> None:
    with pytest.raises(DataError, match=what) as caught:
        records(one(values), Wanted(["text"], "label"))
    assert caught.value.where == where


def test_no_rows_are_an_error_and_a_limit_is_kept() -> None:
    wanted = Wanted(["text"], None)
    with pytest.raises(DataError, match="no rows"):
        records(Table("f", ("text",), []), wanted)
    rows = [(number, {"text": "a"}) for number in range(9)]
    assert len(records(Table("f", ("text",), rows), wanted, 4)) == 4


def test_a_wrong_column_lists_the_columns_and_the_nearest() -> None:
    with pytest.raises(DataError, match="no column 'label'") as caught:
        require_columns(["label"], ["text", "Labels"], "f.csv")
    assert caught.value.got == "columns 'text', 'Labels'"
    assert caught.value.hint == "did you mean 'Labels'?"


def test_another_delimiter_is_guessed() -> None:
    with pytest.raises(DataError) as caught:
        require_columns(["text"], ["id;review body;sentiment label"], "f.csv")
    assert "semicolons" in str(caught.value.hint)
