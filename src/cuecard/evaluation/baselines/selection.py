"""What a prompt has to beat: the most common answer, and the best hand-written prompt.

Which hand-written prompt is best, and how its answers are read, is decided on validation rows
alone. Candidates race: all of them answer a few rows, the better half answers more, and so on
(successive halving: Jamieson and Talwalkar 2016, arXiv:1502.07943, section 3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from cuecard.errors import ConfigError
from cuecard.evaluation.baselines.manual import ManualPrompt
from cuecard.evaluation.calibration import cross_fitted, fitted_prior
from cuecard.evaluation.evaluate import Evaluation, prompt_tokens, score_predictions
from cuecard.evaluation.predict import (
    BATCH_ROWS,
    NEGLIGIBLE,
    batch_prior,
    content_free_records,
    cut_answer,
    predict,
)
from cuecard.lazy import np
from cuecard.metrics.answers import text_metrics
from cuecard.tasks.kinds.classification import most_common
from cuecard.tasks.predictions import calibrate
from cuecard.tasks.spec import TaskSpec
from cuecard.tasks.splits import draw_rows
from cuecard.types import Backbone, Prediction, Record

# What the first round scores whatever it costs, so that there is a choice.
_LEAST = 2
# Why a candidate was skipped that the tokens did not last for.
NOT_TRIED = "not tried: the comparison may not cost more than the training"


@dataclass(frozen=True, slots=True)
class ManualTrial:
    """One hand-written prompt on the validation rows it was tried on.

    Attributes:
        name: the prompt's name.
        variant: how its answers were read: "plain", "batch-calibrated", "content-free-calibrated",
            "fitted prior" (see `fitted_prior`, cross-fitted for the score); for texts "plain",
            "first line" or "first paragraph".
        demonstrations: how many.
        score: accuracy, or ROUGE-L of texts.
        tokens: prompt tokens per request.
        rows: how many validation rows it answered before it was dropped or chosen.
    """

    name: str
    variant: str
    demonstrations: int
    score: float
    tokens: int
    rows: int


OnTrial = Callable[[ManualTrial, int, int], None]
"""Called with a candidate as it reads best, its number in the round, and how many these are."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The best hand-written prompt on the validation rows, ready for `evaluate`.

    Attributes:
        manual: the prompt.
        spec: the task in its words.
        variant: as in `ManualTrial`.
        prior: log-priors to take off, for `predict`; None without calibration.
        stop: the text that ends an answer, for `predict`; None for all of it.
        score: its validation score.
        table: every trial, by candidate in the order given.
        skipped: name -> why a candidate could not be used or was not tried.
        as_written: the best one without calibration or any other reading; None if it is this one.
    """

    manual: ManualPrompt
    spec: TaskSpec
    variant: str
    prior: Mapping[str, float] | None
    stop: str | None
    score: float
    table: tuple[ManualTrial, ...]
    skipped: Mapping[str, str]
    as_written: Choice | None = None


@dataclass(frozen=True, slots=True)
class _Reading:
    """One way to read a candidate's answers, and what it is worth on the rows so far.

    Attributes:
        sureness: mean log-probability of the right label, which decides between equal scores.
    """

    variant: str
    prior: Mapping[str, float] | None
    stop: str | None
    score: float
    sureness: float

    @property
    def rank(self) -> tuple[float, float]:
        return self.score, self.sureness


class _Candidate:
    """A hand-written prompt in the race, with its answers so far."""

    def __init__(self, manual: ManualPrompt, spec: TaskSpec, tokens: int) -> None:
        self.manual, self.spec, self.tokens = manual, spec, tokens
        self.answers: list[Prediction] = []
        self.readings: list[_Reading] = []
        self._blank: dict[str, float] | None = None

    def answer(
        self, backbone: Backbone, rows: Sequence[Record], batch_rows: int, budget: int | None
    ) -> None:
        """Answer the rows that it has not seen yet; the content-free ones come with the first."""
        new = rows[len(self.answers) :]
        blanks: list[Record] = []
        if self.spec.mode == "labels" and self._blank is None:
            blanks = content_free_records(self.spec, backbone.tokenizer)
        found = predict(
            backbone,
            self.spec,
            [*new, *blanks],
            batch_rows=batch_rows,
            token_budget=budget,
            negligible=NEGLIGIBLE,
        )
        self.answers += found[: len(new)]
        if blanks:
            self._blank = batch_prior(found[len(new) :])
        self.readings = list(self._read(rows))

    @property
    def best(self) -> _Reading:
        """Of equals the first, which is the plain one."""
        return max(self.readings, key=lambda reading: reading.rank)

    @property
    def plain(self) -> _Reading:
        return self.readings[0]

    def trial(self, reading: _Reading) -> ManualTrial:
        shown = len(self.manual.demonstrations)
        name, rows = self.manual.name, len(self.answers)
        return ManualTrial(name, reading.variant, shown, reading.score, self.tokens, rows)

    def choice(self, reading: _Reading) -> Choice:
        variant, score = reading.variant, reading.score
        return Choice(self.manual, self.spec, variant, reading.prior, reading.stop, score, (), {})

    def _read(self, rows: Sequence[Record]) -> Iterator[_Reading]:
        gold, raw = [*map(self.spec.label_of, rows)], self.answers
        if self.spec.mode == "text":
            for name, stop in (("plain", None), ("first line", "\n"), ("first paragraph", "\n\n")):
                answers = [cut_answer(p.answer, stop) for p in raw]
                yield _Reading(name, None, stop, text_metrics(gold, answers)[0]["rouge_l"], 0.0)
            return
        yield _reading("plain", None, gold, raw)
        priors = {"batch-calibrated": batch_prior(raw), "content-free-calibrated": self._blank}
        for variant, prior in priors.items():
            if prior is not None:
                yield _reading(variant, prior, gold, calibrate(raw, prior))
        if len(rows) > 1:
            yield _reading("fitted prior", fitted_prior(raw, gold), gold, cross_fitted(raw, gold))


def select_manual(
    backbone: Backbone,
    spec: TaskSpec,
    validation: Sequence[Record],
    candidates: Sequence[ManualPrompt],
    *,
    batch_rows: int = BATCH_ROWS,
    token_budget: int | None = None,
    rounds: Sequence[int] = (),
    tokens: int | None = None,
    on_trial: OnTrial | None = None,
) -> Choice:
    """Try every candidate, with and without calibration, and keep the best on validation.

    Between equal scores the surer of the right labels wins, then the earlier, then the plain one.

    Args:
        rounds: after so many rows each time the worse half of the candidates is dropped; with none
            of them every candidate answers all rows. Which rows come first depends on the rows'
            content alone.
        tokens: how many tokens may be run forward, about; a round that has used its share of them
            ends without the candidates that are left, but the first one not before it has scored
            two. None for no limit.
        on_trial: see `OnTrial`.

    Raises:
        ConfigError: no candidate can be used.
    """
    running, skipped = _usable(backbone, spec, validation, candidates)
    tried = list(running)
    # A round that is nearly the last one drops nothing worth its while.
    sizes = [*sorted(n for n in set(rounds) if 3 * n <= 2 * len(validation)), len(validation)]
    # What each round has to answer, if half of the candidates are dropped after each.
    new = [(size - before) / 2**i for i, (before, size) in enumerate(pairwise([0, *sizes]))]
    ordered = _as_drawn(validation, sizes)
    left = tokens
    for number, size in enumerate(sizes):
        before = backbone.counts["tokens"]
        share = None if left is None else max(left, 0) * new[number] / sum(new[number:])
        scored = 0
        for candidate in running:
            spent = backbone.counts["tokens"] - before
            # Another one costs as much as those before it did.
            least = 1 if number else _LEAST
            if share is not None and scored >= least and spent * (scored + 1) / scored > share:
                break
            candidate.answer(backbone, ordered[:size], batch_rows, token_budget)
            scored += 1
            if on_trial is not None:
                on_trial(candidate.trial(candidate.best), scored, len(running))
        if left is not None:
            left -= backbone.counts["tokens"] - before
        running = sorted(running[:scored], key=lambda c: c.best.rank, reverse=True)
        if number < len(sizes) - 1:
            running = running[: (len(running) + 1) // 2]
    skipped |= {c.manual.name: NOT_TRIED for c in tried if not c.answers}
    table = tuple(c.trial(reading) for c in tried for reading in c.readings)
    winner, written = running[0], max(running, key=lambda c: c.plain.rank)
    best = replace(winner.choice(winner.best), table=table, skipped=skipped)
    if best.variant == "plain":
        return best
    plain = replace(written.choice(written.plain), table=table, skipped=skipped)
    return replace(best, as_written=plain)


def majority(
    spec: TaskSpec, train: Sequence[Record], test: Sequence[Record], *, seed: int = 0
) -> Evaluation:
    """The evaluation of always giving the training records' most common answer.

    Raises:
        ConfigError: no training record has a target.
    """
    return score_predictions(spec, test, most_common(spec, train, len(test)), seed=seed)


def _usable(
    backbone: Backbone,
    spec: TaskSpec,
    validation: Sequence[Record],
    candidates: Sequence[ManualPrompt],
) -> tuple[list[_Candidate], dict[str, str]]:
    """The candidates that can be asked, and why the others cannot.

    Raises:
        ConfigError: none can.
    """
    tokenizer = backbone.tokenizer
    longest = max((len(spec.encode(r, tokenizer).context) for r in validation), default=0)
    own = prompt_tokens(spec, tokenizer)
    usable: list[_Candidate] = []
    skipped: dict[str, str] = {}
    for manual in candidates:
        try:
            asked = manual.to_spec(spec, tokenizer, backbone.max_positions)
        except ConfigError as error:
            skipped[manual.name] = error.what
            continue
        tokens = prompt_tokens(asked, tokenizer)
        # Records that are cut because of it would be no fair trial.
        if longest + tokens - own > asked.max_length:
            skipped[manual.name] = "the hand-written prompt leaves no room for whole records"
            continue
        usable.append(_Candidate(manual, asked, tokens))
    if not usable:
        raise ConfigError(
            "no hand-written prompt can be used",
            got="; ".join(dict.fromkeys(skipped.values())) or "no candidates",
            expected="at least one",
        )
    return usable, skipped


def _as_drawn(records: Sequence[Record], sizes: Sequence[int]) -> list[Record]:
    """The records so that the first n, for every n of the sizes, are those that n rows draw."""
    ordered: list[Record] = []
    seen: set[int] = set()
    for size in sizes:
        ordered += [r for r in draw_rows(records, size, "rounds") if id(r) not in seen]
        seen |= set(map(id, ordered))
    return ordered


def _reading(
    variant: str,
    prior: Mapping[str, float] | None,
    gold: Sequence[str],
    predictions: Sequence[Prediction],
) -> _Reading:
    pairs = list(zip(gold, predictions, strict=True))
    sureness = np.mean([np.log(max(p.probabilities[g], 1e-12)) for g, p in pairs])
    score = np.mean([g == p.answer for g, p in pairs])
    return _Reading(variant, prior, None, float(score), float(sureness))
