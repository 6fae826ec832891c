from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from markdown_it import MarkdownIt

from cuecard.evaluation.evaluate import Evaluation, score_predictions
from cuecard.evaluation.pictures.mistakes import COLUMNS, surest_mistakes, write_mistakes
from cuecard.evaluation.report import Pictures, write_markdown
from cuecard.images import from_array, thumbnail
from cuecard.tasks import TaskSpec
from cuecard.types import Prediction, Record

NASTY = "<b>|x]($y$)"
SPEC = TaskSpec(kind="image-classification", template="{image}", labels=("a", NASTY))


def answered(shares: list[float], *, source: str = "photos/*x*.png") -> Evaluation:
    """Rows that are all NASTY, answered with these probabilities of "a"."""
    image = from_array(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    records = [Record({"image": image}, NASTY, source, n) for n in range(1, len(shares) + 1)]
    predictions = [
        Prediction(n, "a" if p > 0.5 else NASTY, {}, {"a": p, NASTY: 1 - p})
        for n, p in enumerate(shares)
    ]
    return score_predictions(SPEC, records, predictions)


def test_the_surest_come_first() -> None:
    found = surest_mistakes(SPEC, answered([0.6, 0.9, 0.1, 0.8]), count=2)
    assert [(m.probability, m.gold, m.answer) for m in found] == [
        (0.9, NASTY, "a"),
        (0.8, NASTY, "a"),
    ]
    assert "row 2" in found[0].place
    assert surest_mistakes(SPEC, answered([0.1, 0.2])) == []


def test_texts_have_no_thumbnails() -> None:
    spec = TaskSpec(kind="classification", template="{text}", labels=("a", "b"))
    wrong = [Prediction(0, "a", {}, {"a": 0.9, "b": 0.1})]
    assert surest_mistakes(spec, score_predictions(spec, [Record({"text": "x"}, "b")], wrong)) == []


def test_thumbnails_in_the_report(tmp_path: Path) -> None:
    for shares in ([0.6, 0.9, 0.7], [0.8, 0.1, 0.1]):
        mistakes = surest_mistakes(SPEC, answered(shares))
        rows, facts = write_mistakes(mistakes, tmp_path, "figures/mistakes")
        files = sorted(p.name for p in (tmp_path / "figures/mistakes").iterdir())
        assert files == [f"{n:02}.png" for n in range(1, len(mistakes) + 1)]
        assert [fact["thumbnail"] for fact in facts] == [f"figures/mistakes/{f}" for f in files]
        write_markdown(
            tmp_path / "report.md", title="t", rows=(), columns=(),
            pictures=Pictures("Mistakes", COLUMNS, rows),
        )  # fmt: skip
    assert facts[0] | {"place": ""} == {
        "gold": NASTY, "answer": "a", "probability": 0.8, "place": "",
        "thumbnail": "figures/mistakes/01.png",
    }  # fmt: skip
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse((tmp_path / "report.md").read_text())
    cells = [token for token in tokens if token.type == "inline"][-5:]
    (picture,) = cells[0].children or ()
    assert picture.attrs["src"] == "figures/mistakes/01.png" and picture.type == "image"
    texts = ["".join(child.content for child in cell.children or ()) for cell in cells[1:]]
    assert texts[:3] == [NASTY, "a", "0.800"] and texts[3].startswith("photos/*x*.png")
    assert {child.type for cell in cells[1:] for child in cell.children or ()} <= {
        "text",
        "text_special",
    }


@pytest.mark.parametrize(
    ("size", "shown"), [((4, 4), (96, 96)), ((28, 20), (84, 60)), ((300, 60), (96, 19))]
)
def test_a_thumbnail(size: tuple[int, int], shown: tuple[int, int], tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3)).astype(np.uint8)
    (tmp_path / "x.png").write_bytes(thumbnail(from_array(pixels), 96))
    with PIL.Image.open(tmp_path / "x.png") as opened:
        assert opened.format == "PNG" and opened.size == shown
        times = shown[0] // size[0]
        if times > 1:
            np.testing.assert_array_equal(np.asarray(opened)[::times, ::times], pixels)
