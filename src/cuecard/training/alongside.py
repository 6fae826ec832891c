"""What answers the test rows in the same pass as a trained prompt, for a comparison to use.

A prompt that stands behind the inputs leaves them as they are. So do its untrained start and the
template alone: once the inputs have been run for the prompt's own test, they cost a few tokens a
row more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cuecard.errors import CuecardError
from cuecard.evaluation.evaluate import Evaluation
from cuecard.evaluation.loglikelihood import OnRows
from cuecard.evaluation.report import write_json
from cuecard.evaluation.together import AskedPrompt, evaluate_together
from cuecard.lazy import torch
from cuecard.tasks import Task
from cuecard.training.budget.validation_plan import label_tokens
from cuecard.training.setup import TrainSetup
from cuecard.training.storage.result import facts_of, read_evaluation
from cuecard.types import Encoded

Prior = Mapping[str, float] | None

PLACE, FILE = "alongside", "alongside.json"

# What a comparison may run forward of the training's tokens; the rest is for what is not counted
# in tokens.
COMPARISON_SHARE = 0.8


@dataclass(frozen=True)
class Alongside:
    """What answered the test rows in the trained prompt's own pass.

    Attributes:
        start: the prompt before its first step, calibrated as the trained one is.
        template: the template without a prompt; None where it does not begin as the rows do that
            the prompt is in.
        tokens: run forward for these, beside what the trained prompt took.
        cpu_seconds: what these tokens took.
    """

    start: Evaluation
    template: Evaluation | None
    tokens: int
    cpu_seconds: float

    def save(self, folder: Path, digest: str) -> None:
        """Leave it in a run's folder.

        Args:
            digest: of the run's prompt.
        """
        facts = {name: facts_of(found) for name, found in self._found.items()}
        for name, found in self._found.items():
            found.save_predictions(folder / PLACE / f"{name}.jsonl")
        write_json({"digest": digest, **self._cost, "found": facts}, folder / PLACE / FILE)

    @classmethod
    def load(cls, folder: Path | None, task: Task, digest: str, seed: int) -> Alongside | None:
        """What a run's folder has of it; None where it is not whole, or of another run."""
        try:
            place = Path() if folder is None else folder / PLACE
            kept = json.loads((place / FILE).read_text(encoding="utf-8"))
            if kept["digest"] != digest:
                return None
            found = {
                name: read_evaluation(place / f"{name}.jsonl", task, facts, seed)
                for name, facts in kept["found"].items()
            }
            cost = int(kept["tokens"]), float(kept["cpu_seconds"])
            return cls(found["start"], found.get("template"), *cost)
        except (OSError, ValueError, TypeError, KeyError, CuecardError):
            return None  # none, cut off or altered: the comparison asks for itself

    @property
    def _cost(self) -> dict[str, float]:
        return {"tokens": self.tokens, "cpu_seconds": self.cpu_seconds}

    @property
    def _found(self) -> dict[str, Evaluation]:
        every = {"start": self.start, "template": self.template}
        return {name: found for name, found in every.items() if found is not None}


def test_alongside(
    setup: TrainSetup, asked: AskedPrompt, start_prior: Prior, tokens: float, on_rows: OnRows | None
) -> tuple[Evaluation, Alongside] | None:
    """Test a trained prompt together with its untrained start and the template alone.

    Args:
        start_prior: what calibration takes off the start's scores; None without calibration.
        tokens: the training's, of which the others may take their share.
        on_rows: called with the number of test rows just finished.

    Returns:
        The prompt's evaluation and the others'; None where nothing of the inputs can be held, or
        the start would take too much.
    """
    records, backbone, left = setup.task.test, setup.backbone, COMPARISON_SHARE * tokens
    rows, bare = asked.rows(backbone, records), AskedPrompt(setup.spec)
    length = 0 if asked.injection is None else asked.injection.length
    longest = max(len(row.context) for row in rows) + length
    if not setup.leaves_inputs or setup.spec.mode != "labels" or longest > backbone.tree_room:
        return None
    left -= _own_tokens(setup, rows, rows, length)
    if left < 0:
        return None
    with torch.no_grad():
        start = replace(asked, injection=setup.new_method().injection(), prior=start_prior)
    several = [asked, start]
    whole = bare.rows(backbone, records)
    if _go_on(rows, whole) and _own_tokens(setup, rows, whole, 0) <= left:
        several.append(bare)
    test, *others = evaluate_together(
        backbone, records, several, seed=setup.config.seed, on_rows=on_rows
    )
    cost = sum(one.tokens for one in others), sum(one.cpu_seconds for one in others)
    return test.found, Alongside(
        others[0].found, others[1].found if len(others) > 1 else None, *cost
    )


def _go_on(rows: Sequence[Encoded], others: Sequence[Encoded]) -> bool:
    """Whether the others begin as the rows do up to their prompt, and go on after that."""
    return all(
        row.slot < len(other.context) and row.context[: row.slot] == other.context[: row.slot]
        for row, other in zip(rows, others, strict=True)
    )


def _own_tokens(
    setup: TrainSetup, rows: Sequence[Encoded], others: Sequence[Encoded], length: int
) -> int:
    """About what the others run forward after what the rows have before their prompt."""
    each = length + label_tokens(setup.backbone, setup.task)
    behind = sum(len(other.context) - row.slot for row, other in zip(rows, others, strict=True))
    return behind + each * len(rows)
