"""A second reader for a trained head: what attention has of the input, in the middle layers.

A linear probe on the mean of the input's values, which no prompt after the input changes, is fitted
to the training rows. What it says is added to what the trained head says of the hidden state, each
with a weight of its own: a logarithmic opinion pool (Genest and Zidek, "Combining probability
distributions", Statistical Science 1986, section 3), its two weights fitted on the validation rows.
Both are linear, so that together they are one head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cuecard.evaluation.heads import head_outputs
from cuecard.lazy import functional, np, torch
from cuecard.tasks import draw_rows
from cuecard.tasks.encoding.head_inputs import pooled_layers
from cuecard.training.heads.logistic import PROBE_PASSES, ProbeRows, fit_probe, labels_of
from cuecard.training.setup import TrainSetup
from cuecard.training.trainables.head import head_of, start_head
from cuecard.types import Encoded, Head, Method

_ROWS = 32
# More rows than this teach a probe little more, and all they hold is in memory at once.
_MOST_ROWS = 4_096
# Of products of matrices like these, in float64, a second.
_FLOPS = 1e10
# What a weight's distance from 1 costs against the mean error.
_NEAR_ONE = 1e-3


@dataclass(frozen=True)
class ReaderWeights:
    """How much a pooled head's two readers count."""

    state: float
    values: float


def pool(setup: TrainSetup, method: Method) -> ReaderWeights:
    """Fit a second reader beside a method's trained head [K, H], which becomes [K, H + F]."""
    backbone, task = setup.backbone, setup.task
    head = head_of(method)
    assert head is not None  # as the task says
    assert not head.layers  # pooled once
    layers = pooled_layers(backbone.num_layers)
    sides = []
    for records in (draw_rows(task.train, _MOST_ROWS, "probe"), task.validation):
        rows = setup.spec.encode_rows(records, backbone.tokenizer, setup.slot)
        features, labels = _values(setup, rows, layers), labels_of(setup, records)
        none = torch.zeros(len(labels), setup.spec.outputs, dtype=torch.float64)
        sides.append((rows, ProbeRows(features, labels, none)))
    (_, train), (rows, held_out) = sides
    weight, bias = fit_probe(train, held_out)
    found = head_outputs(backbone, rows, method.injection(), head, batch_rows=_ROWS)
    read = torch.from_numpy(np.concatenate(found))
    state, values = _weights(read, held_out.features @ weight.T + bias, held_out.labels)
    ours, own = head.weight.detach().double().cpu(), head.bias.detach().double().cpu()
    pooled = torch.cat([state * ours, values * weight], 1)
    start_head(method, Head(pooled.float(), (state * own + values * bias).float(), layers))
    return ReaderWeights(state, values)


def probe_seconds(setup: TrainSetup) -> float:
    """About what the probe takes on one core."""
    backbone = setup.backbone
    width = backbone.head_width(pooled_layers(backbone.num_layers)) - backbone.hidden_size
    rows = min(len(setup.task.train), _MOST_ROWS)
    return PROBE_PASSES * 4 * rows * width * setup.spec.outputs / _FLOPS


def _values(setup: TrainSetup, rows: Sequence[Encoded], layers: tuple[int, ...]) -> torch.Tensor:
    """[rows, F] the mean of the values of what stands before the prompt."""
    found = setup.backbone.value_means([row.context[: row.slot] for row in rows], layers)
    return found.double().cpu()


def _weights(
    state: torch.Tensor, values: torch.Tensor, labels: torch.Tensor
) -> tuple[float, float]:
    """The weights, neither below 0, of two readers' scores [n, K].

    A reader that is best left out is; a trained head stays as it is where both are.
    """
    first, second = _best_weights(torch.stack([state, values]), labels)
    if first < 0 < second:
        return 0.0, max(*_best_weights(values[None], labels), 0.0)
    if second < 0:
        (alone,) = _best_weights(state[None], labels)
        return alone if alone > 0 else 1.0, 0.0
    return first, second


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
