"""More readers for a trained head: what attention has of the input, and the input's words.

A linear probe on the mean of the input's values, which no prompt after the input changes, is fitted
to the training rows, and so is a linear model of the input's TF-IDF. What they say is added to what
the trained head says of the hidden state, each with a weight of its own: a logarithmic opinion pool
(Genest and Zidek, "Combining probability distributions", Statistical Science 1986, section 3), its
weights fitted on the validation rows. All are linear, so that together they are one head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cuecard.evaluation.heads import head_outputs
from cuecard.lazy import functional, np, torch
from cuecard.tasks import draw_rows
from cuecard.tasks.encoding.head_inputs import pooled_layers
from cuecard.training.heads.logistic import (
    PROBE_PASSES,
    ProbeRows,
    fit_linear,
    fit_probe,
    labels_of,
)
from cuecard.training.heads.token_tfidf import fit_tfidf
from cuecard.training.setup import TrainSetup
from cuecard.training.trainables.head import head_of, start_head
from cuecard.types import Encoded, Head, Method, Record, TokenTfidf

_ROWS = 32
# More rows than this teach a probe little more, and all they hold is in memory at once.
_MOST_ROWS = 4_096
# Of products of matrices like these, in float64, a second.
_FLOPS = 1e10
# What a row's error weighs against the squares of TF-IDF's weights; the validation rows choose.
_TFIDF_STRENGTHS = (1.0, 10.0, 100.0)
# What a weight's distance from 1 costs against the mean error.
_NEAR_ONE = 1e-3


@dataclass(frozen=True)
class ReaderWeights:
    """How much a pooled head's readers count: of the state, of the values, of TF-IDF."""

    state: float
    values: float
    tfidf: float = 0.0


@dataclass(frozen=True)
class _Reader:
    """A linear reader [K, F] and [K], and its scores [n, K] of the rows held out; all float64."""

    weight: torch.Tensor
    bias: torch.Tensor
    scores: torch.Tensor

    @classmethod
    def of(cls, weight: torch.Tensor, bias: torch.Tensor, held_out: ProbeRows) -> _Reader:
        return cls(weight, bias, held_out.features @ weight.T + bias)


@dataclass(frozen=True)
class _Side:
    """Training or validation rows: encoded, and their labels [n] by number."""

    rows: Sequence[Encoded]
    labels: torch.Tensor

    @classmethod
    def of(cls, setup: TrainSetup, records: Sequence[Record]) -> _Side:
        rows = setup.spec.encode_rows(records, setup.backbone.tokenizer, setup.slot)
        return cls(rows, labels_of(setup, records))

    @property
    def inputs(self) -> list[tuple[int, ...]]:
        """What stands before the prompt."""
        return [row.context[: row.slot] for row in self.rows]

    def probe_rows(self, features: torch.Tensor, outputs: int) -> ProbeRows:
        none = torch.zeros(len(self.labels), outputs, dtype=torch.float64)
        return ProbeRows(features, self.labels, none)


def pool(setup: TrainSetup, method: Method) -> ReaderWeights:
    """Give a method's trained head [K, H] more readers: it becomes [K, H + F] or [K, H + F + V].

    TF-IDF is left out where the validation rows are not clearly likelier with it.
    """
    layers = pooled_layers(setup.backbone.num_layers)
    train = _Side.of(setup, draw_rows(setup.task.train, _MOST_ROWS, "probe"))
    held_out = _Side.of(setup, setup.task.validation)
    readers = [
        _state_reader(setup, method, held_out),
        _values_reader(setup, layers, train, held_out),
    ]
    weights = _weights(torch.stack([reader.scores for reader in readers]), held_out.labels)
    if setup.unrun:
        records = draw_rows((*setup.task.train, *setup.unrun), _MOST_ROWS, "probe")
        train = _Side.of(setup, records)
    tfidf = fit_tfidf(train.inputs)
    if tfidf is not None:
        more = [*readers, _tfidf_reader(setup, tfidf, train, held_out)]
        pooled = _weights(torch.stack([reader.scores for reader in more]), held_out.labels)
        before, after = _mixed(weights, readers).scores, _mixed(pooled, more).scores
        if _clearly_likelier(before, after, held_out.labels):
            readers, weights = more, pooled
    mixed = _mixed(weights, readers)
    kept = tfidf if len(readers) > 2 else None
    start_head(method, Head(mixed.weight.float(), mixed.bias.float(), layers, kept))
    return ReaderWeights(*weights)


def probe_seconds(setup: TrainSetup) -> float:
    """About what the probe takes on one core."""
    backbone = setup.backbone
    width = backbone.head_width(pooled_layers(backbone.num_layers)) - backbone.hidden_size
    rows = min(len(setup.task.train), _MOST_ROWS)
    return PROBE_PASSES * 4 * rows * width * setup.spec.outputs / _FLOPS


def _state_reader(setup: TrainSetup, method: Method, held_out: _Side) -> _Reader:
    """The trained head."""
    head = head_of(method)
    assert head is not None  # as the task says
    assert not head.layers  # pooled once
    found = head_outputs(setup.backbone, held_out.rows, method.injection(), head, batch_rows=_ROWS)
    weight, bias = (each.detach().double().cpu() for each in (head.weight, head.bias))
    return _Reader(weight, bias, torch.from_numpy(np.concatenate(found)))


def _values_reader(
    setup: TrainSetup, layers: tuple[int, ...], train: _Side, held_out: _Side
) -> _Reader:
    """A probe of the mean of the values of what stands before the prompt."""
    fitted, held = (
        side.probe_rows(
            setup.backbone.value_means(side.inputs, layers).double().cpu(), setup.spec.outputs
        )
        for side in (train, held_out)
    )
    return _Reader.of(*fit_probe(fitted, held), held)


def _tfidf_reader(setup: TrainSetup, tfidf: TokenTfidf, train: _Side, held_out: _Side) -> _Reader:
    """A linear model of what stands before the prompt, token by token."""
    fitted, held = (
        side.probe_rows(tfidf(side.inputs).double().to_sparse(), setup.spec.outputs)
        for side in (train, held_out)
    )
    return _Reader.of(*fit_linear(fitted, held, _TFIDF_STRENGTHS), held)


def _mixed(weights: Sequence[float], readers: Sequence[_Reader]) -> _Reader:
    """Weighted readers as one, of what they read side by side."""
    pairs = list(zip(weights, readers, strict=True))
    return _Reader(
        torch.cat([weight * reader.weight for weight, reader in pairs], 1),
        torch.stack([weight * reader.bias for weight, reader in pairs]).sum(0),
        torch.stack([weight * reader.scores for weight, reader in pairs]).sum(0),
    )


def _clearly_likelier(before: torch.Tensor, after: torch.Tensor, labels: torch.Tensor) -> bool:
    """Whether other scores [n, K] gain more than two standard errors of log-likelihood."""
    gains = functional.cross_entropy(before, labels, reduction="none")
    gains = gains - functional.cross_entropy(after, labels, reduction="none")
    error = gains.std(correction=0) / len(gains) ** 0.5
    return bool(gains.mean() > 2 * error)


def _weights(scores: torch.Tensor, labels: torch.Tensor) -> tuple[float, ...]:
    """[R] the weights, none below 0, of readers' scores [R, n, K].

    Readers that are best left out are; the first stays as it is where all are.
    """
    kept = list(range(len(scores)))
    while kept:
        found = _best_weights(scores[kept], labels)
        if min(found) > 0:
            by_reader = dict(zip(kept, found, strict=True))
            return tuple(by_reader.get(number, 0.0) for number in range(len(scores)))
        del kept[found.index(min(found))]
    return 1.0, *(0.0 for _ in scores[1:])


def _best_weights(scores: torch.Tensor, labels: torch.Tensor) -> tuple[float, ...]:
    """[R] what readers' scores [R, n, K] are best multiplied with before they are added."""
    weights = torch.ones(len(scores), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        outputs = (weights[:, None, None] * scores).sum(0)
        loss = functional.cross_entropy(outputs, labels)
        loss = loss + _NEAR_ONE * (weights - 1).square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    return tuple(weights.detach().tolist())
