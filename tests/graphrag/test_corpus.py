"""Every kind of file that GraphRAG reads becomes texts, and what does not is listed."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cuecard.errors import ConfigError, DataError
from cuecard.graphrag.corpus import CorpusFormat, read_corpus


def put(folder: Path, **files: str | bytes) -> Path:
    """Files by name, their dots written as underscores."""
    for name, content in files.items():
        stem, _, ending = name.rpartition("_")
        path = folder / f"{stem}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def test_every_kind_of_file_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    put(
        tmp_path,
        b_txt="plain",
        a_md="# a heading",
        c_csv='id,text\n1,first\n2,"second, with\na break"\n',
        d_json=json.dumps([{"text": "third"}, {"text": "fourth"}]),
        e_json=json.dumps({"text": "fifth"}),
        f_jsonl='{"text": "sixth"}\r\n\n{"text": "seventh", "note": "\u2028"}\n',
    )
    pq.write_table(pa.table({"text": ["eighth"], "title": ["t"]}), tmp_path / "g.parquet")
    found = read_corpus(tmp_path)
    assert [(each.name, each.text) for each in found.texts] == [
        ("a.md", "# a heading"),
        ("b.txt", "plain"),
        ("c.csv, row 1", "first"),
        ("c.csv, row 2", "second, with\na break"),
        ("d.json, row 1", "third"),
        ("d.json, row 2", "fourth"),
        ("e.json", "fifth"),
        ("f.jsonl, row 1", "sixth"),
        ("f.jsonl, row 2", "seventh"),
        ("g.parquet", "eighth"),
    ]
    assert found.skipped == ()
    assert found.texts[-1].fields["title"] == "t"
    assert read_corpus(tmp_path / "b.txt").texts[0].name == "b.txt"


def test_what_is_left_out_is_listed_with_its_reason(tmp_path: Path) -> None:
    put(
        tmp_path,
        good_txt="\ufeffthe only text",
        empty_txt="",
        blank_md=" \n\t",
        binary_txt=b"PK\x00\x01",
        latin_txt="caf\u00e9".encode("latin-1"),
        broken_json="{",
        broken_jsonl='{"text": "a"}\n{',
        broken_csv='text\n"never closed\n',
        broken_parquet=b"PAR1 no",
        picture_png=b"\x89PNG",
        number_json=json.dumps([{"text": 7}, {"other": "x"}, "bare", {"text": " "}]),
    )
    put(tmp_path / ".hidden", x_txt="not seen")
    found = read_corpus(tmp_path)
    assert [each.text for each in found.texts] == ["the only text"]
    reasons = {each.name: each.reason for each in found.skipped}
    assert set(reasons) == {
        *("empty.txt", "blank.md", "binary.txt", "latin.txt", "broken.json", "broken.jsonl"),
        *("broken.csv", "broken.parquet", "picture.png"),
        *(f"number.json, row {number}" for number in (1, 2, 3, 4)),
    }
    assert reasons["binary.txt"] == "a binary file"
    assert "line 2" in reasons["broken.jsonl"]
    assert "columns: other" in reasons["number.json, row 2"]


def test_columns_patterns_and_encodings_are_those_of_the_settings(tmp_path: Path) -> None:
    put(
        tmp_path,
        a_json=json.dumps({"doc": {"body": "nested"}}),
        b_txt="caf\u00e9".encode("latin-1"),
    )
    how = CorpusFormat(text_column="doc.body", encoding="latin-1")
    assert [each.text for each in read_corpus(tmp_path, how).texts] == ["nested", "caf\u00e9"]
    only = CorpusFormat(text_column="doc.body", pattern=r".*\.json$")
    assert [each.name for each in read_corpus(tmp_path, only).texts] == ["a.json"]
    with pytest.raises(ConfigError, match="regular expression"):
        read_corpus(tmp_path, CorpusFormat(pattern="("))


def test_no_text_is_an_error_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such corpus"):
        read_corpus(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no text"):
        read_corpus(tmp_path)
    put(tmp_path, empty_txt="")
    with pytest.raises(DataError, match=r"empty\.txt: empty"):
        read_corpus(tmp_path)


def test_the_digest_is_of_all_texts(tmp_path: Path) -> None:
    one = read_corpus(put(tmp_path / "one", a_txt="ab", b_txt="c")).digest
    assert one == read_corpus(put(tmp_path / "two", x_txt="ab", y_txt="c")).digest
    assert one != read_corpus(put(tmp_path / "three", a_txt="a", b_txt="bc")).digest
