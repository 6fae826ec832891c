from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuecard.errors import DataError, DataWarning
from cuecard.tasks.readers.delimited import read_delimited

Attempt = Callable[[Callable[[], Any]], Any]
Write = Callable[[str, str | bytes], Path]
CELLS = st.text(
    alphabet=st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=12
)


def test_rows_are_numbered_as_an_editor_shows_them(write: Write) -> None:
    path = write("a.csv", 'text,label\n"two\nlines",a\n\n"say ""hi"", you",b\nlast,c')
    table = read_delimited(path)
    assert table.columns == ("text", "label")
    assert list(table.rows) == [
        (2, {"text": "two\nlines", "label": "a"}),
        (5, {"text": 'say "hi", you', "label": "b"}),
        (6, {"text": "last", "label": "c"}),
    ]


def test_line_endings_and_tabs(write: Write) -> None:
    table = read_delimited(write("a.TSV", "text\tlabel\r\na, b\t1\r\n\r\nc\t2\r\n"))
    assert [(row, cells["text"]) for row, cells in table.rows] == [(2, "a, b"), (4, "c")]


@pytest.mark.parametrize(
    ("text", "row", "got"),
    [
        ("text,label\na,b\nbroken\n", 3, "1 cell"),
        ("text,label\na,b,c\n", 2, "3 cells"),
        ('text,label\na,b\n"open,c\nd,e\n', 3, "unexpected end of data"),
        ('text,label\n"a" b,c\n', 2, "',' expected after '\"'"),
        ('text,label\n"x\ny",1\n"z" z,2', 4, "',' expected after '\"'"),
    ],
)
def test_a_broken_row_is_an_error_at_its_first_line(
    write: Write, text: str, row: int, got: str
) -> None:
    path = write("a.csv", text)
    with pytest.raises(DataError, match="a malformed row") as caught:
        read_delimited(path)
    assert caught.value.where == f"{path}, row {row}"
    assert caught.value.got == got


def test_a_column_named_twice_is_refused(write: Write) -> None:
    with pytest.raises(DataError, match="named twice"):
        read_delimited(write("a.csv", "text,text \na,b\n"))


def test_long_cells_are_read_and_the_csv_modules_limit_is_put_back(write: Write) -> None:
    before = csv.field_size_limit()
    text = "😀 long " * 40_000
    table = read_delimited(write("a.csv", f'text,label\n"{text}",a\n'))
    assert [cells["text"] for _, cells in table.rows] == [text]
    assert csv.field_size_limit() == before


@settings(deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8))
def test_what_the_csv_module_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    writer.writerows([("text", "label"), *rows])
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_bytes(out.getvalue().encode("utf-8"))
    table = read_delimited(path)
    assert [(cells["text"], cells["label"]) for _, cells in table.rows] == rows


@settings(deadline=None)
@given(st.text(alphabet='ab,"\n\r;😀', max_size=40))
def test_any_text_is_whole_rows_or_an_error_with_a_row(
    tmp_path_factory: pytest.TempPathFactory, attempt: Attempt, text: str
) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_bytes(f"text,label\n{text}".encode())
    found = attempt(lambda: read_delimited(path))
    if isinstance(found, DataError):
        assert ", row " in str(found.where)
    else:
        assert all(set(cells) == {"text", "label"} for _, cells in found.rows)


def texts(path: Path) -> list[tuple[int, str]]:
    return [(row, cells["text"]) for row, cells in read_delimited(path).rows]


def test_a_stray_quote_in_a_tsv_file_joins_no_rows(write: Write) -> None:
    path = write("a.tsv", 'text\tlabel\n"cold soup\tfood\nslow lift"\thotel\n5" nails\ttools\n')
    with pytest.warns(DataWarning, match=r"a\.tsv, row 2: a double quote without"):
        found = texts(path)
    assert found == [(2, '"cold soup'), (3, 'slow lift"'), (4, '5" nails')]


def test_quoted_cells_of_spreadsheets_are_read_in_tsv_too(write: Write) -> None:
    path = write("a.tsv", 'text\tlabel\n"one\ttab"\ta\n"two\nlines"\tb\n"say ""hi"""\tc\n')
    assert texts(path) == [(2, "one\ttab"), (3, "two\nlines"), (5, 'say "hi"')]
    path = write("b.tsv", 'text\tlabel\n"say ""hi"""\ta\nplain\tb\n')
    assert texts(path) == [(2, 'say "hi"'), (3, "plain")]


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_a_quoted_cell_that_holds_rows_is_refused(write: Write, ending: str) -> None:
    mark = {"csv": ",", "tsv": "\t"}[ending]
    rows = [
        "id,text,label",
        '1,"cold soup,food',
        "2,slow lift,hotel",
        '3,noise",hotel',
        "4,x,food",
        "5,y,hotel",
    ]
    if ending == "tsv":
        rows.append('6,"a tab,inside",food')  # so that it is no plain file
    path = write(f"a.{ending}", "\n".join(rows).replace(",", mark))
    with pytest.raises(DataError, match="a quoted cell holds 3 rows") as caught:
        read_delimited(path)
    assert caught.value.where == f"{path}, rows 2 to 4"


def test_a_quoted_cell_that_may_hold_rows_is_told(write: Write) -> None:
    path = write("a.csv", 'text,answer\n"one, two\nthree",four\nfive,six\n')
    with pytest.warns(DataWarning, match="row 2: a quoted cell has 2 lines"):
        assert texts(path) == [(2, "one, two\nthree"), (4, "five")]


def test_one_column_has_the_quotes_of_csv(write: Write) -> None:
    assert texts(write("a.tsv", 'text\n"two\nlines"\nthree\n')) == [(2, "two\nlines"), (4, "three")]
