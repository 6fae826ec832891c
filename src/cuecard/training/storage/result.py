"""A finished run's result in its folder: read again, so that the test rows are scored once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cuecard.artifacts import Prompt
from cuecard.errors import CuecardError
from cuecard.evaluation.cases.case import read_predictions
from cuecard.evaluation.evaluate import Evaluation, score_predictions
from cuecard.evaluation.report import write_json
from cuecard.tasks import Task
from cuecard.training.objective.validation import Validation
from cuecard.types import Prediction, Tokenizer

FILE = "result.json"
PREDICTIONS = "predictions.jsonl"
# Numbers of a run that are kept as they are.
NUMBERS = ("lr", "steps", "best_step", "trained", "cpu_seconds", "seconds", "tokens")
# What a validation's numbers were called in results of cuecard 0.1.
_RENAMED = {"commonest": "majority_share"}


@dataclass(frozen=True)
class Result:
    """A finished run's numbers.

    Attributes:
        digest: of the prompt they belong to.
        validation: at the best step.
        lr, steps, best_step, trained, cpu_seconds, seconds, tokens, start_prior: as in `Run`.
        seed: of the intervals.
        test: the tested rows' seconds and prompt tokens; None where nothing was tested. The answers
            are in `predictions.jsonl`.
    """

    digest: str
    validation: dict[str, Any]
    lr: float
    steps: int
    best_step: int
    cpu_seconds: float
    seconds: float
    trained: int
    tokens: int
    start_prior: dict[str, float] | None
    seed: int
    test: dict[str, Any] | None

    def best(self) -> Validation:
        """The validation at the best step."""
        return Validation(**{_RENAMED.get(name, name): x for name, x in self.validation.items()})


def save_result(result: Result, test: Evaluation | None, folder: Path) -> None:
    """Leave `result.json`, and `predictions.jsonl` where rows were tested."""
    if test is not None:
        test.save_predictions(folder / PREDICTIONS)
    write_json(asdict(result), folder / FILE)


def result_of(run: Any, seed: int) -> Result:
    """What a folder keeps of a `Run` or a `LoraRun` besides its tensors."""
    test = run.test
    return Result(
        digest=run.prompt.digest,
        start_prior=getattr(run, "start_prior", None),
        validation=asdict(run.validation),
        seed=seed,
        test=None if test is None else facts_of(test),
        **{name: getattr(run, name) for name in NUMBERS},
    )


def load_result(
    folder: Path | None, task: Task, tokenizer: Tokenizer
) -> tuple[Result, Prompt, Evaluation | None] | None:
    """A folder's result with its prompt and its test; None where it is not whole.

    Args:
        task: the run's task; its test rows must be those that were tested.
    """
    if folder is None or not (folder / FILE).is_file():
        return None
    try:
        result = Result(**json.loads((folder / FILE).read_text(encoding="utf-8")))
        prompt = Prompt.load(folder / "prompt")
        if prompt.digest != result.digest or not prompt.spec.is_same(task.spec, tokenizer):
            return None
        return result, prompt, _tested(folder, task, result)
    except (OSError, ValueError, TypeError, KeyError, CuecardError):
        return None  # cut off or altered: the run is finished anew


def _tested(folder: Path, task: Task, result: Result) -> Evaluation | None:
    if result.test is None:
        if task.test:
            raise ValueError("not tested")
        return None
    return read_evaluation(folder / PREDICTIONS, task, result.test, result.seed)


def facts_of(test: Evaluation) -> dict[str, Any]:
    """What is kept of an evaluation beside its predictions."""
    return {"seconds": test.seconds, "tokens_per_request": test.tokens_per_request}


def read_evaluation(path: Path, task: Task, facts: Mapping[str, Any], seed: int) -> Evaluation:
    """The evaluation of the test rows from its predictions' file.

    Args:
        facts: those of `facts_of`.
        seed: of the intervals.

    Raises:
        OSError, ValueError, KeyError: it is not whole, or of other rows.
    """
    rows = read_predictions(path)
    told = [(row["gold"], row["fields"]) for row in rows]
    if told != [(task.spec.target_text(record), dict(record.texts)) for record in task.test]:
        raise ValueError("other rows")
    return score_predictions(
        task.spec,
        task.test,
        [_prediction(number, row) for number, row in enumerate(rows)],
        seconds=float(facts["seconds"]),
        tokens_per_request=int(facts["tokens_per_request"]),
        seed=seed,
    )


def _prediction(number: int, row: Mapping[str, Any]) -> Prediction:
    return Prediction(number, row["answer"], row["scores"], row["probabilities"])
