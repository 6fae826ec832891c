"""Several prompts asked the same rows, in one pass over what stands before them.

Where prompts leave a row's text before them as it is, its keys and values are computed once for all
of them: a batch of rows at a time, so that no more than a batch's are in memory.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cuecard.evaluation.evaluate import (
    Evaluation,
    check_targets,
    prompt_tokens,
    score_predictions,
)
from cuecard.evaluation.loglikelihood import OnRows
from cuecard.evaluation.predict import BATCH_ROWS, NEGLIGIBLE, predict
from cuecard.tasks.encoding.batching import ordered_batches
from cuecard.tasks.spec import TaskSpec
from cuecard.types import (
    Backbone,
    Encoded,
    Injection,
    Prediction,
    Record,
    Slot,
    common_beginning,
)


@dataclass(frozen=True, slots=True)
class AskedPrompt:
    """A prompt and how it is asked; its settings are as in `predict`."""

    spec: TaskSpec
    injection: Injection | None = None
    slot: Slot = "prefix"
    prior: Mapping[str, float] | None = None

    def rows(self, backbone: Backbone, records: Sequence[Record]) -> list[Encoded]:
        """Every record as token ids, without its target."""
        bare = [replace(record, target=None) for record in records]
        return [self.spec.encode(record, backbone.tokenizer, self.slot) for record in bare]


@dataclass(frozen=True, slots=True)
class Answered:
    """What one of several prompts is worth.

    Attributes:
        found: its evaluation, the seconds of what all have in common counted in.
        tokens: what it ran forward of its own, beside that.
        cpu_seconds: what that took.
    """

    found: Evaluation
    tokens: int
    cpu_seconds: float


def evaluate_together(
    backbone: Backbone,
    records: Sequence[Record],
    asked: Sequence[AskedPrompt],
    *,
    batch_rows: int = BATCH_ROWS,
    seed: int = 0,
    on_rows: OnRows | None = None,
) -> list[Answered]:
    """`evaluate` of every prompt, to rounding; what stands before the first one's is run once.

    Nothing is spared of a prompt whose rows do not begin alike, or of a backbone that holds none.

    Args:
        on_rows: called with the number of records that all have answered.

    Raises:
        ConfigError, DataError: as `evaluate`.
    """
    for each in asked:
        check_targets(records, each.spec)
    rows = asked[0].rows(backbone, records)
    inputs = [row.context[: row.slot] for row in rows]
    answers: list[dict[int, Prediction]] = [{} for _ in asked]
    seconds, tokens = [0.0] * len(asked), [0] * len(asked)
    cpu = [0.0] * len(asked)
    with backbone.holding([inputs[0][: common_beginning(inputs)]]):
        for chosen in ordered_batches([len(row.context) for row in rows], batch_rows):
            started = time.perf_counter()
            with backbone.holding([inputs[index] for index in chosen]):
                common = time.perf_counter() - started
                for number, each in enumerate(asked):
                    started, before = time.perf_counter(), backbone.counts["tokens"]
                    cpu[number] -= time.process_time()
                    found = predict(
                        backbone,
                        each.spec,
                        [records[index] for index in chosen],
                        each.injection,
                        slot=each.slot,
                        batch_rows=batch_rows,
                        prior=each.prior,
                        negligible=NEGLIGIBLE,
                    )
                    answers[number].update(zip(chosen, found, strict=True))
                    cpu[number] += time.process_time()
                    tokens[number] += backbone.counts["tokens"] - before
                    seconds[number] += time.perf_counter() - started + common
            if on_rows is not None:
                on_rows(len(chosen))
    return [
        Answered(
            score_predictions(
                each.spec,
                records,
                [replace(given[index], index=index) for index in range(len(records))],
                seconds=spent,
                tokens_per_request=prompt_tokens(each.spec, backbone.tokenizer, each.injection),
                seed=seed,
            ),
            own,
            spent_cpu,
        )
        for each, given, spent, own, spent_cpu in zip(
            asked, answers, seconds, tokens, cpu, strict=True
        )
    ]
