from __future__ import annotations

import io
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image as Pillow

from board.conftest import MakeClient
from cuecard.runs.recipe import Recipe
from support.board_runs import answer, save_run
from support.tiny_vision import save_pictures

IMAGE = re.compile(r'<img src="(/images/[0-9a-f]{64})"')
RECIPE = {"data": {"path": "pictures"}, "task": {"kind": "image-classification"}}


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run on pictures, which lie in the working directory."""
    monkeypatch.chdir(tmp_path)
    save_pictures(tmp_path / "pictures", 40)
    task = Recipe.parse(RECIPE).read_task()
    rows = [
        answer("", str(record.target), str(record.target)) | {"fields": dict(record.texts)}
        for record in task.test
    ]
    assert len(rows) > 1
    kind = {"kind": "image-classification"}
    save_run(tmp_path / "runs" / "shapes", rows, data="pictures", task=kind)
    return tmp_path


def test_rows_have_their_pictures(client: MakeClient, pictures: Path) -> None:
    board = client(pictures / "runs")
    first = client(pictures / "runs")
    places = IMAGE.findall(board.get("/runs/shapes/rows").text)
    rows = board.get("/runs/shapes/rows?format=json").json()["rows"]
    assert [f"sha256:{place[8:]}" for place in places] == [r["fields"]["image"] for r in rows]
    found = board.get(places[0])
    assert found.headers["content-type"] == "image/png"
    assert max(Pillow.open(io.BytesIO(found.content)).size) <= 96
    # What no page has shown cannot be had, whoever knows its digest.
    assert first.get(places[0]).status_code == 404


def test_data_that_are_gone(client: MakeClient, pictures: Path) -> None:
    shutil.rmtree(pictures / "pictures")
    page = client(pictures / "runs").get("/runs/shapes/rows")
    assert page.status_code == 200 and not IMAGE.search(page.text)


def test_a_preview_has_pictures(client: MakeClient, pictures: Path) -> None:
    board = client(pictures / "runs")
    asked = {"data.path": "pictures", "task.kind": "image-classification"}
    places = IMAGE.findall(board.get("/data", params=asked).text)
    assert len(places) == 20
    assert board.get(places[-1]).status_code == 200


@pytest.mark.parametrize("digest", ["0" * 64, "x", "%2e%2e%2fsecret"])
def test_other_digests(digest: str, client: MakeClient, pictures: Path) -> None:
    assert client(pictures / "runs").get(f"/images/{digest}").status_code == 404


def test_a_text_that_looks_like_a_digest(client: MakeClient, tmp_path: Path) -> None:
    text = f"sha256:{'0' * 64}"
    save_run(tmp_path / "runs" / "odd", [answer(text, "positive", "positive")])
    page = client(tmp_path / "runs").get("/runs/odd/rows")
    assert page.status_code == 200 and text in page.text and not IMAGE.search(page.text)
