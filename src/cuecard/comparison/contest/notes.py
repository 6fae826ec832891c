"""What a contest's table says, as sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cuecard.comparison.contest.other_tasks import OtherScore
from cuecard.comparison.contest.result import MANY, ContestResult
from cuecard.comparison.contest.runner import Ranked
from cuecard.comparison.run_facts import rows_note
from cuecard.validation_text import counted


def notes(contests: Sequence[ContestResult], facts: Mapping[str, Any]) -> tuple[str, ...]:
    """What the table says, as sentences.

    Args:
        facts: the report's.
    """
    last = contests[-1]
    found = [
        rows_note({**facts, **facts["contests"][-1], "data": last.task.report}),
        f"What is trained had {counted(facts['rates'], 'learning rate')} to try, with "
        f"{counted(facts['training']['steps'], 'step')} each; the lowest validation loss decided. "
        "CPU-seconds are of all of them, and of choosing.",
    ]
    reference = last.reference
    if reference is not None:
        text = f"The best in words, on validation rows: {reference.standing.title}."
        found += [text, *_verdicts(last, reference)]
    general = facts["general"]
    if general["source"] is None:
        found.append(f"Forgetting was not measured: {general['why_not']}.")
    elif general["loss"] is not None:
        found.append(
            f"Forgetting: what the loss on {general['source']} ({general['texts']} texts) grows by "
            f"with the contestant on; with it off the weights are the same bytes again, and the "
            f"loss is {general['loss']:.3f} nats per token."
        )
    found += [
        f"On {other.name}, another task ({counted(other.rows, 'row')}), the frozen model scores "
        f"{other.off:.3f}; the column is what that changes by with the contestant on."
        for other in _others_of(last)
    ]
    found.append(
        "Switch: to the task and back to the frozen backbone; none where rows of several tasks "
        f"share a batch. The memory of {MANY} tasks is what they share, such as the backbone, and "
        "each one's own."
    )
    found += [
        f"Left out: {each.standing.title} ({each.standing.left_out})."
        for each in last.ranked
        if each.test is None
    ]
    alarms = [(each.standing.title, each.standing.facts.get("alarm")) for each in last.tested]
    return (*found, *(f"Warning, {title}: {alarm}." for title, alarm in alarms if alarm))


def _others_of(contest: ContestResult) -> tuple[OtherScore, ...]:
    return next((each.standing.others for each in contest.tested if each.standing.others), ())


def _verdicts(contest: ContestResult, reference: Ranked) -> list[str]:
    """Which contenders are clearly better or worse than the best in words, and undecided."""
    kinds: dict[str, list[str]] = {"better": [], "worse": [], "": []}
    for each in contest.tested:
        if each is reference:
            continue
        interval = contest.gain_over(each, reference).ci95
        kind = "better" if interval.low > 0 else "worse" if interval.high < 0 else ""
        kinds[kind].append(each.standing.title)
    said = {
        "better": "Clearly better than it",
        "worse": "Clearly worse than it",
        "": "Not told apart from it by these rows",
    }
    return [f"{said[kind]}: {', '.join(names)}." for kind, names in kinds.items() if names]
