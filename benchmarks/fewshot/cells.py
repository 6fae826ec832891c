"""One contestant on one set with one seed's few rows: its rate chosen, trained, tested once."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.fewshot.contestants import CONTESTANTS, Entry, Outcome, Starts
from benchmarks.search.sets import ShotRows, Sizes, catalogue_rows, shot_rows
from benchmarks.workers import short_key
from cuecard import TrainConfig
from cuecard.errors import ConfigError, TrainingError
from cuecard.evaluation.report import plain, write_json
from cuecard.training.storage.log import Observer
from cuecard.types import Backbone

_VALIDATIONS = 2  # beside the start's


@dataclass(frozen=True)
class Plan:
    """What every cell is run with.

    Attributes:
        encoder: makes the sentence embeddings.
        place: the folder of the sets, or a file; "" for those of the catalogue.
        tests: where the test rows of a folder's sets are; "" for the folder.
        first: the seed whose rows choose the rates.
        unlabelled: rows without labels, for those that read them.
    """

    backbone: str
    encoder: str
    steps: int
    batch: int
    first: int
    unlabelled: int
    place: str = ""
    tests: str = ""
    starts: Starts = field(default_factory=Starts)
    sizes: Sizes = field(default_factory=Sizes)

    @property
    def key(self) -> str:
        """Names the folder: cells of another plan are not taken for this one's.

        What prompts start from is named in the files of those alone that start from it.
        """
        return short_key({name: value for name, value in asdict(self).items() if name != "starts"})

    def rows(self, name: str, seed: int) -> ShotRows:
        """A set with a seed's rows.

        Raises:
            ConfigError: a folder's files do not have as many of each label.
        """
        place = Path(self.place) if self.place else None
        if place is not None and place.is_dir():
            tests = Path(self.tests) if self.tests else None
            found = shot_rows(place, name, seed, self.sizes, tests)
            counts = {*Counter(record.target for record in found.task.train).values()}
            if counts != {self.sizes.shots}:
                raise ConfigError(
                    "the set's files have their own number of rows a label",
                    where=f"--shots, {place / name / str(seed)}",
                    got=self.sizes.shots,
                    expected=", ".join(map(str, sorted(counts))),
                )
            return found
        return catalogue_rows(name, seed, self.sizes, self.place or None)

    def config(self, seed: int) -> TrainConfig:
        """How each is trained, without its rate."""
        return TrainConfig(
            steps=self.steps,
            warmup=min(10, max(1, self.steps // 5)),
            batch_rows=self.batch,
            eval_every=math.ceil(self.steps / _VALIDATIONS),
            seed=seed,
        )


@dataclass(frozen=True)
class Cell:
    """A set, a contestant and a seed."""

    plan: Plan
    set: str
    contestant: str
    seed: int

    def file(self, folder: Path) -> Path:
        """Where its result goes."""
        name = self.contestant.replace(", ", "-").replace(" + ", "-")
        start = self.plan.starts.of(self.contestant)
        name += f"-{short_key(start)}" if start else ""
        return folder / self.plan.key / self.set / f"{name.replace(' ', '-')}-{self.seed}.json"

    @property
    def others(self) -> list[Cell]:
        """The cells one of which it is; none where it trains by itself."""
        return [
            Cell(self.plan, self.set, name, self.seed)
            for name in CONTESTANTS[self.contestant].one_of
        ]

    @property
    def before(self) -> Cell | None:
        """The cell that chooses its rate; None where it needs none, or chooses itself."""
        one = CONTESTANTS[self.contestant]
        if one.rate_of:
            return Cell(self.plan, self.set, one.rate_of, self.plan.first)
        if one.rates and self.seed != self.plan.first:
            return Cell(self.plan, self.set, self.contestant, self.plan.first)
        return None

    def ready(self, folder: Path) -> bool:
        """Whether the ones before have their results."""
        before = [*self.others, *([] if self.before is None else [self.before])]
        return all(cell.file(folder).exists() for cell in before)


def run_cell(
    cell: Cell, backbone: Backbone, encoder: Callable[[], Backbone], folder: Path, tell: Observer
) -> dict[str, Any]:
    """The cell's result, written to its file."""
    began, plan = time.process_time(), cell.plan
    rows = plan.rows(cell.set, cell.seed)
    entry = Entry(
        backbone, encoder, rows, plan.config(cell.seed), plan.starts, plan.unlabelled, tell
    )
    found = {"set": cell.set, "contestant": cell.contestant, "seed": cell.seed}
    try:
        found |= _run(cell, entry, folder)
    except ConfigError as error:  # what this backbone cannot take
        found["unsupported"] = str(error)
    found["spent_s"] = time.process_time() - began
    write_json(plain(found), cell.file(folder))
    return found


def _run(cell: Cell, entry: Entry, folder: Path) -> dict[str, Any]:
    if cell.others:
        return _one_of(cell, folder)
    rates = CONTESTANTS[cell.contestant].rates or (0.0,)
    if cell.before is not None:
        chosen = json.loads(cell.before.file(folder).read_text())
        if "unsupported" in chosen:
            return {"unsupported": chosen["unsupported"]}
        rates = (chosen["rate"],)
    rate, outcome, losses = _best(cell, entry, rates)
    task = entry.rows.task
    right = [
        each.answer == task.spec.label_of(record)
        for each, record in zip(outcome.test(), task.test, strict=True)
    ]
    return {
        "rate": rate,
        "losses": losses,
        "validation": outcome.accuracy,
        "test": sum(right) / len(right),
        "right": "".join(str(int(value)) for value in right),
        "trained": outcome.trained,
        "cpu_s": outcome.cpu_s,
        "note": outcome.note,
    }


def _one_of(cell: Cell, folder: Path) -> dict[str, Any]:
    """The one with the best validation, of equals the first; all of them were trained for it."""
    every = [json.loads(other.file(folder).read_text()) for other in cell.others]
    there = [found for found in every if "unsupported" not in found]
    if not there:
        return {"unsupported": every[0]["unsupported"]}
    best = max(there, key=lambda found: float(found["validation"]))
    spent = sum(found["cpu_s"] for found in there)
    own = {"set": cell.set, "contestant": cell.contestant, "seed": cell.seed}
    return {**best, **own, "cpu_s": spent, "note": best["contestant"]}


def _best(
    cell: Cell, entry: Entry, rates: tuple[float, ...]
) -> tuple[float, Outcome, dict[str, float | None]]:
    """The rate with the lowest validation loss, what it came to, and every rate's loss.

    Raises:
        TrainingError: it diverged at all of them.
    """
    run = CONTESTANTS[cell.contestant].run
    assert run is not None
    best: tuple[float, Outcome] | None = None
    losses: dict[str, float | None] = {}
    for rate in rates:
        try:
            found = run(entry, rate)
        except TrainingError:
            losses[f"{rate:g}"] = None
            continue
        losses[f"{rate:g}"] = found.loss
        if best is None or found.loss < best[1].loss:
            best = rate, found
    if best is None:
        raise TrainingError("the training diverged at every rate", where=str(cell), got=rates)
    return *best, losses
