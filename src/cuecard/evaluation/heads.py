"""What a trained head answers: its outputs at the reads, and the answers that are made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from cuecard.lazy import inference_mode, np, torch
from cuecard.tasks.batching import collate, inside_of, ordered_batches
from cuecard.tasks.kinds import OUTSIDE
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Backbone, Encoded, Head, Injection, Prediction, Record, Tokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# The longest answer that is looked for in a context, in tokens.
ANSWER_TOKENS = 30


@inference_mode
def head_outputs(
    backbone: Backbone,
    rows: Sequence[Encoded],
    injection: Injection | None,
    head: Head,
    *,
    batch_rows: int,
    token_budget: int | None = None,
    on_rows: Callable[[int], None] | None = None,
) -> list[Floats]:
    """The head's outputs [reads, K] of each row."""
    found: list[Floats] = [np.empty((0, 0))] * len(rows)
    lengths = [len(row.context) for row in rows]
    for chosen in ordered_batches(lengths, batch_rows, token_budget):
        some = [rows[i] for i in chosen]
        batch = collate([(row, ()) for row in some], read="states", inside=inside_of(backbone))
        (reads,) = backbone.read_many([(batch, injection)], keep="states")
        outputs = head(reads.states()).double().cpu()
        parts = torch.split(outputs, [len(row.at) or 1 for row in some])
        for i, part in zip(chosen, parts, strict=True):
            found[i] = part.numpy()
        if on_rows is not None:
            on_rows(len(chosen))
    return found


def sigmoid(values: Floats) -> Floats:
    """Logits as probabilities."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -values)))


def several_labels(
    spec: TaskSpec, outputs: Floats, prior: Mapping[str, float] | None
) -> list[Prediction]:
    """Every label whose logit is above its threshold, which is 0 without a prior.

    Args:
        outputs: [n, K].
        prior: label -> the threshold, as a logit.
    """
    shifts = np.asarray([0.0 if prior is None else prior[label] for label in spec.labels])
    scores = outputs - shifts
    predictions = []
    for index, (row, shares) in enumerate(zip(scores, sigmoid(scores), strict=True)):
        given = sorted(x for x, score in zip(spec.labels, row, strict=True) if score > 0)
        by_label = dict(zip(spec.labels, row.tolist(), strict=True))
        probabilities = dict(zip(spec.labels, shares.tolist(), strict=True))
        predictions.append(Prediction(index, spec.separator.join(given), by_label, probabilities))
    return predictions


def fitted_thresholds(
    spec: TaskSpec, outputs: Floats, gold: Sequence[Sequence[float]]
) -> dict[str, float]:
    """label -> the threshold, as a logit, with the best F1 on labelled rows; of equals 0.

    Args:
        outputs: [n, K].
        gold: [n, K] of 0 and 1.
    """
    found = {}
    for k, label in enumerate(spec.labels):
        order = np.argsort(-outputs[:, k], kind="stable")
        scores, truth = outputs[order, k], np.asarray(gold)[order, k]
        f1 = 2 * np.cumsum(truth) / (np.arange(1, len(truth) + 1) + truth.sum())
        # A threshold lies between two scores that differ, and may let every row pass.
        below = np.append(scores[1:], scores[-1] - 1.0)
        usable = np.where(scores > below, f1, -1.0)
        best = int(usable.argmax())
        as_it_is = int((scores > 0).sum())
        plain = f1[as_it_is - 1] if as_it_is else 0.0
        middle = float(scores[best] + below[best]) / 2
        found[label] = round(middle, 6) if usable[best] > plain + 1e-12 else 0.0
    return found


def numbers(spec: TaskSpec, outputs: Floats) -> list[Prediction]:
    """[n, 1] outputs as numbers of the targets' own scale."""
    values = (outputs[:, 0] * spec.scale + spec.mean).tolist()
    return [Prediction(i, f"{value:.6g}", {"value": value}, {}) for i, value in enumerate(values)]


def tags(spec: TaskSpec, records: Sequence[Record], outputs: Sequence[Floats]) -> list[Prediction]:
    """A tag per word; words that were cut away get "O", or the first tag."""
    rest = OUTSIDE if OUTSIDE in spec.labels else spec.labels[0]
    predictions = []
    for index, (record, rows) in enumerate(zip(records, outputs, strict=True)):
        words = record.fields[spec.read_field].split(" ")
        given = [spec.labels[k] for k in rows.argmax(1)] if rows.size else []
        given = [*given, *[rest] * (len(words) - len(given))][: len(words)]
        predictions.append(Prediction(index, " ".join(given), {}, {}))
    return predictions


def answers(
    spec: TaskSpec, records: Sequence[Record], outputs: Sequence[Floats], tokenizer: Tokenizer
) -> list[Prediction]:
    """The best span of each record's context over all its windows, as its text.

    A span's score is its first token's start and its last token's end, less what the window gives
    "not here".

    Args:
        outputs: [tokens + 1, 2] of every record's windows, one record behind the other.
    """
    left = list(outputs)
    predictions = []
    for index, record in enumerate(records):
        around, tokens = spec.tokens(record, tokenizer)
        best, place = -np.inf, (0, 0)
        for window in spec.windows(record, tokenizer):
            found = left.pop(0)
            if not window.count:
                continue
            score, start, end = _best_span(found[:-1, 0], found[:-1, 1])
            score -= float(found[-1].sum())
            if score > best:
                best, place = score, (window.first + start, window.first + end)
        text = ""
        if tokens.ids:
            said = around.text[around.space :]
            text = said[tokens.starts[place[0]] : tokens.ends[place[1]]].strip()
        predictions.append(Prediction(index, text, {"span": float(best)}, {}))
    return predictions


def _best_span(starts: Floats, ends: Floats) -> tuple[float, int, int]:
    """The largest starts[i] + ends[j] with i <= j < i + ANSWER_TOKENS."""
    sums = starts[:, None] + ends[None, :]
    distance = np.arange(len(ends))[None, :] - np.arange(len(starts))[:, None]
    sums = np.where((distance >= 0) & (distance < ANSWER_TOKENS), sums, -np.inf)
    start, end = np.unravel_index(int(sums.argmax()), sums.shape)
    return float(sums[start, end]), int(start), int(end)
