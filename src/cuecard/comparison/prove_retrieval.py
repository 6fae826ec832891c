"""What a prompt buys an encoder: beside the encoder without it, and TF-IDF."""

from __future__ import annotations

from cuecard.comparison.comparison import Comparison, Contestant, Proof
from cuecard.errors import DataError
from cuecard.evaluation.evaluate import evaluate, score_predictions
from cuecard.evaluation.report import RETRIEVAL_COLUMNS
from cuecard.evaluation.text_models import match_pairs
from cuecard.tasks import Task
from cuecard.training.storage.log import Observer
from cuecard.training.train import Run
from cuecard.types import Backbone


def prove_retrieval(
    backbone: Backbone, task: Task, run: Run, *, observer: Observer | None = None
) -> Proof:
    """Compare a run's prompt with the encoder as it is, and with TF-IDF.

    Args:
        observer: called with an event per test.

    Raises:
        DataError: the task has no test rows.
    """
    if run.test is None:
        raise DataError("there are no test rows to prove anything on", expected="a test split")
    tell = observer or (lambda event: None)
    comparison = Comparison(backbone, task, run, run.test.primary, tell)
    name = "TF-IDF"
    comparison.begin(name)
    with comparison.optional(name):
        found = score_predictions(
            task.spec, task.test, match_pairs(task.spec, task.train, task.test)
        )
        comparison.add(Contestant("tfidf", name, name, found))
    comparison.begin("no prompt")
    before = evaluate(backbone, task.spec, task.test)
    comparison.add(Contestant("no_prompt", "no prompt", "no prompt", before))
    return comparison.proof(RETRIEVAL_COLUMNS)
