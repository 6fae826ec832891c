"""A number per label, taken off its score, so that a prompt does not lean to one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cuecard.errors import ConfigError
from cuecard.evaluation.calibration import fitted_prior
from cuecard.evaluation.predict import batch_prior, content_free_records, predict
from cuecard.search.budget import Amount
from cuecard.search.candidate import PromptCandidate, told_records
from cuecard.search.searcher import SearchState
from cuecard.tasks import TaskSpec
from cuecard.types import Record

_MOST_ROWS = 128
_DECIMALS = 6


class Calibration:
    """Fits what is taken off labels' scores to training rows that nobody races on.

    For the best candidate that has not been calibrated: fitted to the labels of these rows (see
    `fitted_prior`), the labels' mean share over the rows without their labels (Zhou et al. 2023,
    arXiv:2309.17249), and their share on inputs that say nothing (Zhao et al. 2021,
    arXiv:2102.09690). The race keeps what helps; the numbers go into the prompt's folder, and are
    taken off wherever it is served.
    """

    def __init__(self) -> None:
        self._done: set[str] = set()

    async def propose(self, state: SearchState, count: int) -> list[PromptCandidate]:
        """Up to three of the best candidate that has no numbers yet."""
        plain = (replace(racer.candidate, prior=None) for racer in state.ranked)
        bare = next((each for each in plain if each.key not in self._done), None)
        if bare is None:
            return []
        self._done.add(bare.key)
        try:
            priors = await _priors(state, bare)
        except ConfigError:  # longer than the rows that it was raced on leave room for
            return []
        return [
            replace(bare, origin=f"{bare.origin}, {how}", prior=prior)
            for how, prior in priors.items()
        ][:count]

    def most(self, state: SearchState, count: int) -> Amount:
        """See `RunsModel.most`."""
        assert state.model is not None  # a searcher that needs one is given one
        blanks = content_free_records(state.spec, state.model.backbone.tokenizer)
        return most_rows_cost(state, blanks)


def drawn_rows(state: SearchState) -> list[Record]:
    """Labelled rows to fit something to, by chance; more for more labels."""
    return state.sample(_wanted(state.spec))


def _wanted(spec: TaskSpec) -> int:
    return min(_MOST_ROWS, max(32, 8 * len(spec.labels)))


def most_rows_cost(state: SearchState, more: Sequence[Record] = ()) -> Amount:
    """What the best prompt takes at most on rows to fit something to, and on more of them."""
    assert state.model is not None  # a searcher that needs one is given one
    backbone, best = state.model.backbone, state.best
    spec = best.to_spec(state.spec, backbone.tokenizer, backbone.max_positions)
    rows = [*state.longest(best, _wanted(spec)), *more]
    return rows_cost(spec, rows, state, best.vectors)


def rows_cost(spec: TaskSpec, rows: list[Record], state: SearchState, vectors: int) -> Amount:
    """A call a row, and the tokens that it reads and scores."""
    assert state.model is not None  # a searcher that needs one is given one
    tokenizer = state.model.backbone.tokenizer
    longest = max(map(len, spec.label_words(tokenizer).asked))
    read = sum(len(spec.encode(row, tokenizer).context) for row in rows)
    return Amount(len(rows), read + len(rows) * (vectors + longest))


async def _priors(state: SearchState, bare: PromptCandidate) -> dict[str, dict[str, float]]:
    model = state.model
    assert model is not None  # a searcher that needs one is given one
    backbone = model.backbone
    spec = bare.to_spec(state.spec, backbone.tokenizer, backbone.max_positions)
    rows = drawn_rows(state)
    blanks = content_free_records(spec, backbone.tokenizer)
    soft = None if bare.soft is None else bare.soft.injection

    def run() -> dict[str, dict[str, float]]:
        found = predict(backbone, spec, [*rows, *blanks], soft)
        raw, blank = found[: len(rows)], found[len(rows) :]
        priors = {
            "fitted": fitted_prior(raw, [spec.label_of(row) for row in rows]),
            "batch-calibrated": batch_prior(raw),
            **({"content-free": batch_prior(blank)} if blank else {}),
        }
        return {
            how: {label: round(value, _DECIMALS) for label, value in prior.items()}
            for how, prior in priors.items()
        }

    cost = rows_cost(spec, [*rows, *blanks], state, bare.vectors)
    found: dict[str, dict[str, float]] = await model.counted(
        ["calibration", bare.key, told_records(rows)], cost, run
    )
    return found
