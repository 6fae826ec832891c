"""What answers a task's records under a candidate's words: a backbone here, or an LLM elsewhere."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol, cast

from cuecard.engine.protocol import (
    Finished,
    Generates,
    Generation,
    Held,
    Sampling,
    Scores,
    Scoring,
    Token,
)
from cuecard.engine.text_stream import TextStream
from cuecard.errors import ConfigError, LLMError
from cuecard.evaluation.baselines.manual import ManualPrompt
from cuecard.evaluation.predict import cut_answer
from cuecard.lazy import torch
from cuecard.llms.protocol import LLMMessage, LLMRequest
from cuecard.search.asker import Asker
from cuecard.search.budget import Amount
from cuecard.search.calls import CallAnswer, Calls
from cuecard.search.candidate import PromptCandidate, digest, told_records
from cuecard.search.scorer import RowScorer, Scorer
from cuecard.tasks import TaskSpec
from cuecard.tasks.encoding.label_words import LabelWords
from cuecard.tasks.predictions import word_predictions
from cuecard.tasks.template import Template, escape
from cuecard.types import Encoded, Record, Tokenizer

# A label is a few words, and a model that talks around it is cut here.
_LABEL_TOKENS = 24
# A probability that is 0 in float64 has no logarithm.
_LEAST = 1e-300


@dataclass(frozen=True, slots=True)
class Judged:
    """An answer, and what it is worth.

    Attributes:
        score: from 0 to 1.
    """

    answer: str
    score: float


@dataclass(frozen=True, slots=True)
class Likelihood:
    """What a backbone makes of what is right for a record.

    Attributes:
        right: the log-probability of its label among the labels, or of its text a token.
        other: that of the likeliest other label; None for a text.
    """

    right: float
    other: float | None


class Solver(Protocol):
    """Answers records and scores the answers."""

    async def judge(self, candidate: PromptCandidate, records: Sequence[Record]) -> list[Judged]:
        """What it answers to each record.

        Raises:
            ConfigError: a candidate that leaves no room for a record.
            BudgetSpent: there is not enough left.
            LLMError: the model does not answer.
            DataError: as `Scorer.scores`.
        """
        ...

    def most(self, candidate: PromptCandidate, records: Sequence[Record]) -> Amount:
        """What that takes at most."""
        ...


def fits(solver: Solver, candidate: PromptCandidate, records: Sequence[Record]) -> bool:
    """Whether a candidate leaves room for records."""
    try:
        solver.most(candidate, records)
    except ConfigError:
        return False
    return True


class AnsweringEngine(Scores, Generates, Protocol):
    """What a solver needs of an engine in this process."""

    tokenizer: Tokenizer
    max_positions: int

    async def drop(self, digest: str) -> None: ...


class EngineSolver:
    """A backbone in this process answers: by its labels' likelihoods, or in its own words.

    Args:
        engine: started.
        backbone: digest of the model's weights, for the journal.
        spec: the task.
        scorer: what answers are worth; see `RowScorer` for what it is by default.
    """

    def __init__(
        self,
        engine: AnsweringEngine,
        backbone: str,
        spec: TaskSpec,
        calls: Calls,
        scorer: Scorer | None = None,
    ) -> None:
        self._engine, self._backbone, self._spec, self._calls = engine, backbone, spec, calls
        self._scorer = scorer or RowScorer(spec)

    async def judge(self, candidate: PromptCandidate, records: Sequence[Record]) -> list[Judged]:
        """See `Solver.judge`; all records are one call of the journal."""
        spec, rows = self._encoded(candidate, records)
        key = digest([self._backbone, *_told(spec, candidate), told_records(records)])
        most = _cost(spec, rows, candidate)

        async def run() -> CallAnswer:
            return CallAnswer(await self._answers(spec, rows, candidate), most)

        found = await self._calls.make(key, "backbone", most, run)
        # Journals of earlier versions have the scores beside the answers.
        answers = [each if isinstance(each, str) else each[0] for each in found]
        return await _judged(self._scorer, records, answers)

    def most(self, candidate: PromptCandidate, records: Sequence[Record]) -> Amount:
        """See `Solver.most`. Every row counts as a call."""
        return _cost(*self._encoded(candidate, records), candidate)

    async def likelihoods(
        self, candidates: Sequence[PromptCandidate], records: Sequence[Record]
    ) -> list[list[Likelihood]]:
        """What every candidate makes of what is right for each record: a graded score.

        All candidates and records are one call of the journal, and share passes of the backbone.

        Raises:
            ConfigError: a candidate that leaves no room for a record.
            BudgetSpent: there is not enough left.
        """
        parts = [(each, *self._encoded(each, records)) for each in candidates]
        told = [_told(spec, candidate) for candidate, spec, _ in parts]
        key = digest(["likelihoods", self._backbone, told, told_records(records)])
        most = sum((_cost(spec, rows, candidate) for candidate, spec, rows in parts), Amount())

        async def run() -> CallAnswer:
            asked = [
                Scoring(candidate.soft, row, self._continuations(spec, row))
                for candidate, spec, rows in parts
                for row in rows
            ]
            sums = iter(await self._engine.score(asked))
            for candidate in candidates:
                if candidate.soft is not None:
                    await self._engine.drop(candidate.soft.digest)
            pairs = [
                (candidate, spec, list(zip(records, rows, strict=True)))
                for candidate, spec, rows in parts
            ]
            found = [
                [self._likelihood(spec, candidate, *pair, next(sums)) for pair in each]
                for candidate, spec, each in pairs
            ]
            return CallAnswer(found, most)

        answers = await self._calls.make(key, "backbone", most, run)
        return [[Likelihood(*each) for each in row] for row in answers]

    def _continuations(self, spec: TaskSpec, row: Encoded) -> tuple[tuple[int, ...], ...]:
        """What may follow a row: the labels, or the text that is right."""
        return (row.target,) if spec.mode == "text" else self._label_words(spec).asked

    def _label_words(self, spec: TaskSpec) -> LabelWords:
        return spec.label_words(self._engine.tokenizer)

    def _likelihood(
        self,
        spec: TaskSpec,
        candidate: PromptCandidate,
        record: Record,
        row: Encoded,
        sums: list[float],
    ) -> tuple[float, float | None]:
        if spec.mode == "text":
            return sums[0] / len(row.target), None
        words, found = self._label_words(spec), torch.tensor([sums], dtype=torch.float64)
        (told,) = word_predictions(
            words, found, spec.labels, normalize=spec.normalize, prior=candidate.prior
        )
        logs = {label: math.log(max(share, _LEAST)) for label, share in told.probabilities.items()}
        right = logs.pop(spec.label_of(record))
        return right, max(logs.values())

    def _encoded(
        self, candidate: PromptCandidate, records: Sequence[Record]
    ) -> tuple[TaskSpec, list[Encoded]]:
        """The task in a candidate's words, and its rows."""
        tokenizer = self._engine.tokenizer
        spec = candidate.to_spec(self._spec, tokenizer, self._engine.max_positions)
        return spec, [spec.encode(record, tokenizer) for record in records]

    async def _answers(
        self, spec: TaskSpec, rows: Sequence[Encoded], candidate: PromptCandidate
    ) -> list[str]:
        soft = candidate.soft
        if spec.mode == "text":
            return list(await asyncio.gather(*(self._text(spec, row, soft) for row in rows)))
        words = self._label_words(spec)
        found = await self._engine.score([Scoring(soft, row, words.asked) for row in rows])
        sums = torch.tensor(found, dtype=torch.float64)
        told = word_predictions(
            words, sums, spec.labels, normalize=spec.normalize, prior=candidate.prior
        )
        return [each.answer for each in told]

    async def _text(self, spec: TaskSpec, row: Encoded, soft: Held | None) -> str:
        slot = len(row.context) if soft is None else row.slot
        asked = Generation(soft, row.context, slot, Sampling(spec.max_new_tokens))
        stops = () if spec.stop is None else (spec.stop,)
        stream, texts = TextStream(self._engine.tokenizer, stops, strip=True), list[str]()
        items = cast("AsyncGenerator[Token | Finished, None]", self._engine.generate(asked))
        async with aclosing(items):
            async for item in items:
                if isinstance(item, Finished):
                    break
                texts.append(stream.add(item.id))
                if stream.stopped:
                    break
        return "".join([*texts, stream.end()])


def _told(spec: TaskSpec, candidate: PromptCandidate) -> list[Any]:
    """What answers of a backbone depend on beside the records."""
    soft = [] if candidate.soft is None else [candidate.soft.digest]
    prior = [] if candidate.prior is None else [dict(candidate.prior)]
    return [spec.model_dump(mode="json"), *soft, *prior]


def _cost(spec: TaskSpec, rows: Sequence[Encoded], candidate: PromptCandidate) -> Amount:
    """A call a row, and the tokens that it reads and may write."""
    more = candidate.vectors + (spec.max_new_tokens if spec.mode == "text" else 1)
    return Amount(len(rows), sum(len(row.context) + more for row in rows))


class LLMSolver:
    """An LLM answers, a record a call, in its own words; labels are found in what it says.

    Raises:
        ConfigError: labels that cannot be told apart in an answer.
    """

    def __init__(self, asker: Asker, spec: TaskSpec, scorer: Scorer | None = None) -> None:
        self._asker, self._spec, self._scorer = asker, spec, scorer or RowScorer(spec)
        self._understood = False
        _check_words(self._words())

    async def judge(self, candidate: PromptCandidate, records: Sequence[Record]) -> list[Judged]:
        """See `Solver.judge`.

        Raises:
            LLMError: not one of the first answers names a label.
        """
        found = await self._asker.ask([self._request(candidate, record) for record in records])
        texts = [cut_answer(each.text, self._spec.stop) for each in found]
        if self._spec.labels:
            named = [label_in(text, self._words(candidate.prompt)) for text in texts]
            self._check_named(named, texts)
            texts = [label or text for label, text in zip(named, texts, strict=True)]
        return await _judged(self._scorer, records, texts)

    def text(self, candidate: PromptCandidate) -> str:
        """What the LLM is told, with the record's fields by name."""
        return candidate.text(self._spec)

    def asked(self, candidate: PromptCandidate) -> TaskSpec:
        """The task in a candidate's words, as other tools are told of it."""
        prompt = candidate.prompt
        more = {
            "template": escape(prompt.ahead(self._spec)) + prompt.template,
            "words": self._words(prompt) if self._spec.labels else {},
            "chat": prompt.system is not None,
            "system": prompt.system,
        }
        return TaskSpec(**(self._spec.model_dump() | more))

    def _check_named(self, named: Sequence[str | None], texts: Sequence[str]) -> None:
        """Refuse a model that does not answer by labels; a candidate may go wrong later."""
        if not self._understood and not any(named):
            raise LLMError(
                "none of the LLM's answers names a label",
                where=f"model {self._asker.llm.name}",
                got=f"{texts[0][:200]!r}, and {len(texts) - 1} more",
                expected=", ".join(self._words().values()),
                hint="ask for a label alone with --instruction, or take a model that follows it",
                fatal=True,
            )
        self._understood = True

    def most(self, candidate: PromptCandidate, records: Sequence[Record]) -> Amount:
        """See `Solver.most`."""
        each = [self._asker.most(self._request(candidate, record)) for record in records]
        return sum(each, Amount())

    def _words(self, prompt: ManualPrompt | None = None) -> dict[str, str]:
        """The labels' words: a prompt's own, or the task's."""
        own = None if prompt is None else prompt.words
        words = self._spec.words if own is None else own
        return {label: words.get(label, label) for label in self._spec.labels}

    def _request(self, candidate: PromptCandidate, record: Record) -> LLMRequest:
        prompt = candidate.prompt
        text = prompt.ahead(self._spec) + Template(prompt.template).render(dict(record.texts))
        system = [LLMMessage("system", prompt.system)] if prompt.system else []
        limit = self._spec.max_new_tokens
        if self._spec.labels:
            # No word has more tokens than bytes.
            longest = max(len(word.encode()) for word in self._words(prompt).values())
            limit = max(_LABEL_TOKENS, longest)
        return LLMRequest((*system, LLMMessage("user", text)), limit)


async def _judged(
    scorer: Scorer, records: Sequence[Record], answers: Sequence[str]
) -> list[Judged]:
    """Answers with what they are worth, which is found anew in every sitting: a score that failed
    is mended, and what was answered stands."""
    scores = await scorer.scores(records, answers)
    return [Judged(answer, score) for answer, score in zip(answers, scores, strict=True)]


def label_in(text: str, words: Mapping[str, str]) -> str | None:
    """The label that an answer says: alone, at its beginning, or as the only one in it.

    Args:
        words: label -> the word that the prompt has for it; the label's own name counts as well.
    """
    both = (words, {label: label for label in words})
    for known in both:  # "C++" and not "C", where both are labels
        alone = [x for x, word in known.items() if _bare(word) and _bare(word) == _bare(text)]
        if alone:
            return alone[0]
    plain = plain_words(text)
    for known in both:
        said = {label: plain_words(word) for label, word in known.items()}
        first = [x for x, word in said.items() if word and f"{plain} ".startswith(f"{word} ")]
        if first:  # "not relevant" and not "not", where both are labels
            return max(first, key=lambda label: len(said[label]))
        within = [x for x, word in said.items() if word and f" {word} " in f" {plain} "]
        if len(within) == 1:
            return within[0]
    return None


def _check_words(words: Mapping[str, str]) -> None:
    """Refuse labels that an answer cannot tell apart."""
    first: dict[str, str] = {}
    for label, word in words.items():
        other = first.setdefault(_bare(word), label)
        if other != label or not _bare(word):
            raise ConfigError(
                "an LLM's answers cannot tell these labels apart",
                where="the labels' words",
                got=f"{other!r} and {label!r}, both told by {word!r}",
                expected="words that differ by more than their case",
                hint=f"--word {label!r}=ANOTHER",
            )


def _bare(text: str) -> str:
    """A text without its case, and without what is put around an answer."""
    return text.strip().strip("*_`\"'").removesuffix(".").casefold()


def plain_words(text: str) -> str:
    """A text's words without their case, and without what stands between them."""
    return " ".join(re.findall(r"\w+", text.casefold()))
