"""What the tables in the docs have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

NOT_YET = "Not measured yet."


def contestants_table(
    rows: Sequence[Row], columns: Mapping[str, Callable[[Row], str]]
) -> list[str]:
    """A line per contestant: its score on every set, their mean, then columns of its own."""
    sets = list(dict.fromkeys(name for row in ran(rows) for name in row["sets"]))
    heads = [*sets, "mean", *columns]
    lines = [f"| contestant | {' | '.join(heads)} |", f"|---|{'---:|' * len(heads)}"]
    for row in rows:
        if "test" in row:
            own = [f"{row['sets'][name]:.3f}" if name in row["sets"] else "no" for name in sets]
            own += [mean_score(row), *(column(row) for column in columns.values())]
        else:
            own = ["no" for _ in sets] + ["-" for _ in heads[len(sets) :]]
        lines.append(f"| {' | '.join([row['contestant'], *own])} |")
    return lines


def ran(rows: Sequence[Row]) -> list[Row]:
    """Those of contestants that could run."""
    return [row for row in rows if "test" in row]


def mean_score(row: Row) -> str:
    """The mean on test rows, and its interval."""
    low, high = row["test_ci95"]
    return f"{row['test']:.3f} ({low:.2f}-{high:.2f})"


def difference(row: Row, other: str) -> str:
    """By how much it is better than another contestant, where they are compared."""
    key = f"minus_{other}"
    return signed(row[key], row[f"{key}_ci95"]) if key in row else "-"


def beside(row: Row, other: str) -> str:
    """The same of a row that is compared with every other contestant."""
    found = row["minus"].get(other)
    return "-" if found is None else signed(found["value"], found["ci95"])


def signed(value: float, ci95: Sequence[float]) -> str:
    """A difference and its interval."""
    low, high = ci95
    return f"{value:+.3f} ({low:+.3f} to {high:+.3f})"


def machine_line(results: Mapping[str, Any]) -> str:
    """The processor, its load, and the packages."""
    packages = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    machine = results["machine"]
    return f"{machine['cpu']}, load {machine['load']}; {packages}."
