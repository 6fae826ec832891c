"""A head that is fitted to what the backbone makes of the rows, before anything is trained.

It says what the label words' scores do, and beside them what a linear probe reads, with the words'
scores as an offset where there are words. It costs one pass over the rows, whose inputs a late
prompt has cached anyway, and no gradients. A pooled head gets no probe before the training, which
would leave the prompt little to learn: it reads values afterwards, see `pool`.
"""

from __future__ import annotations

from collections.abc import Sequence

from cuecard.evaluation.heads import read_states
from cuecard.lazy import torch
from cuecard.tasks import TaskSpec
from cuecard.training.heads.logistic import ProbeRows, fit_probe, labels_of
from cuecard.training.setup import TrainSetup
from cuecard.training.trainables.trainable import Trainable
from cuecard.types import Head, Record

_ROWS = 32


def fits_head(spec: TaskSpec, trainable: Trainable) -> bool:
    """Whether a task's head can be fitted: that of a classification, if names do not make it."""
    return spec.mode == "head" and spec.task_kind.single_label and not trainable.reads_names


def fit_head(setup: TrainSetup) -> Head:
    """The best of a few strengths on the validation rows, for the method as it starts.

    Returns:
        weight [K, H] and bias [K].
    """
    words = _word_rows(setup)
    if setup.spec.head == "pooled":
        return Head(words.float(), torch.zeros(len(words)))
    train, held_out = (
        ProbeRows(states, labels_of(setup, records), states @ words.T)
        for records in (setup.task.train, setup.task.validation)
        for states in (_states(setup, records),)
    )
    weight, bias = fit_probe(train, held_out)
    return Head((words + weight).float(), bias.float())


def _word_rows(setup: TrainSetup) -> torch.Tensor:
    """[K, H] per label the LM head's weights of its word's tokens, on average; zeros for images."""
    if not setup.spec.head_is_possible:
        size = setup.spec.outputs, setup.backbone.hidden_size
        return torch.zeros(size, dtype=torch.float64)
    words = setup.spec.in_words.label_words(setup.backbone.tokenizer).words
    return torch.stack([setup.backbone.word_weights(word).double().mean(0) for word in words])


def _states(setup: TrainSetup, records: Sequence[Record]) -> torch.Tensor:
    """[rows, H] what the head reads."""
    rows = setup.spec.encode_rows(records, setup.backbone.tokenizer, setup.slot)
    found = read_states(setup.backbone, rows, setup.start.injection(), batch_rows=_ROWS)
    return torch.cat([torch.from_numpy(states) for states in found])
