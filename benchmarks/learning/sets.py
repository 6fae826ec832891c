"""The sets that learning is measured on: labels, texts, and those in a folder of one's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.methods.sets import SETS, Rows, draw_task, read_task
from cuecard.names import data_source
from cuecard.tasks import Task, draw_rows

VALIDATION, TEST = 200, 400
# Answers are written token by token, and cost some ten times what labels do.
_WRITTEN = 200
_TOKENS = 160


@dataclass(frozen=True)
class LearningSet:
    """A task, and by what its test rows are scored.

    Attributes:
        metric: one of its evaluation's metrics.
    """

    name: str
    task: Task
    metric: str


@dataclass(frozen=True)
class _Texts:
    """A set of texts to write."""

    source: str
    template: str
    metric: str
    max_new_tokens: int


TEXTS = {
    "headlines": _Texts("bbc-news/headlines", "Article: {text}\nHeadline:", "rouge_l", 16),
}
NAMES = (*SETS, *TEXTS)


def named_sets(names: Sequence[str], rows: int, seed: int) -> Iterator[LearningSet]:
    """Sets of the catalogue with a seed's own training rows."""
    for name in names:
        if name in TEXTS:
            chosen = TEXTS[name]
            task = Task.from_file(
                data_source(chosen.source),
                kind="text-to-text",
                template=chosen.template,
                max_length=_TOKENS,
                max_new_tokens=chosen.max_new_tokens,
                split=(0.6, 0.15, 0.25),
            )
            yield LearningSet(name, _drawn(task, rows, seed), chosen.metric)
        else:
            sizes = Rows(train=rows, validation=VALIDATION, test=TEST, tokens=_TOKENS)
            task = draw_task(read_task(SETS[name], sizes), sizes, seed)
            yield LearningSet(name, task, task.spec.task_kind.metric)


def sets_in(folder: Path, names: Sequence[str], rows: int, seed: int) -> Iterator[LearningSet]:
    """Sets of folders with train, val and test.csv: a column "label", or texts in a "target".

    Args:
        names: those wanted; all of them if there are none.
    """
    for own in sorted(path for path in folder.iterdir() if path.is_dir()):
        if names and own.name not in names:
            continue
        files = {part: own / f"{part}.csv" for part in ("val", "test")}
        fields = (own / "train.csv").read_text("utf-8").split("\n", 1)[0].strip().split(",")
        target = "target" if "target" in fields else "label"
        asked = [f"{field.capitalize()}: {{{field}}}" for field in fields if field != target]
        task = Task.from_file(
            own / "train.csv",
            validation=files["val"],
            test=files["test"],
            kind="text-to-text" if target == "target" else "classification",
            label_field=target,
            template="\n".join([*asked, f"{'Answer' if target == 'target' else 'Label'}:"]),
            max_length=_TOKENS,
        )
        yield LearningSet(own.name, _drawn(task, rows, seed), task.spec.task_kind.metric)


def _drawn(task: Task, rows: int, seed: int) -> Task:
    test = _WRITTEN if task.spec.kind == "text-to-text" else TEST
    return replace(
        task,
        train=draw_rows(task.train, rows, f"learning {seed}"),
        validation=draw_rows(task.validation, VALIDATION, "learning"),
        test=draw_rows(task.test, test, "learning"),
    )
