"""The mistakes about images that a prompt was the surest of, as thumbnails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuecard.evaluation.evaluate import Evaluation
from cuecard.images import thumbnail
from cuecard.plain_files import write_bytes
from cuecard.tasks.readers.tables import record_place
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Image, Prediction

COUNT = 12
COLUMNS = ("image", "truth", "answer", "probability", "file")
_SIDE = 96  # pixels of a thumbnail


@dataclass(frozen=True, slots=True)
class Mistake:
    """A wrong answer to an image.

    Attributes:
        image: what was asked about.
        gold, answer: the truth and the answer, as text.
        probability: how sure the answer was, see `certainty`.
        place: the image's file, or its row in one.
    """

    image: Image
    gold: str
    answer: str
    probability: float
    place: str

    def cells(self) -> tuple[str, ...]:
        """What stands beside the image in a table."""
        return self.gold, self.answer, f"{self.probability:.3f}", self.place


def surest_mistakes(spec: TaskSpec, found: Evaluation, count: int = COUNT) -> list[Mistake]:
    """The wrong labels of images with the highest probabilities; none for another task."""
    if spec.task_kind.tower != "vision" or not spec.task_kind.labelled:
        return []
    rows = zip(found.records, found.predictions, found.gold, found.correct, strict=True)
    mistakes = [
        Mistake(
            record.images[0],
            gold or "",
            prediction.answer,
            certainty(spec, prediction, gold or ""),
            record_place(record) or f"row {prediction.index + 1}",
        )
        for record, prediction, gold, correct in rows
        if not correct
    ]
    return sorted(mistakes, key=lambda mistake: -mistake.probability)[:count]


def certainty(spec: TaskSpec, prediction: Prediction, gold: str) -> float:
    """How sure a wrong answer is: the probability of the likeliest label that it has wrongly.

    Of an answer that only lacks labels, how unlikely the least likely of these was.
    """
    kind = spec.task_kind
    said, true = (set(kind.labels_of(spec, text)) for text in (prediction.answer, gold))
    shares: Mapping[str, float] = prediction.probabilities
    wrong = [shares[label] for label in said - true if label in shares]
    missed = [1.0 - shares[label] for label in true - said if label in shares]
    return max(wrong or missed, default=0.0)


def write_mistakes(
    mistakes: list[Mistake], folder: Path, within: str
) -> tuple[list[tuple[str, tuple[str, ...]]], list[dict[str, Any]]]:
    """Write the mistakes' thumbnails as PNGs, in place of those of an earlier report.

    Args:
        folder: the run's.
        within: the thumbnails' folder there.

    Returns:
        Each thumbnail's path from the run's folder with its cells, and the same as JSON knows it.
    """
    for old in (folder / within).glob("[0-9][0-9].png"):
        old.unlink()
    pictures, facts = [], []
    for number, mistake in enumerate(mistakes, 1):
        file = f"{within}/{number:02}.png"
        write_bytes(thumbnail(mistake.image, _SIDE), folder / file)
        pictures.append((file, mistake.cells()))
        told = {name: getattr(mistake, name) for name in ("gold", "answer", "probability", "place")}
        facts.append(told | {"thumbnail": file})
    return pictures, facts
