"""What a person should know of a task's data before training, and of its run after it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

from cuecard.metrics.intervals import proportion_interval
from cuecard.tasks import SplitReport, Task, TaskSpec
from cuecard.validation_text import first_of

FEW_TEST_ROWS = 50
"""On fewer test rows the interval of a good accuracy is wider than 0.2."""

_NUMBER = re.compile(r"[+-]?[\d.,]+")
_USUAL = 0.85
_POINTS = 100  # of 1
# Of six rows that two prompts disagree on, all in favour of one: 2 * 0.5**6 is below 5%.
_LEAST_APART = 6


def advice(task: Task) -> tuple[str, ...]:
    """What was done to the rows, and what to mind: groups, removed rows, few rows, labels."""
    found = [_removed(task.report), task.report.grouping, few_shots(task.report)]
    found += [
        few_rows(len(task.test), right_or_wrong=task.spec.task_kind.right_or_wrong),
        _numeric(task.spec),
        _missing(task),
    ]
    return tuple(sentence for sentence in found if sentence)


def few_rows(rows: int, *, right_or_wrong: bool = True) -> str:
    """That so many test rows are few; empty where they are many, or none.

    Args:
        right_or_wrong: whether the task's answers are: then it says how wide an interval is.
    """
    if not 0 < rows < FEW_TEST_ROWS:
        return ""
    rows_are = "1 test row is" if rows == 1 else f"{rows} test rows are"
    advised = "use more rows, or a test file of their own"
    if not right_or_wrong:
        return f"{rows_are} few: intervals over them are wide; {advised}"
    right = round(_USUAL * rows)
    wide = proportion_interval(right, rows)
    return (
        f"{rows_are} few: {right} right of {rows} has the 95% interval {wide.low:.2f} to "
        f"{wide.high:.2f}, and {_least_difference(rows)}; {advised}"
    )


def few_shots(report: SplitReport) -> str:
    """What a few-shot draw can show, and what it cannot; empty for a task of all rows."""
    if not report.shots:
        return ""
    chosen, tested = report.rows["validation"], report.rows["test"]
    known = f"; on {chosen:,} validation rows {_least_difference(chosen)}"
    if tested >= FEW_TEST_ROWS:
        found = detectable(tested)
        known += (
            f"; {tested:,} test rows tell two prompts apart that disagree on a fifth of them and "
            f"differ by {_POINTS * found:.1f} points, four times in five"
        )
    return f"{report.shots}{known}"


def detectable(rows: int, disagreed: float = 0.2) -> float:
    """The difference of two accuracies on the same rows that a 5% test finds with a power of 80%.

    McNemar's test by its normal approximation, see Miettinen, "The matched pairs design in the case
    of all-or-none responses", Biometrics 24(2), 1968, with the variance under no difference.

    Args:
        disagreed: the share of rows of which one of the two is right and the other is not.

    Returns:
        From 0 to 1; what is above `disagreed` cannot occur.
    """
    normal = NormalDist()
    return (normal.inv_cdf(0.975) + normal.inv_cdf(0.8)) * math.sqrt(disagreed / rows)


def _least_difference(rows: int) -> str:
    """From what difference on two prompts can be told apart at all (sign test, two-sided)."""
    if rows < _LEAST_APART:
        return "no difference between two prompts can be shown on them"
    return (
        f"two prompts that differ by less than {_LEAST_APART} of them "
        f"({_POINTS * _LEAST_APART / rows:.1f} points) cannot be told apart"
    )


# What a trained prompt should beat, by its key in a comparison's report.
_RIVALS = {"tfidf": "TF-IDF", "linear_probe": "a linear probe", "start": "its own start"}


def unbeaten(report: Mapping[str, Any]) -> str:
    """What a trained prompt should be better than by more than noise, and is not; empty for none.

    Args:
        report: a comparison's: "gain_KEY" and "gain_KEY_ci95", a paired 95% interval, of each that
            took part.
    """
    intervals = {key: report.get(f"gain_{key}_ci95") for key in _RIVALS}
    names = [_RIVALS[key] for key, found in intervals.items() if found and not found.low > 0]
    return " or ".join(names)


def _removed(report: SplitReport) -> str:
    counts: Mapping[str, int] = {
        "repeated in training": report.repeated_in_train,
        "of training that are in validation or test": report.train_in_held_out,
        "of validation that are in the test": report.validation_in_test,
    }
    parts = [f"{count:,} {what}" for what, count in counts.items() if count]
    removed = f"removed rows: {', '.join(parts)}" if parts else ""
    if not report.conflicting:
        return removed
    texts = "1 text has" if report.conflicting == 1 else f"{report.conflicting:,} texts have"
    more = f"{texts} more than one label, such as {report.conflict_examples[0]}"
    return f"{removed}; {more}" if removed else more


def _missing(task: Task) -> str:
    """Labels of training rows that no validation row has, though there are as many as labels."""
    spec = task.spec
    if not spec.labels or len(task.validation) < len(spec.labels):
        return ""
    train, validation = (
        {label for row in rows for label in spec.task_kind.labels_of(spec, row.target or "")}
        for rows in (task.train, task.validation)
    )
    missing = [repr(x) for x in spec.labels if x in train and x not in validation]
    if not missing:
        return ""
    which, them = ("label", "it") if len(missing) == 1 else ("labels", "them")
    return (
        f"no validation row has the {which} {first_of(missing, 4)}: nothing that is chosen on "
        f"these rows looks at {them}; use more rows, or other ones"
    )


def _numeric(spec: TaskSpec) -> str:
    """Labels that are numbers, said as numbers."""
    if spec.mode != "labels":
        return ""
    bare = [x for x in spec.labels if _NUMBER.fullmatch(spec.words.get(x, x).strip())]
    if not bare:
        return ""
    return (
        f"the labels {first_of(bare, 4)} are numbers, which tell the model nothing: name a word "
        f"for each, such as --word {bare[0]}=negative"
    )
