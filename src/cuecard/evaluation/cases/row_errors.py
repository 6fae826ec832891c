"""The rows of a run worth looking at: wrong, unsure, and probably mislabelled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cuecard.evaluation.cases.case import UNSURE, Case
from cuecard.evaluation.cases.label_issues import LabelIssue, find_label_issues
from cuecard.evaluation.pictures.mistakes import certainty
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Prediction

# Where answers are near or far: what says how far, and whether more of it is farther.
_DISTANCES = {"mae": 1.0, "iou": -1.0}
# With more wrong answers than this share, a prompt's word against a label is worth little.
_TRUSTED = 0.4


@dataclass(frozen=True, slots=True)
class RowFinding:
    """A row that is in one or more of the lists.

    Attributes:
        case: the row and what was answered.
        certainty: how sure a wrong answer is, from 0 to 1, see `certainty`; None for a right one
            and where answers have no probabilities.
        unsure: whether the next label is nearly as probable.
        issue: why its label is probably wrong; None if it is not.
    """

    case: Case
    certainty: float | None
    unsure: bool
    issue: LabelIssue | None

    def to_dict(self) -> dict[str, Any]:
        """The row as JSON knows it."""
        case, issue = self.case, self.issue
        told: dict[str, Any] = {
            "source": case.source,
            "row": case.row,
            "gold": case.gold,
            "answer": case.answer,
            "correct": case.correct,
            "probability": case.probability,
            "gold_probability": case.probabilities.get(case.gold),
            "margin": case.margin,
            "suggested": None if issue is None else issue.suggested,
        }
        return told | dict(case.values) | {"fields": dict(case.fields)}


@dataclass(frozen=True, slots=True)
class RowErrors:
    """What is wrong with some rows, or with the answers to them.

    Attributes:
        rows: how many there are.
        wrong: wrong answers, the most confident first; numbers and masks, the farthest first.
        unsure: answers whose probability is hardly above the next label's, the least sure first;
            None for tasks without such probabilities.
        mislabelled: rows whose own label is probably wrong, the most certain first; None for tasks
            without one label for each row.
        noise: the estimated share of wrong labels; None with `mislabelled`.
        by_degree: whether answers are near or far, so that `wrong` has all of them.
    """

    rows: int
    wrong: tuple[RowFinding, ...]
    unsure: tuple[RowFinding, ...] | None
    mislabelled: tuple[RowFinding, ...] | None
    noise: float | None
    by_degree: bool

    @property
    def note(self) -> str | None:
        """What to mind about the labels that are listed as wrong, in a sentence."""
        if not self.mislabelled or len(self.wrong) <= _TRUSTED * self.rows:
            return None
        return (
            f"{len(self.wrong) / self.rows:.0%} of the answers are wrong: the list of mislabelled "
            "rows says more about the prompt than about the labels"
        )

    def shown(self, limit: int | None = None) -> list[RowFinding]:
        """The rows of all lists, each once: wrong ones first, then mislabelled, then unsure.

        Args:
            limit: the most rows of each list; None for all.
        """
        lists = (self.wrong, self.mislabelled or (), self.unsure or ())
        return list({id(found.case): found for some in lists for found in some[:limit]}.values())

    def to_dict(self, limit: int | None = None) -> dict[str, Any]:
        """Everything as JSON knows it; `limit` as in `shown`."""

        def told(found: Sequence[RowFinding] | None) -> list[dict[str, Any]] | None:
            return None if found is None else [each.to_dict() for each in found[:limit]]

        return {
            "rows": self.rows,
            "wrong": told(self.wrong),
            "unsure": told(self.unsure),
            "mislabelled": told(self.mislabelled),
            "label_noise": self.noise,
            "note": self.note,
        }


def find_row_errors(spec: TaskSpec, sources: Sequence[Sequence[Case]]) -> RowErrors:
    """Sort out the rows of one or more files of answers.

    Args:
        spec: the task that was answered.
        sources: the cases of each file. What is usual in one is not compared with another: answers
            to training rows are surer than those to test rows.
    """
    one_label = spec.task_kind.single_label
    has_margin = one_label or spec.mode == "options"
    findings: list[RowFinding] = []
    expected = 0.0
    for cases in sources:
        issues: Mapping[int, LabelIssue] = {}
        if one_label:
            issues, noise = _issues(spec, cases)
            expected += noise * len(cases)
        findings += [_finding(spec, n, case, has_margin, issues) for n, case in enumerate(cases)]
    by_degree = all(found.case.correct is None for found in findings)
    rows = len(findings)
    return RowErrors(
        rows=rows,
        wrong=_farthest(findings) if by_degree else _surest(findings),
        unsure=_least_sure(findings) if has_margin else None,
        mislabelled=_mislabelled(findings) if one_label else None,
        noise=expected / rows if one_label and rows else None,
        by_degree=by_degree,
    )


def _issues(spec: TaskSpec, cases: Sequence[Case]) -> tuple[Mapping[int, LabelIssue], float]:
    """The label issues of a file by their places in it, and its share of wrong labels."""
    known = [n for n, case in enumerate(cases) if case.gold in spec.labels and case.probabilities]
    found = find_label_issues(
        spec.labels,
        [cases[n].gold for n in known],
        [cases[n].probabilities for n in known],
    )
    return {known[issue.row]: issue for issue in found.found}, found.noise


def _finding(
    spec: TaskSpec, number: int, case: Case, has_margin: bool, issues: Mapping[int, LabelIssue]
) -> RowFinding:
    sure = None
    if case.correct is False and case.probabilities:
        answer = Prediction(number, case.answer, {}, case.probabilities)
        sure = certainty(spec, answer, case.gold)
    unsure = has_margin and case.margin is not None and case.margin < UNSURE
    return RowFinding(case, sure, unsure, issues.get(number))


def _surest(findings: Sequence[RowFinding]) -> tuple[RowFinding, ...]:
    wrong = [found for found in findings if found.case.correct is False]
    return tuple(sorted(wrong, key=lambda found: -(found.certainty or 0.0)))


def _farthest(findings: Sequence[RowFinding]) -> tuple[RowFinding, ...]:
    def distance(found: RowFinding) -> float:
        return sum(sign * found.case.values.get(name, 0.0) for name, sign in _DISTANCES.items())

    return tuple(sorted(findings, key=lambda found: -distance(found)))


def _least_sure(findings: Sequence[RowFinding]) -> tuple[RowFinding, ...]:
    unsure = [found for found in findings if found.unsure]
    return tuple(sorted(unsure, key=lambda found: found.case.margin or 0.0))


def _mislabelled(findings: Sequence[RowFinding]) -> tuple[RowFinding, ...]:
    suspects = [(found.issue.margin, found) for found in findings if found.issue is not None]
    return tuple(found for _, found in sorted(suspects, key=lambda pair: -pair[0]))
