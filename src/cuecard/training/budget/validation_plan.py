"""How often a run validates, and what on: a bounded share of its work.

Work is counted in tokens run forward; a training step counts twice, for its backward pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cuecard.tasks import Task
from cuecard.tasks.encoding.batching import row_lengths
from cuecard.tasks.encoding.word_reads import LabelTrie
from cuecard.training.config import TrainConfig
from cuecard.types import Backbone, Encoded, Slot, common_beginning

# Validations may take so much of the work of the steps, or so many tokens in a short run.
SHARE = 0.5
FREE_TOKENS = 8000
# The same of the best step's validation on all labels, on at least so many rows.
BEST_SHARE = 0.3
FEWEST_ROWS = 64
# Fewer tell nothing; more are not made unless they are asked for.
FEWEST, MOST = 2, 10
# From so many tokens after every context on, a list of labels is long.
LONG_LIST = 64


@dataclass(frozen=True, slots=True)
class ValidationPlan:
    """The validations of a run.

    Attributes:
        every: steps between two of them.
        brief: whether they read the rows' own labels alone, as training does, since all labels
            would be too many; the best step is then scored on all of them, once.
        tokens: of one of them.
        count: how many there are, that before the first step counted in.
        whole: tokens of one on all labels.
        rows: validation rows that the best step is scored on where the others are brief.
    """

    every: int
    brief: bool
    tokens: int
    count: int
    whole: int
    rows: int


def plan_validations(
    backbone: Backbone,
    task: Task,
    rows: Sequence[Encoded],
    config: TrainConfig,
    prompt_length: int,
    slot: Slot,
    *,
    fixed: bool = False,
    brief: bool | None = None,
) -> ValidationPlan:
    """Decide by the rows' tokens alone, so that a resumed run decides alike.

    Args:
        fixed: validate as often as the settings say, on all labels, whatever it costs.
        brief: whether own labels alone are read, where that is decided already.
    """
    held_out = task.spec.encode_rows(task.validation, backbone.tokenizer, slot)
    labels = label_tokens(backbone, task)
    whole = forward_tokens(held_out, prompt_length, labels)
    allowed = max(FREE_TOKENS, SHARE * training_tokens(rows, config, prompt_length))
    every, usual = config.validate_every, math.ceil(config.steps / config.validate_every)
    if brief is None:
        brief = not fixed and labels >= LONG_LIST and (usual + 1) * whole > allowed
    tokens = forward_tokens(held_out, prompt_length, None) if brief else whole
    if not fixed and config.eval_every is None and (usual + 1) * tokens > allowed:
        fitting = int(allowed // max(tokens, 1)) - 1
        every = math.ceil(config.steps / min(max(fitting, FEWEST), MOST))
    count = 1 + math.ceil(config.steps / every)
    fitting = int(BEST_SHARE * allowed / SHARE * len(held_out) / max(whole, 1))
    best = min(len(task.validation), max(fitting, FEWEST_ROWS))
    return ValidationPlan(
        every, brief, tokens, count, whole, best if brief else len(task.validation)
    )


def training_tokens(rows: Sequence[Encoded], config: TrainConfig, prompt_length: int) -> float:
    """The work of all steps, forward and as much backward: what all begin with once in a batch."""
    front = common_beginning([row.context for row in rows])
    own = sum(row_lengths(rows)) / len(rows) - front
    batch = min(config.batch_rows, len(rows)) * own + front + prompt_length
    return 2 * config.steps * config.accumulation * batch


def label_tokens(backbone: Backbone, task: Task) -> int:
    """Tokens of all labels after one context, common beginnings counted once."""
    if task.spec.mode != "labels":
        return 0
    return len(LabelTrie.of(task.spec.label_words(backbone.tokenizer).asked).tokens)


def forward_tokens(rows: Sequence[Encoded], prompt_length: int, after: int | None) -> int:
    """Tokens of one pass over rows: what all begin with once, and the rest of each.

    Args:
        after: tokens after every context; None for each row's own target.
    """
    if not rows:
        return 0
    front = common_beginning([row.context for row in rows])
    own = sum(row.positions - front + (len(row.target) if after is None else after) for row in rows)
    return prompt_length + front + own
