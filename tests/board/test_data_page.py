from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from board.conftest import MakeClient
from cuecard.board.records.form import filled_in, form_fields
from cuecard.cli.recipe_flags import TRAIN
from cuecard.errors import ConfigError

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the board is started."""
    place = tmp_path / "work"
    (place / "more").mkdir(parents=True)
    monkeypatch.chdir(place)
    rows = [
        {"text": f"a film of {n} words {'more ' * (n % 7)}", "label": ("good", "bad")[n % 2]}
        for n in range(60)
    ]
    rows += [rows[0], {"text": rows[1]["text"], "label": "good"}]
    (place / "reviews.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (place / "more" / "broken.jsonl").write_text('{"text": "a", "label": "x"}\n{"text": 1}\n')
    return place


def looked_at(client: MakeClient, folder: Path, **fields: str) -> Any:
    query = urlencode({key.replace("_", ".", 1): text for key, text in fields.items()})
    board = client(folder / "runs")
    page = board.get(f"/data?{query}")
    found = board.get(f"/data?{query}&format=json")
    assert page.status_code == found.status_code
    return page, found.json()


def test_files_are_listed(client: MakeClient, folder: Path) -> None:
    (folder / ".hidden.csv").write_text("x")
    (folder / "away.csv").symlink_to("/etc/passwd")
    page, found = looked_at(client, folder)
    assert found["files"] == ["reviews.jsonl", "more/broken.jsonl"]
    assert page.status_code == 200 and "/data?data.path=reviews.jsonl" in page.text


def test_what_a_training_would_see(client: MakeClient, folder: Path) -> None:
    page, found = looked_at(
        client, folder, data_path="reviews.jsonl", task_template="Film: {text}\nIt is"
    )
    shown = found["preview"]
    assert page.status_code == 200
    assert sum(shown["rows"].values()) + sum(shown["dropped"].values()) == 62
    assert shown["conflicts"][0] == 1
    assert sum(shown["labels"]["good"].values()) + sum(shown["labels"]["bad"].values()) == sum(
        shown["rows"].values()
    )
    assert sum(rows for _, _, rows in shown["lengths"]) == shown["rows"]["train"]
    assert len(shown["shown"]) == 20
    assert shown["shown"][0]["rendered"].startswith("Film: a film of")
    assert "Film: a film of" in page.text


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"data_path": "more/broken.jsonl"}, "row 2"),
        ({"data_path": "reviews.jsonl", "data_text_field": "body"}, "body"),
        ({"data_path": "reviews.jsonl", "task_kind": "nonsense"}, "nonsense"),
        ({"data_path": "reviews.jsonl", "data_limit": "many"}, "whole number"),
        ({"data_path": "reviews.jsonl", "data_nothing": "1"}, "cannot be used"),
        ({"data_path": "/etc/passwd"}, "no such file below"),
        ({"data_path": "../secret.csv"}, "no such file below"),
        ({"data_path": "away/passwd"}, "no such file below"),
        ({"data_path": "reviews.jsonl", "data_test": "/etc/passwd"}, "no such file below"),
        ({"data_path": "reviews.jsonl", "data_test": "/etc/passwd"}, '"where": "data.test"'),
        ({"data_path": "a\x00b"}, "no such file below"),
        ({"data_path": "x" * 5000}, "no such file below"),
        ({"data_path": HOSTILE}, "no such file below"),
    ],
)
def test_what_is_refused(
    fields: dict[str, str], said: str, client: MakeClient, folder: Path
) -> None:
    (folder.parent / "secret.csv").write_text("text,label\na,b\n")
    (folder / "away").symlink_to("/etc")
    page, found = looked_at(client, folder, **fields)
    assert page.status_code == 400 and found["preview"] is None
    assert said in json.dumps(found["error"])
    assert "<script>alert" not in page.text and "\x1b" not in page.text


def test_hostile_texts(client: MakeClient, folder: Path) -> None:
    rows = [{"text": f"{HOSTILE} {n}", "label": ("good", HOSTILE)[n % 2]} for n in range(40)]
    name = f"{HOSTILE[:25].replace('/', '')}.jsonl"
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / os.fsdecode(b"caf\xe9.csv")).write_text("text,label\n")
    page, found = looked_at(client, folder, data_path=name)
    assert page.status_code == 200 and HOSTILE in found["preview"]["labels"]
    assert "<script>alert" not in page.text and "\u202e" not in page.text


def test_every_flag_has_a_field() -> None:
    fields = {field.key: field for field in form_fields(TRAIN.names)}
    assert fields.keys() == TRAIN.names.keys()
    assert fields["data.path"].default == "" and fields["data.path"].help
    assert fields["method.name"].choices[:2] == ("auto", "prompt-tuning")
    assert (fields["training.steps"].widget, fields["training.steps"].default) == ("number", "300")
    assert fields["task.chat"].choices == ("true", "false")
    assert fields["task.template"].widget == fields["task.words"].widget == "area"
    assert fields["dtype"].choices


def test_texts_as_a_recipes_values() -> None:
    given = {
        "data.path": " a.csv ",
        "data.text_field": " ",
        "task.labels": "no, yes",
        "task.words": "no=bad\r\nyes = good",
        "task.template": "a\r\nb {text} ",
    }
    assert filled_in(given, TRAIN.names) == {
        "data": {"path": "a.csv"},
        "task": {
            "labels": ["no", "yes"],
            "words": {"no": "bad", "yes": "good"},
            "template": "a\nb {text} ",
        },
    }
    with pytest.raises(ConfigError, match="cannot be used"):
        filled_in({"data.shell": "x"}, TRAIN.names)
