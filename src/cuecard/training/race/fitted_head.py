"""A head that is fitted to what the backbone makes of the rows, before anything is trained.

It says what the label words' scores do, and beside them what a linear probe reads (Alain and Bengio
2016): multinomial logistic regression on the hidden states, with the words' scores as an offset. It
costs one pass over the rows, whose inputs a late prompt has cached anyway, and no gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cuecard.evaluation.heads import read_states
from cuecard.lazy import functional, torch
from cuecard.tasks import TaskSpec
from cuecard.training.setup import TrainSetup
from cuecard.types import Head, Record

# What a mean error weighs against the squares of the weights; the validation rows choose.
_STRENGTHS = (0.001, 0.01, 0.1, 1.0)
_ROWS = 32
_ITERATIONS = 200


@dataclass(frozen=True)
class _Rows:
    """What the head reads of some rows.

    Attributes:
        states: [n, H] hidden states, standardised.
        scores: [n, K] the words' scores.
        labels: [n] the rows' labels, by number.
    """

    states: torch.Tensor
    scores: torch.Tensor
    labels: torch.Tensor

    def loss(self, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """Mean negative log-likelihood."""
        outputs = self.scores + self.states @ weight.T + bias
        return functional.cross_entropy(outputs, self.labels)


def fits_head(spec: TaskSpec) -> bool:
    """Whether a task's head can be fitted: that of a classification, which has label words too."""
    return spec.mode == "head" and spec.task_kind.head_is_optional


def fit_head(setup: TrainSetup) -> Head:
    """The best of a few strengths on the validation rows, for the method as it starts.

    Returns:
        weight [K, H] and bias [K].
    """
    words = _word_rows(setup)
    states = _states(setup, setup.task.train)
    middle, scale = states.mean(0), states.std(0, correction=0) + 1e-6
    train, held_out = (
        _Rows((found - middle) / scale, found @ words.T, _labels(setup, records))
        for found, records in (
            (states, setup.task.train),
            (_states(setup, setup.task.validation), setup.task.validation),
        )
    )
    fitted = [_fit(train, strength) for strength in _STRENGTHS]
    weight, bias = min(fitted, key=lambda pair: float(held_out.loss(*pair)))
    weight = weight / scale
    return Head((words + weight).float(), (bias - weight @ middle).float())


def _word_rows(setup: TrainSetup) -> torch.Tensor:
    """[K, H] per label the LM head's weights of its word's tokens, on average."""
    words = setup.spec.in_words.label_words(setup.backbone.tokenizer).words
    return torch.stack([setup.backbone.word_weights(word).double().mean(0) for word in words])


def _states(setup: TrainSetup, records: Sequence[Record]) -> torch.Tensor:
    """[rows, H] what the head reads."""
    rows = setup.spec.encode_rows(records, setup.backbone.tokenizer, setup.slot)
    found = read_states(setup.backbone, rows, setup.start.injection(), batch_rows=_ROWS)
    return torch.cat([torch.from_numpy(states) for states in found])


def _labels(setup: TrainSetup, records: Sequence[Record]) -> torch.Tensor:
    spec = setup.spec
    return torch.tensor([spec.labels.index(spec.label_of(record)) for record in records])


def _fit(rows: _Rows, strength: float) -> tuple[torch.Tensor, torch.Tensor]:
    """[K, H] and [K] of the lowest loss; both are zeros where the words say all there is to say."""
    shape = rows.scores.shape[1], rows.states.shape[1]
    weight = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(shape[0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=_ITERATIONS, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = strength * len(rows.labels) * rows.loss(weight, bias) + weight.square().sum() / 2
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()
