"""What the seeds of one recipe scored: an entry in the kept prompt's metrics, as a table, in words.

The entry is JSON: `metric`, `seeds`, each one's `scores`, `intervals` (95%, over rows alone),
`validation_losses` and `best_steps`, the mean score under the metric's name, its `sd` over seeds
and its `ci95` over seeds and rows, the seed that is `kept` or "average", and where an average was
tried its own numbers as `average`. `shots` says how many rows of each label every seed has drawn,
where it has. Without test rows there are no scores.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from cuecard.evaluation.evaluate import Evaluation
from cuecard.evaluation.report import interval_text, plain
from cuecard.metrics.seeds import rows_interval, rows_interval_of, seeds_interval
from cuecard.metrics.statistics import OfSums
from cuecard.types import Interval

ENTRY = "seeds"
"""The entry's name in a prompt's metrics and in report.json."""

AVERAGE = "average"
_POINTS = 100  # of 1


def tested_numbers(metric: str, tests: Sequence[Evaluation]) -> dict[str, Any]:
    """The entry's part about the test rows.

    Args:
        metric: what is compared.
        tests: each seed's, on the same rows; none without test rows.
    """
    if not tests:
        return {"scores": [], "intervals": []}
    scores = [float(test.metrics[metric]) for test in tests]
    intervals = [test.ci95.get(metric) for test in tests]
    numbers = {
        "scores": scores,
        "intervals": intervals,
        metric: statistics.fmean(scores),
        "sd": statistics.stdev(scores),
        "ci95": {metric: _interval(metric, tests, scores, intervals)},
    }
    return dict(plain(numbers))


def _interval(
    metric: str,
    tests: Sequence[Evaluation],
    scores: Sequence[float],
    intervals: Sequence[Interval | None],
) -> Interval | None:
    """The mean's over seeds and rows; None where a seed's rows give none."""
    known = [one for one in intervals if one is not None]
    if len(known) < len(scores):
        return None
    statistic = tests[0].statistics.get(metric)
    if statistic is None:
        return seeds_interval(scores, rows_interval([test.vectors[metric] for test in tests]))
    # R2 has no lower limit, a correlation -1.
    least = -float("inf") if isinstance(statistic, OfSums) else 0.0
    return seeds_interval(scores, rows_interval_of(scores, known), least=least)


def seed_table(entry: Mapping[str, Any], heading: str) -> tuple[tuple[str, ...], list[list[str]]]:
    """A row per seed, one of the average if it was tried, and their mean; the kept one is marked.

    Args:
        heading: what tables call the metric.
    """
    columns = ("seed", heading, "95% interval", "validation loss", "best step", "kept")
    tested = bool(entry["scores"])
    rows = [
        [
            str(seed),
            f"{entry['scores'][place]:.3f}" if tested else "-",
            _limits(entry["intervals"][place]) if tested else "-",
            f"{entry['validation_losses'][place]:.4f}",
            f"{entry['best_steps'][place]:,}",
            "kept" if seed == entry["kept"] else "",
        ]
        for place, seed in enumerate(entry["seeds"])
    ]
    average = entry.get("average")
    if average is not None:
        score = average.get("score")
        rows.append(
            [
                "their average",
                "-" if score is None else f"{score:.3f}",
                _limits(average.get("interval")),
                f"{average['validation_loss']:.4f}",
                "-",
                "kept" if entry["kept"] == AVERAGE else "",
            ]
        )
    if tested:
        metric = entry["metric"]
        mean = [f"mean of {len(entry['seeds'])}", f"{entry[metric]:.3f}"]
        rows.append([*mean, _limits(entry["ci95"][metric]), "", "", ""])
    return columns, rows


def seed_notes(entry: Mapping[str, Any], heading: str) -> list[str]:
    """What several seeds tell, what one of them cannot, and which prompt is kept, as sentences."""
    notes, metric = [], entry["metric"]
    if scores := entry["scores"]:
        limits = entry["ci95"][metric]
        over = "" if limits is None else f", 95% interval over seeds and rows {_limits(limits)}"
        notes.append(
            f"{_runs(entry)}, each tested once: {heading} {entry[metric]:.3f} on average, sd "
            f"{entry['sd']:.3f}, from {min(scores):.3f} to {max(scores):.3f}{over}."
        )
        notes.append(_one_seed(scores, entry["intervals"]))
    average = entry.get("average")
    averaged = entry["kept"] == AVERAGE
    why = "which did as well as the best seed or better" if averaged else "the best"
    rows = "its own validation rows" if "shots" in entry else "validation rows"
    notes.append(f"Kept: {kept_text(entry)}, {why} on {rows}.")
    if average is not None and not averaged:
        accuracy, loss = average["validation_accuracy"], average["validation_loss"]
        shown = "" if accuracy is None else f"accuracy {accuracy:.3f}, "
        notes.append(f"The average of the seeds' tensors did worse there ({shown}loss {loss:.4f}).")
    return notes


def kept_text(entry: Mapping[str, Any]) -> str:
    """Which prompt is kept."""
    return "the average of all seeds" if entry["kept"] == AVERAGE else f"seed {entry['kept']}"


def _runs(entry: Mapping[str, Any]) -> str:
    count, shots = len(entry["seeds"]), entry.get("shots")
    if shots is None:
        return f"{count} seeds"
    return f"{count} draws of {shots} training rows of each label"


def _one_seed(scores: Sequence[float], intervals: Sequence[Sequence[float] | None]) -> str:
    apart = f"Seeds differ by {_POINTS * (max(scores) - min(scores)):.1f} points"
    wide = [limits[1] - limits[0] for limits in intervals if limits is not None]
    if not wide:
        return f"{apart}, which a single run does not tell."
    return (
        f"{apart}; the interval of a single run, {_POINTS * statistics.fmean(wide):.1f} points "
        "wide, is over test rows alone and does not include that."
    )


def _limits(limits: Sequence[float] | None) -> str:
    return "-" if limits is None else interval_text(Interval(*limits))
