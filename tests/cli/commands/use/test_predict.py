"""`cuecard predict`: texts, files, fields; answers for people and machines."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import cuecard as library
from support.command_line import Call
from support.workbooks import save_workbook


def feed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


@pytest.fixture(scope="session")
def expected(run: Path, backbone: Path) -> Any:
    """What the library answers."""
    model = library.load_backbone(backbone)
    prompt = library.Prompt.load(run / "prompt", model)
    records = [library.Record({"text": text}, None) for text in ("good fine", "bad\tpoor")]
    return library.answer(model, prompt, records)


def test_texts(cuecard: Call, run: Path, expected: Any) -> None:
    done = cuecard("predict", run, "good fine", "bad\tpoor")
    assert (done.code, done.err) == (0, "")
    first, second = (line.split("\t") for line in done.out.splitlines())
    assert first == [
        expected[0].answer,
        f"{expected[0].probabilities[expected[0].answer]:.3f}",
        "good fine",
    ]
    assert second[2] == "bad poor"  # a tab in a text does not make a column


def test_workbooks_and_compressed_files(
    cuecard: Call, run: Path, expected: Any, tmp_path: Path
) -> None:
    texts = ["good fine", "bad\tpoor"]
    book = save_workbook(tmp_path / "rows.xlsx", {"S": [["review"], *([text] for text in texts)]})
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress("\n".join(["review", *texts]).encode()))
    (tmp_path / "rows.txt.xz").write_bytes(lzma.compress("\n".join(texts).encode()))
    for file in (book, tmp_path / "rows.csv.gz", tmp_path / "rows.txt.xz"):
        told = cuecard("predict", run, "--file", file, "--json").json["predictions"]
        assert [row["answer"] for row in told] == [answer.answer for answer in expected]


def test_code_beside_a_backbone_is_neither_run_nor_asked_about(
    cuecard: Call, run: Path, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows on standard input must not be taken for an answer."""
    other = Path(shutil.copytree(backbone, tmp_path / "other"))
    config = json.loads((other / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig"}}
    (other / "config.json").write_text(json.dumps(config))
    (other / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    feed(monkeypatch, b"yes\ny\n")
    done = cuecard("predict", run, "--backbone", other, "--file", "-", "--json")
    assert done.code == 2 and done.json["error"] == "BackboneError"
    assert "own.OwnConfig" in done.json["got"]
    assert not (tmp_path / "ran").exists()


def test_json(cuecard: Call, run: Path, expected: Any) -> None:
    found = cuecard("predict", run, "good fine", "bad\tpoor", "--json").json
    assert found["digest"] == library.Prompt.load(run / "prompt").digest
    for row, prediction in zip(found["predictions"], expected, strict=True):
        assert row["answer"] == prediction.answer
        assert row["probabilities"] == pytest.approx(dict(prediction.probabilities))
        assert row["scores"] == pytest.approx(dict(prediction.scores))
    assert found["predictions"][1]["fields"] == {"text": "bad\tpoor"}


def test_on_a_terminal_a_table(
    cuecard: Call, run: Path, monkeypatch: pytest.MonkeyPatch, expected: Any
) -> None:
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    shown = cuecard("predict", run, "good [bold]fine").out
    assert "probability" in shown
    assert "good [bold]fine" in shown  # a text is not markup


def test_the_prompts_own_folder(cuecard: Call, run: Path) -> None:
    by_run, by_prompt = (
        cuecard("predict", place, "good", "--json").json for place in (run, run / "prompt")
    )
    assert by_run == by_prompt


def test_a_prompt_alone_does_not_choose_what_is_opened(
    cuecard: Call, run: Path, backbone: Path, tmp_path: Path
) -> None:
    alone = shutil.copytree(run / "prompt", tmp_path / "alone")
    done = cuecard("predict", alone, "good")
    assert done.code == 2 and done.out == ""
    assert "names from a file are not followed" in done.err and "--backbone" in done.err
    given = cuecard("predict", alone, "good", "--backbone", backbone)
    assert given.code == 0 and given.out == cuecard("predict", run, "good").out


def test_a_data_file(cuecard: Call, run: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "answers.jsonl"
    words = ("--file", data, "--limit", 60, "--predictions-out", out)
    done = cuecard("predict", run, *words)  # its text column is known from the run
    assert done.code == 0 and done.out == f"60 answers in {out}\n"
    assert "Answering: 100%" in done.err
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["row"] for row in rows] == list(range(2, 62))
    assert rows[0]["source"] == str(data)
    assert rows[0]["answer"] in rows[0]["probabilities"]


def test_lines_of_text(
    cuecard: Call, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "texts.txt"
    path.write_bytes(b"good\r\nbad, poor\r\n")
    by_file = cuecard("predict", run, "--file", path)
    feed(monkeypatch, b"good\nbad, poor")
    by_input = cuecard("predict", run, "--file", "-")
    assert by_file.out == by_input.out == cuecard("predict", run, "good", "bad, poor").out
    assert by_file.out.count("\n") == 2


@pytest.mark.parametrize(
    ("fed", "message"),
    [
        (b"good\n\nbad", "standard input, row 2"),
        (b"good\nb\xff", "byte 0xff at offset 6"),
        (b"", "there are no rows"),
        (b"go\0od", "NUL"),
    ],
)
def test_lines_that_cannot_be_used(
    cuecard: Call, run: Path, monkeypatch: pytest.MonkeyPatch, fed: bytes, message: str
) -> None:
    feed(monkeypatch, fed)
    done = cuecard("predict", run, "--file", "-")
    assert done.code == 2 and message in done.err and done.out == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "there is nothing to answer"),
        (("",), "the text is empty"),
        (("good", "--file", "x.csv"), "texts and a file"),
        (("--file", "nowhere.csv"), "there is no such file"),
        (("good", "--field", "txt=bad"), "did you mean 'text'?"),
        (("good", "--field", "text"), "not of the form NAME=VALUE"),
        (("good", "--field", "text=bad"), "a text needs exactly one"),
        (("good", "--field", "text=a", "--field", "text=b"), "a name given twice"),
        (("good", "--predictions-out", "."), "no file can be written here"),
        (("good", "--backbone", "smollm2-135m-instrukt"), "did you mean smollm2-135m-instruct?"),
        (("good", "--device", "toaster"), "this device cannot be used"),
    ],
)
def test_mistakes(cuecard: Call, run: Path, words: tuple[str, ...], message: str) -> None:
    done = cuecard("predict", run, *words)
    assert done.code == 2
    assert message in done.err
    assert done.out == "" and "Traceback" not in done.err


def test_a_mistake_as_json(cuecard: Call, run: Path) -> None:
    done = cuecard("predict", run, "--json")
    assert done.code == 2
    assert done.json["error"] == "ConfigError" and done.err == ""


def test_fields_by_name(cuecard: Call, run: Path) -> None:
    by_name = cuecard("predict", run, "--field", "text=good fine")
    assert by_name.out == cuecard("predict", run, "good fine").out


def test_no_prompt_there(cuecard: Call, tmp_path: Path, run: Path) -> None:
    assert "no such prompt folder" in cuecard("predict", tmp_path / "none", "good").err
    started = tmp_path / "started"
    started.mkdir()
    shutil.copy(run / "recipe.yaml", started)
    done = cuecard("predict", started, "good")
    assert done.code == 2 and f"--resume {started}" in done.err


def test_shards_joined_are_the_whole(
    cuecard: Call, run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows, their order and answers alike; probabilities up to rounding, as batches differ."""
    out = tmp_path / "answers.jsonl"
    words = ("predict", run, "--batch-rows", 4, "--dtype", "fp32", "--predictions-out", out)

    def rows(*more: object, fed: bytes = b"") -> list[dict[str, Any]]:
        feed(monkeypatch, fed)
        done = cuecard(*words, *more)
        assert done.code == 0, done.err
        return [json.loads(line) for line in out.read_text().splitlines()]

    for given, fed in (
        (("--file", data, "--limit", 11), b""),
        (("--file", "-"), b"good\nbad, poor\nfine good\n"),
        (("good", "bad, poor", "fine good"), b""),
    ):
        whole = rows(*given, fed=fed)
        for count in (2, 4, 5):
            shards = [rows(*given, "--shard", f"{i}/{count}", fed=fed) for i in range(count)]
            joined = [row for shard in shards for row in shard]
            for name in ("row", "source", "fields", "answer"):
                assert [row[name] for row in joined] == [row[name] for row in whole]
            assert [row["probabilities"] for row in joined] == [
                pytest.approx(row["probabilities"], abs=1e-5) for row in whole
            ]


def test_a_shard_without_rows_leaves_an_empty_file(
    cuecard: Call, run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "answers.jsonl"
    done = cuecard("predict", run, "good", "--shard", "0/2", "--predictions-out", out)
    assert (done.code, done.out) == (0, f"0 answers in {out}\n") and out.read_text() == ""
    assert cuecard("predict", run, "good", "--shard", "0/2", "--json").json["predictions"] == []
    assert cuecard("predict", run, "good", "--shard", "0/2").out == ""
    assert "INDEX/COUNT" in cuecard("predict", run, "good", "--shard", "2/2").err
