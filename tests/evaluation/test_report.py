import html
import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from markdown_it import MarkdownIt

from cuecard.errors import FileError
from cuecard.evaluation.report import (
    ReportRow,
    columns_for,
    markdown_table,
    markdown_text,
    plain,
    write_json,
    write_markdown,
)
from cuecard.plain_files import write_text
from cuecard.tasks.kinds import KINDS
from cuecard.types import Interval

COLUMNS = columns_for(KINDS["classification"].headings)
ROWS = [
    ReportRow("majority [all]", 0.5, 1 / 3, Interval(0.48, 0.52), 0, 0, None, None),
    ReportRow("soft | prompt", 0.875, 0.8749, None, 23, 46080, 61.26, 12.345),
]


def test_markdown_table_by_hand():
    head, *lines = markdown_table(ROWS, columns=COLUMNS).splitlines()
    names = (
        "prompt | accuracy | macro-F1 | 95% interval | prompt tokens/request | bytes/task "
        "| fit CPU-s | test s"
    )
    assert head == f"| {names} |"
    assert lines == [
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        r"| majority \[all\] | 0.500 | 0.333 | 0.480 - 0.520 | 0 | 0 | - | - |",
        r"| soft \| prompt | 0.875 | 0.875 | - | 23 | 46,080 | 61.3 | 12.3 |",
    ]


def test_every_kind_names_its_metrics_in_the_table():
    for kind in KINDS.values():
        head = markdown_table(ROWS, columns=columns_for(kind.headings)).splitlines()[0]
        assert head.startswith(f"| prompt | {' | '.join(kind.headings)} | 95% interval |")


def test_json_round_trip(tmp_path):
    report = {
        "gain": Interval(0.1, 0.2),
        "row": ROWS[1],
        "array": np.arange(3),
        "scalar": np.float32(0.5),
        "nan": float("nan"),
        "path": Path("runs") / "demo",
        "flags": (True, None),
        7: "é",
    }
    loaded = json.loads(write_json(report, tmp_path / "deep" / "report.json").read_text("utf-8"))
    assert loaded["gain"] == [0.1, 0.2]
    assert loaded["row"]["prompt_tokens"] == 23
    assert loaded["array"] == [0, 1, 2]
    assert loaded["scalar"] == 0.5
    assert loaded["nan"] is None
    assert loaded["path"] == str(Path("runs") / "demo")
    assert loaded["flags"] == [True, None]
    assert loaded["7"] == "é"


def test_markdown_report(tmp_path):
    path = write_markdown(
        tmp_path / "report.md",
        title="Run",
        rows=ROWS,
        columns=COLUMNS,
        notes=["2,000 test rows"],
        figures={"loss over steps": "loss.png"},
    )
    text = path.read_text("utf-8")
    assert text.startswith("# Run\n\n| prompt |")
    assert "\n- 2,000 test rows\n" in text
    assert text.endswith("![loss over steps](loss.png)\n")


def test_a_failed_write_leaves_the_old_report_and_nothing_else(tmp_path, monkeypatch):
    path = write_text("old", tmp_path / "report.md")

    def broken(source, target):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(FileError, match="disk full"):
        write_text("new", path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.md"]


def test_a_value_json_cannot_hold_writes_nothing(tmp_path):
    with pytest.raises(TypeError):
        write_json({"x": object()}, tmp_path / "report.json")
    assert list(tmp_path.iterdir()) == []


def test_the_file_has_ordinary_permissions(tmp_path):
    ordinary = tmp_path / "ordinary"
    ordinary.write_text("x")
    written = write_text("x", tmp_path / "report.md")
    assert stat.S_IMODE(written.stat().st_mode) == stat.S_IMODE(ordinary.stat().st_mode)


def test_plain_keeps_what_is_plain():
    assert plain({"a": [1, 2.5, "x", False, None]}) == {"a": [1, 2.5, "x", False, None]}


@pytest.mark.parametrize(
    "text",
    [
        "a | b",
        "*bold* _it_ `code`",
        "<script>x</script>",
        "[a](http://b)",
        "# no title",
        "$x^2$",
        "&amp;",
    ],
)
def test_markdown_shows_a_users_text_as_it_is(text, tmp_path):
    shown = (
        MarkdownIt("commonmark")
        .enable("table")
        .render(
            write_markdown(
                tmp_path / "r.md",
                title=text,
                columns=COLUMNS,
                rows=[ReportRow(text, 0.5, 0.5, None, 0, 0, None, None)],
                notes=[text],
                figures={text: "a b.png"},
            ).read_text("utf-8")
        )
    )
    escaped = html.escape(text, quote=False)
    assert f"<h1>{escaped}</h1>" in shown
    assert f"<td>{escaped}</td>" in shown
    assert f"<li>{escaped}</li>" in shown
    assert 'src="a%20b.png"' in shown


def test_no_emoji_is_made_of_a_label():
    assert ":ladybug:" not in markdown_text("a :ladybug: label")
    assert markdown_text("at 10:30: two") == "at 10:<!-- -->30: two"
