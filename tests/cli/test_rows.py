"""Texts and files as records of templates with several fields."""

from __future__ import annotations

from pathlib import Path

import pytest

from cuecard.cli.rows import columns_for, file_rows, labelled_rows, typed_rows
from cuecard.errors import ConfigError
from cuecard.tasks import TaskSpec

SPEC = TaskSpec(
    kind="classification",
    template="Premise: {premise}\nClaim: {claim}\nFollows:",
    labels=("yes", "no"),
)


def test_a_text_stands_for_the_field_that_is_left() -> None:
    first, second = typed_rows(SPEC, ["a", "b"], {"premise": "p"})
    assert first.fields == {"premise": "p", "claim": "a"}
    assert second.fields == {"premise": "p", "claim": "b"}
    (both,) = typed_rows(SPEC, [], {"premise": "p", "claim": "c"})
    assert both.fields == {"premise": "p", "claim": "c"}


def test_a_text_cannot_stand_for_two_fields() -> None:
    with pytest.raises(ConfigError, match="premise, claim"):
        typed_rows(SPEC, ["a"], {})


def test_a_file_with_one_field_for_all_rows(tmp_path: Path) -> None:
    path = tmp_path / "claims.csv"
    path.write_text("claim\nfirst\nsecond\n")
    rows = file_rows(SPEC, str(path), {"premise": "p"}, text_field=None, split=None, limit=None)
    assert [row.fields for row in rows] == [
        {"premise": "p", "claim": "first"},
        {"premise": "p", "claim": "second"},
    ]
    assert rows[1].row == 3


def test_lines_cannot_stand_for_two_fields(tmp_path: Path) -> None:
    path = tmp_path / "claims.txt"
    path.write_text("first\n")
    with pytest.raises(ConfigError, match="a line needs exactly one"):
        file_rows(SPEC, str(path), {}, text_field=None, split=None, limit=None)


def test_labelled_rows_by_column(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("message,team\nit broke,yes\nit works,no\n")
    spec = TaskSpec(kind="classification", template="{text}\nLabel:", labels=("yes", "no"))
    (row,) = labelled_rows(
        spec, path, text_field="message", label_field="team", split=None, limit=1
    )
    assert (row.fields, row.target) == ({"text": "it broke"}, "yes")


def test_the_text_column() -> None:
    assert columns_for(("text", "title"), "message") == {"text": "message"}
    assert columns_for(("title",), "message") == {"title": "message"}
    assert columns_for(("title",), None) == {}
    with pytest.raises(ConfigError, match="reads the columns premise, claim"):
        columns_for(SPEC.field_names, "message")
