"""What every cell of the benchmark is run with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeAlias

from benchmarks.compile.texts import TEXTS, LongText, TextSizes
from benchmarks.methods.sets import Rows
from benchmarks.workers import short_key
from cuecard import TrainConfig
from cuecard.types import Backbone

Load: TypeAlias = Callable[[str], Backbone]
"""Loads a model by its name, once in a process."""


@dataclass(frozen=True)
class Plan:
    """What every cell is run with.

    Attributes:
        into: the lengths that texts are compiled into.
        length: of a trained and of a ported prompt.
        sizes: of the texts.
        rows: of the sets that prompts are trained on with labels.
        unlabelled: inputs that a port learns from.
        folder: where another policy is; "" for the one that is made.
        data: a file instead of each set's own source.
    """

    steps: int
    batch: int
    into: tuple[int, ...]
    length: int
    unlabelled: int
    sizes: TextSizes = field(default_factory=TextSizes)
    rows: Rows = field(default_factory=Rows)
    folder: str = ""
    data: str = ""

    @property
    def key(self) -> str:
        """Names the folder: cells of another plan are not taken for this one's."""
        return short_key(asdict(self))

    @property
    def config(self) -> TrainConfig:
        """How each is trained."""
        return TrainConfig(
            steps=self.steps,
            warmup=min(10, max(1, self.steps // 5)),
            batch_rows=self.batch,
            eval_every=max(1, self.steps // 4),
        )

    def text(self, name: str) -> LongText:
        """One of the long texts."""
        return TEXTS[name](self.sizes, self.folder if name == "policy" else self.data)

    def place(self, folder: Path, *parts: str) -> Path:
        """A result's file."""
        *above, last = (part.replace(" ", "-") for part in parts)
        return folder.joinpath(self.key, *above) / f"{last}.json"
