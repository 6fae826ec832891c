"""Rows that are wrong, unsure or probably mislabelled: as tables and as CSV."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console

from cuecard.cli.views.tables import print_table, say
from cuecard.comparison.table_files import Value, as_csv
from cuecard.evaluation.cases.case import Case
from cuecard.evaluation.cases.row_errors import RowErrors, RowFinding
from cuecard.tasks.readers.tables import place
from cuecard.validation_text import counted
from cuecard.visible import cut

_LONGEST = 100  # characters of a text in a table
_FACTS = ("source", "row", "gold", "answer", "probability", "gold_probability", "suggested")
_LISTS = ("wrong", "unsure", "mislabelled")


def print_errors(found: RowErrors, run: str, limit: int, out: Console) -> None:
    """A line of counts, and a table of each list.

    Args:
        run: what the rows are of.
        limit: the most rows of a table.
    """
    say(out, f"{run}: {_counts(found)}")
    if found.note is not None:
        say(out, found.note)
    _table(out, _heading(found), found.wrong, limit, _WRONG if not found.by_degree else _FAR)
    _table(out, "Unsure, the least sure first", found.unsure or (), limit, _WRONG)
    title = "Probably mislabelled, the most certain first"
    _table(out, title, found.mislabelled or (), limit, _SUSPECT)


def errors_csv(found: RowErrors, limit: int | None = None) -> str:
    """A line per row of any list, with 1 in the columns of the lists that it is in.

    Args:
        limit: the most rows of each list; None for all.
    """
    chosen = found.shown(limit)
    fields = list(dict.fromkeys(name for each in chosen for name in each.case.fields))
    names = {name: name if name not in (*_FACTS, *_LISTS) else f"field_{name}" for name in fields}
    return as_csv(
        (*_LISTS, *_FACTS, *names.values()), [_csv_cells(each, fields) for each in chosen]
    )


def _csv_cells(found: RowFinding, fields: Sequence[str]) -> list[Value]:
    told = found.to_dict()
    lists = (found.case.correct is False, found.unsure, found.issue is not None)
    texts = [found.case.fields.get(name, "") for name in fields]
    return [*map(int, lists), *(told[name] for name in _FACTS), *texts]


def _counts(found: RowErrors) -> str:
    told = [counted(found.rows, "row")]
    if not found.by_degree:
        share = len(found.wrong) / found.rows if found.rows else 0.0
        told.append(f"{len(found.wrong):,} wrong ({share:.1%})")
    if found.unsure is not None:
        told.append(f"{len(found.unsure):,} unsure")
    if found.mislabelled is not None:
        noise = (
            f" (about {found.noise:.1%} of the labels)"
            if found.noise and found.note is None
            else ""
        )
        told.append(f"{len(found.mislabelled):,} probably mislabelled{noise}")
    return ", ".join(told)


def _heading(found: RowErrors) -> str:
    return "Farthest off" if found.by_degree else "Wrong, the most confident first"


_Column = tuple[str, Callable[[RowFinding], str]]


def _table(
    out: Console,
    title: str,
    findings: Sequence[RowFinding],
    limit: int,
    columns: Sequence[_Column],
) -> None:
    if not findings:
        return
    shown = findings[:limit]
    more = f" ({limit:,} of {len(findings):,})" if len(findings) > limit else ""
    say(out)
    rows = [tuple(cell(each) for _, cell in columns) for each in shown]
    left = ("truth", "answer", "suggested", "text")
    print_table(out, [name for name, _ in columns], rows, left=left, title=f"{title}{more}")


def _where(found: RowFinding) -> str:
    case = found.case
    return place(case.source.rpartition("/")[2], case.row) if case.source else f"row {case.number}"


def _text(found: RowFinding) -> str:
    text = " ".join(" | ".join(filter(None, found.case.fields.values())).split())
    return cut(text, _LONGEST)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _gold_share(case: Case) -> float | None:
    return case.probabilities.get(case.gold)


def _values(found: RowFinding) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in found.case.values.items())


_ROW: _Column = ("row", _where)
_TRUTH: _Column = ("truth", lambda found: found.case.gold)
_ANSWER: _Column = ("answer", lambda found: found.case.answer)
_TEXT: _Column = ("text", _text)
_WRONG: tuple[_Column, ...] = (
    _ROW,
    _TRUTH,
    _ANSWER,
    ("probability", lambda found: _number(found.case.probability or found.certainty)),
    ("of truth", lambda found: _number(_gold_share(found.case))),
    _TEXT,
)
_FAR: tuple[_Column, ...] = (_ROW, _TRUTH, _ANSWER, ("off", _values), _TEXT)


def _suggested(found: RowFinding) -> str:
    return "" if found.issue is None else found.issue.suggested


_SUSPECT: tuple[_Column, ...] = (
    _ROW,
    ("label", _TRUTH[1]),
    ("suggested", _suggested),
    ("probability", lambda found: _number(found.case.probabilities.get(_suggested(found)))),
    ("of label", lambda found: _number(_gold_share(found.case))),
    _TEXT,
)
