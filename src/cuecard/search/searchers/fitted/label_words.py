"""The words by which a model tells the labels, chosen by what it says after labelled rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice, product
from typing import TYPE_CHECKING, Any

from cuecard.errors import ConfigError
from cuecard.evaluation.loglikelihood import score_next
from cuecard.evaluation.predict import BATCH_ROWS
from cuecard.lazy import np, torch
from cuecard.search.budget import Amount
from cuecard.search.candidate import PromptCandidate, told_records
from cuecard.search.searcher import SearchState
from cuecard.search.searchers.fitted.calibration import drawn_rows, most_rows_cost, rows_cost
from cuecard.search.searchers.fitted.label_probe import probe_scores, read_at_head
from cuecard.tasks import TaskSpec
from cuecard.tasks.encoding.bound import bind
from cuecard.tasks.encoding.tokens import continuation_ids
from cuecard.tasks.predictions import log_softmax
from cuecard.types import Tokenizer

if TYPE_CHECKING:
    from torch import Tensor

# Of the vocabulary, those that are likely after a label's rows at all.
_LIKELY = 300
# Words that are kept for a label, and for all labels together.
_KEPT, _ALL_KEPT = 8, 64
# Choices of a word per label that are compared; they cost nothing.
_CHOICES = 4096

Kept = Mapping[str, Sequence[tuple[str, Sequence[float]]]]
"""label -> its words, with their log-probabilities after every row."""


class LabelWordSearch:
    """Chooses label words by their likelihood on training rows that nobody races on.

    A label's words are those of one token that the model says more after its rows than after the
    others' (the likelihood ratio of Schick, Schmid and Schütze 2020, arXiv:2010.13641), among those
    that are likely at all; or those whose output embedding a probe takes for the label's rows (see
    `probe_scores`). Of the choices of a word for each label, those race that give the rows'
    own labels the most probability, as in Gao et al. 2021 (arXiv:2012.15723, section 5.1).
    """

    def __init__(self) -> None:
        self._choices: dict[str, Iterator[dict[str, str]]] = {}

    async def propose(self, state: SearchState, count: int) -> list[PromptCandidate]:
        """The next choices for the best prompt.

        Raises:
            ConfigError: a template with `{mask}`, but for the probe.
        """
        _check_template(state)
        best = replace(state.best, prior=None, prompt=replace(state.best.prompt, words=None))
        if best.key not in self._choices:
            self._choices[best.key] = _choices(state, await _kept(state, best))
        return [
            replace(
                best,
                prompt=replace(best.prompt, words=words),
                origin=f"label words {', '.join(words.values())}",
            )
            for words in islice(self._choices[best.key], count)
        ]

    def most(self, state: SearchState, count: int) -> Amount:
        """See `RunsModel.most`."""
        _check_template(state)
        return most_rows_cost(state)


def _check_template(state: SearchState) -> None:
    if state.spec.parsed.has_mask and state.settings.words_by != "probe":
        raise ConfigError(
            "label words are chosen by what follows a text, not by what stands at a mask",
            where="template",
            got="{mask}",
            expected="a template without {mask}, --words-by probe, or another searcher",
        )


async def _kept(state: SearchState, bare: PromptCandidate) -> tuple[list[str], Kept]:
    """The rows' labels, and the words that are worth choosing from."""
    model = state.model
    assert model is not None  # a searcher that needs one is given one
    backbone = model.backbone
    spec = bare.to_spec(state.spec, backbone.tokenizer, backbone.max_positions)
    rows = drawn_rows(state)
    gold = [spec.label_of(row) for row in rows]
    soft = None if bare.soft is None else bare.soft.injection

    def run() -> dict[str, Any]:
        encoded = [spec.encode(replace(row, target=None), backbone.tokenizer) for row in rows]
        with torch.inference_mode():
            if by_probe:
                logs, states = read_at_head(backbone, encoded, soft)
                table = backbone.model.get_output_embeddings().weight
                orders = _by_probe(spec, gold, states, table)
            else:
                logs = score_next(
                    backbone, encoded, range(backbone.vocab_size), soft, BATCH_ROWS, None, None
                )
                orders = _by_ratio(spec, gold, logs)
        return _told(spec, backbone.tokenizer, orders, logs)

    by_probe = state.settings.words_by == "probe"
    found: Kept = await model.counted(
        ["label words", *(["probe"] if by_probe else []), bare.key, told_records(rows)],
        rows_cost(spec, rows, state, bare.vectors),
        run,
    )
    return gold, found


def _by_ratio(spec: TaskSpec, gold: Sequence[str], logs: Tensor) -> dict[str, Tensor]:
    """Each label's tokens, those first that stand out in the log-probabilities [n, V]."""
    found = {}
    for label in spec.labels:
        own = torch.tensor([each == label for each in gold])
        if own.all() or not own.any():  # no rows of it to compare with others
            continue
        mean = logs[own].mean(0)
        ratio = mean - logs[~own].mean(0)
        likely = mean.topk(min(_LIKELY, len(mean))).indices
        found[label] = likely[ratio[likely].argsort(descending=True, stable=True)]
    return found


def _by_probe(
    spec: TaskSpec, gold: Sequence[str], states: Tensor, table: Tensor
) -> dict[str, Tensor]:
    """Each label's tokens, those first that a probe of the states [n, H] takes for it."""
    if len(set(gold)) < len(spec.labels):
        return {}
    scores = probe_scores(states, [spec.labels.index(label) for label in gold], table)
    orders = scores.argsort(dim=1, descending=True, stable=True)
    return dict(zip(spec.labels, orders, strict=True))


def _told(
    spec: TaskSpec, tokenizer: Tokenizer, orders: Mapping[str, Tensor], logs: Tensor
) -> dict[str, list[tuple[str, list[float]]]]:
    """The first words of every label's tokens, with their log-probabilities, of [n, V]."""
    after_space = bind(spec, tokenizer).encoder.after_space
    most = max(2, min(_KEPT, _ALL_KEPT // len(spec.labels)))
    found: dict[str, list[tuple[str, list[float]]]] = {}
    for label in spec.labels:
        kept: dict[str, tuple[str, list[float]]] = {}
        for token in map(int, orders.get(label, ())):
            word = str(tokenizer.decode([token])).strip()
            usable = word.isalpha() and word.casefold() not in kept
            if usable and continuation_ids(tokenizer, word, after_space) == (token,):
                values = [round(float(value), 4) for value in logs[:, token]]
                kept[word.casefold()] = (word, values)
                if len(kept) == most:
                    break
        found[label] = list(kept.values())
    return found


def _choices(state: SearchState, told: tuple[list[str], Kept]) -> Iterator[dict[str, str]]:
    """A word for each label, the choices under which the rows' labels are likeliest first."""
    gold, kept = told
    labels = [label for label in state.spec.labels if kept[label]]
    if len(labels) < len(state.spec.labels):
        return iter(())
    counts = [range(len(kept[label])) for label in labels]
    whole = int(np.prod([len(each) for each in counts], dtype=np.float64))
    picks: Sequence[Sequence[int]]
    if whole <= _CHOICES:
        picks = list(product(*counts))
    else:
        picks = [[int(state.rng.integers(len(each))) for each in counts] for _ in range(_CHOICES)]
    true = np.asarray([labels.index(label) for label in gold])
    scored: dict[tuple[str, ...], float] = {}
    for pick in picks:
        chosen = [kept[label][number] for label, number in zip(labels, pick, strict=True)]
        words = tuple(word for word, _ in chosen)
        if len({word.casefold() for word in words}) < len(words) or words in scored:
            continue
        logs = log_softmax(np.asarray([values for _, values in chosen]).T)
        scored[words] = float(logs[np.arange(len(true)), true].mean())
    best = sorted(scored, key=lambda words: scored[words], reverse=True)
    return (dict(zip(labels, words, strict=True)) for words in best)
