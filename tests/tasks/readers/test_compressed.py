"""Compressed files are read as what they hold, with the same rows and the same refusals."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest

from cuecard.errors import DataError
from cuecard.runs.recipe import Recipe
from cuecard.tasks.readers.compressed import COMPRESSED, data_stem, data_suffix
from cuecard.tasks.readers.plain_lines import is_plain, read_lines
from cuecard.tasks.readers.records import read_records


def zstd(content: bytes) -> bytes:
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


WRITE: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd,
}
FILES = {
    "rows.csv": 'text,label\n"a\nb",x\nc,y\n',
    "rows.tsv": "text\tlabel\na\tx\nc\ty\n",
    "rows.JSONL": '{"text": "a", "label": "x"}\n\n{"text": "c", "label": "y"}\n',
    "rows.json": '[{"text": "a", "label": "x"}, {"text": "c", "label": "y"}]',
}


def test_every_form_is_written_here() -> None:
    assert WRITE.keys() == COMPRESSED.keys()


@pytest.mark.parametrize("ending", WRITE)
@pytest.mark.parametrize("name", FILES)
def test_rows_are_those_of_the_plain_file(name: str, ending: str, tmp_path: Path) -> None:
    plain, packed = tmp_path / name, tmp_path / (name + ending)
    plain.write_text(FILES[name])
    packed.write_bytes(WRITE[ending](plain.read_bytes()))
    expected, found = (
        read_records(path, fields=["text"], target_field="label") for path in (plain, packed)
    )
    told = [(r.fields, r.target, r.row) for r in found]
    assert told == [(r.fields, r.target, r.row) for r in expected]
    assert {r.source for r in found} == {str(packed)}


@pytest.mark.parametrize("ending", WRITE)
def test_damage_is_named(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows.csv{ending}"
    whole = WRITE[ending](FILES["rows.csv"].encode() * 50)
    changed = [] if ending == ".zst" else [whole[:20] + b"\0" * 9 + whole[29:]]  # no checksum
    for content in (b"text,label\na,x\n", whole[:-9], *changed):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"cannot be read") as told:
            read_records(path, fields=["text"], target_field="label")
        assert told.value.where == str(path)


def test_a_row_is_named_as_in_the_plain_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(gzip.compress(b"text,label\na,x\nb\n"))
    with pytest.raises(DataError, match="a malformed row") as told:
        read_records(path, fields=["text"], target_field="label")
    assert told.value.where == f"{path}, row 3"


def test_plain_lines(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt.gz"
    path.write_bytes(gzip.compress(b"a\nb\n"))
    assert is_plain(path) and [r.text("text") for r in read_lines(path, "text")] == ["a", "b"]


def test_names() -> None:
    assert data_suffix("x/rows.CSV.GZ") == data_suffix("rows.csv") == ".csv"
    assert data_suffix("rows.gz") == "" and data_stem("x/my.rows.csv.gz") == "my.rows"
    recipe = Recipe.parse({"data": {"path": "data/tickets.csv.gz"}})
    assert recipe.folder == Path("runs/tickets")
