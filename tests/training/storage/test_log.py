from __future__ import annotations

from pathlib import Path

import pytest

from cuecard.evaluation.cases.case import read_predictions
from cuecard.training.storage.log import RunLog, read_log

# What `str.splitlines` takes for a line's end, and JSON does not escape.
ENDS = "a\u2028b\u2029c\x85d"


def test_texts_that_hold_line_ends(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    log.write("start", note=ENDS)
    log.write("done", step=1)
    assert read_log(tmp_path) == [{"event": "start", "note": ENDS}, {"event": "done", "step": 1}]


@pytest.mark.parametrize("rest", [b'{"event": "st', b"\xff\xfe\n", b""])
def test_what_is_whole_is_read(tmp_path: Path, rest: bytes) -> None:
    (tmp_path / "log.jsonl").write_bytes(b'{"event": "start"}\n' + rest)
    assert read_log(tmp_path) == [{"event": "start"}]


def test_predictions_with_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    path.write_text(f'{{"answer": "{ENDS}"}}\n{{"answer": "b"}}\n', encoding="utf-8")
    assert read_predictions(path) == [{"answer": ENDS}, {"answer": "b"}]
