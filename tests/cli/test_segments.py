"""Images and masks from training to masks of new images, as a user does it; what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from cuecard.masks import bits_of_runs
from support.command_line import Call, save_rows, save_tiny
from support.data.reviews import reviews
from support.tiny_sam import blobs, save_blobs, save_sam
from support.tiny_vision import save_pictures, save_vision

KIND = ("--kind", "image-segmentation")
TRAIN = ("--backbone", "sam", "--length", 4, "--lr", 0.3, "--split-seed", 1)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segmentation model, a vision encoder, and folders of images and masks."""
    folder = tmp_path_factory.mktemp("home")
    save_sam(folder / "sam")
    save_vision(folder / "vit")
    save_blobs(folder / "blobs")
    return folder


def test_from_masks_to_masks(home: Path, cuecard: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    done = cuecard("train", "blobs", *KIND, *TRAIN, "--steps", 30, "--out", "run", "--json")
    assert done.code == 0, done.err
    report = json.loads((home / "run" / "report.json").read_text())
    assert {"majority", "no_prompt"} <= report.keys() and report["left_out"] == {}
    assert report["metric"] == "iou" and 0 <= report["prompt"]["iou"] <= 1
    assert "IoU" in (home / "run" / "report.md").read_text()
    prompt = json.loads((home / "run" / "prompt" / "prompt.json").read_text())
    assert prompt["method_config"]["init"] == "vocabulary" and "head" not in prompt
    size = sum(file.stat().st_size for file in (home / "run" / "prompt").iterdir())
    assert size < 20_000

    line = json.loads((home / "run" / "predictions.jsonl").read_text().splitlines()[0])
    assert {"iou", "dice"} <= line.keys() and "correct" not in line

    shown = cuecard("predict", "run", "blobs", "--masks-out", "masks", "--predictions-out", "said")
    assert shown.code == 0 and "40 answers in said and masks" in shown.out, shown.err
    said = [json.loads(text) for text in (home / "said").read_text().splitlines()]
    for row in said:
        bits = bits_of_runs(row["answer"])
        with PIL.Image.open(home / "masks" / Path(row["source"]).name) as drawn:
            assert drawn.mode == "1" and np.array_equal(np.asarray(drawn), bits)
        with PIL.Image.open(row["source"]) as image:
            assert bits.shape == image.size[::-1] and row["area"] == bits.sum()
    told = cuecard("predict", "run", "blobs/images/3.png").out
    assert f"{said[23]['area']:,} of " in told and said[23]["source"] == "blobs/images/3.png"

    scored = cuecard("eval", "run", "blobs", "--json").json
    assert set(scored["ci95"]) >= {"iou", "dice"}
    assert cuecard("inspect", "run").code == 0
    bare = cuecard("eval", "run", "blobs", "--no-prompt", "--json")
    named = cuecard("eval", "run", "blobs", "--labels", "a,b")
    assert named.code == 2 and "a prompt of kind image-segmentation" in named.err
    assert bare.code == 0 and bare.json["metrics"]["iou"] != scored["metrics"]["iou"]
    again = cuecard("predict", "run", "blobs", "--masks-out", "masks")
    assert again.code == 2 and "not empty" in again.err


def test_points_and_boxes_of_a_table(
    home: Path, cuecard: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    rows = [
        {"image": f"blobs/images/{n}.png", "mask": f"blobs/masks/{n}.png", **record.texts}
        | {"image": f"blobs/images/{n}.png"}
        for n, record in enumerate(blobs(12))
    ]
    save_rows(home / "blobs.csv", rows)
    template = ("--template", "{image} {points} {boxes}")
    done = cuecard(
        "train", "blobs.csv", *KIND, *TRAIN, *template, "--steps", 2, "--out", "pointed", "--json"
    )
    assert done.code == 0, done.err
    asked = ("predict", "pointed", "blobs/images/0.png", "--field", "points=[[4, 4]]")
    assert cuecard(*asked, "--field", "boxes=[2, 2, 20, 20]").code == 0
    save_rows(home / "out.csv", [{**rows[0], "points": "[[99, 3]]"}, *rows[1:]])
    far = cuecard("train", "out.csv", *KIND, *TRAIN, *template, "--out", "far")
    assert far.code == 2 and "a point is not in its image" in far.err and "row 2" in far.err
    save_rows(home / "odd.csv", [{**rows[0], "boxes": "[[9, 9, 3, 3]]"}, *rows[1:]])
    odd = cuecard("train", "odd.csv", *KIND, *TRAIN, *template, "--out", "odd")
    assert odd.code == 2 and "the boxes cannot be read" in odd.err and "row 2" in odd.err
    assert not (home / "far").exists() and not (home / "odd").exists()


def test_what_does_not_go_together(
    home: Path, cuecard: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each has its message and exit code 2, and leaves nothing."""
    monkeypatch.chdir(home)
    reviewed = [{"text": r.text("text"), "label": str(r.target)} for r in reviews(40)]
    save_rows(tmp_path / "texts.csv", reviewed)
    save_tiny(tmp_path / "llama")
    save_pictures(tmp_path / "pictures", 20)
    save_blobs(tmp_path / "lost", 6)
    (tmp_path / "lost" / "masks" / "3.png").unlink()
    save_blobs(tmp_path / "classes", 20)
    many = np.arange(24 * 32, dtype=np.uint8).reshape(24, 32) % 5
    for number in range(0, 20, 2):  # as large as these are
        PIL.Image.fromarray(many).save(tmp_path / "classes" / "masks" / f"{number}.png")
    save_blobs(tmp_path / "sizes", 6)
    PIL.Image.new("L", (24, 32)).save(tmp_path / "sizes" / "masks" / "4.png")
    save_blobs(tmp_path / "broken", 6)
    (tmp_path / "broken" / "masks" / "5.png").write_bytes(b"no image")
    sam, segments = ("--backbone", "sam"), (*KIND, "--backbone", "sam")
    for words, message in (
        ((tmp_path / "texts.csv", *sam), "does not read texts"),
        ((tmp_path / "pictures", "--kind", "image-classification", *sam), "give states of images"),
        (("blobs", *KIND, "--backbone", "vit"), "does not find parts of images"),
        (("blobs", *KIND, "--backbone", tmp_path / "llama"), "does not find parts of images"),
        (("blobs", *segments, "--method", "deep-prompts"), "does not take layer-tokens"),
        (("blobs", *segments, "--slot", "suffix"), "one place for a prompt"),
        (("blobs", *segments, "--set", "method.text=a cat"), "reads no texts"),
        (("blobs", *segments, "--template", "a {image}"), "words beside the image"),
        (("blobs", *segments, "--quantize", "int8"), "not quantised"),
        ((tmp_path / "pictures", *segments), "there is no folder of images"),
        (("blobs", *segments, "--set", "task.mask_class=5"), "has the part to find"),
        ((tmp_path / "lost", *segments), "1 of 6 images have no mask"),
        ((tmp_path / "classes", *segments), "the mask has more than one class"),
        ((tmp_path / "sizes", *segments), "the mask is not as large as its image"),
        ((tmp_path / "broken", *segments), "the file is not an image"),
    ):
        done = cuecard("train", *words, "--steps", 2, "--out", tmp_path / "out")
        assert done.code == 2 and message in done.err, (message, done.err)
        assert not (tmp_path / "out").exists()
    adapter = cuecard("lora", "blobs", *segments, "--steps", 2, "--out", tmp_path / "out")
    assert adapter.code == 2 and "takes no adapter" in adapter.err
    one = ("--set", "task.mask_class=3", "--steps", 2, "--no-compare", "--out", tmp_path / "one")
    assert cuecard("train", tmp_path / "classes", *segments, *one).code == 0
