"""What a search for a prompt to start from led to: a table, and a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from cuecard.evaluation.report import markdown_cells, markdown_text, write_json
from cuecard.plain_files import write_text
from cuecard.validation_text import counted

EVENT = "transfer"
"""The event of a run's log that has its fields."""

USUAL = "none"
"""What the start without a saved prompt is called."""

JSON, MARKDOWN = "transfer.json", "transfer.md"
COLUMNS = ("start", "cosine", "loss untrained", "accuracy", "loss trained", "accuracy trained")


@dataclass(frozen=True, slots=True)
class TriedStart:
    """A start, on validation rows.

    Attributes:
        name: the saved prompt's; "none" for the usual start.
        untrained_loss, untrained_accuracy: before any training, on some of the rows.
        cosine: of its mean vector and that of the usual start once that is trained (SPoT's
            similarity of tasks); None for the usual start.
        loss, accuracy: at its best step of the search; None for one that was not trained.
        diverged: whether its training did.
    """

    name: str
    untrained_loss: float
    untrained_accuracy: float | None
    cosine: float | None = None
    loss: float | None = None
    accuracy: float | None = None
    diverged: bool = False

    def cells(self) -> tuple[str, ...]:
        """As text, one string per column."""
        trained = _shown(self.loss, 4), _shown(self.accuracy, 3)
        return (
            self.name,
            _shown(self.cosine, 3),
            _shown(self.untrained_loss, 4),
            _shown(self.untrained_accuracy, 3),
            *(("diverged", "-") if self.diverged else trained),
        )


@dataclass(frozen=True)
class TransferFound:
    """The starts that were tried, and which one is taken.

    Attributes:
        starts: the usual start, then the saved prompts by how they did.
        chosen: the name of the one that is taken: the best on validation rows, of equals the usual.
        steps: optimiser steps of each that was trained.
        rows: validation rows of their comparison.
        best: the name of the best saved prompt; None where none was trained to an end.
        metric: what it is compared with the usual start by; empty without a comparison.
        saved, usual: the values of both.
        ci95: the paired 95% interval of `saved` - `usual`; None where the rows do not give one.
        left_out: saved prompts that could not be tried, and why.
    """

    starts: tuple[TriedStart, ...]
    chosen: str
    steps: int
    rows: int
    best: str | None = None
    metric: str = ""
    saved: float | None = None
    usual: float | None = None
    ci95: tuple[float, float] | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_dict(cls, values: Mapping[str, Any]) -> Self:
        """From what `asdict` or JSON made of it."""
        starts = tuple(TriedStart(**start) for start in values["starts"])
        interval = values["ci95"]
        ci95 = None if interval is None else tuple(interval)
        return cls(**{**values, "starts": starts, "ci95": ci95})

    @property
    def helps(self) -> bool:
        """Whether a saved prompt is clearly better than the usual start."""
        return self.chosen != USUAL and self.ci95 is not None and self.ci95[0] > 0

    @property
    def text(self) -> str:
        """The verdict in a sentence or two."""
        if len(self.starts) == 1:
            return "Nothing in the library can be started from: the usual start is taken."
        if self.saved is None or self.usual is None:
            what = "the usual start" if self.chosen == USUAL else self.chosen
            return f"Not compared, since a training diverged: {what} is taken."
        interval = "no interval"
        if self.ci95 is not None:
            interval = f"95% interval {self.ci95[0]:+.3f} to {self.ci95[1]:+.3f}"
        seen = (
            f"after {counted(self.steps, 'step')} {self.best} has {self.metric} {self.saved:.3f} "
            f"on {counted(self.rows, 'validation row')}, the usual start {self.usual:.3f} "
            f"({self.saved - self.usual:+.3f}, {interval})"
        )
        if self.helps:
            return f"{self.chosen} helps, and is taken: {seen}."
        if self.chosen == USUAL:
            return f"Nothing in the library helps: {seen}. The usual start is taken."
        return f"{self.chosen} is taken, but nothing in the library clearly helps: {seen}."

    @property
    def rows_of_table(self) -> list[tuple[str, ...]]:
        """The cells of each start."""
        return [start.cells() for start in self.starts]

    def write(self, folder: Path) -> None:
        """Leave `transfer.json` and `transfer.md` in a folder.

        Raises:
            FileError: they cannot be written.
        """
        write_json({**asdict(self), "verdict": self.text}, folder / JSON)
        table = markdown_cells(self.rows_of_table, columns=COLUMNS, numbers=False)
        out = [f"- Left out: {markdown_text(f'{n}: {why}')}" for n, why in self.left_out.items()]
        text = [f"# {markdown_text(folder.name)}", "", table, f"- {markdown_text(self.text)}"]
        write_text("\n".join([*text, *out, ""]), folder / MARKDOWN)


def _shown(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
