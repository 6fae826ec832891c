"""What answers a task's records under a candidate's words: a backbone here, or an LLM elsewhere."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cuecard.engine.protocol import Finished, Generates, Generation, Sampling, Scores, Scoring
from cuecard.evaluation.baselines.manual import ManualPrompt
from cuecard.lazy import torch
from cuecard.llms.protocol import LLMMessage, LLMRequest
from cuecard.search.asker import Asker
from cuecard.search.budget import Amount
from cuecard.search.calls import CallAnswer, Calls
from cuecard.search.candidate import PromptCandidate, digest
from cuecard.tasks import TaskSpec
from cuecard.tasks.predictions import word_predictions
from cuecard.tasks.template import Template
from cuecard.types import Encoded, Prediction, Record, Tokenizer

# A label is a few words, and a model that talks around it is cut here.
_LABEL_TOKENS = 24


@dataclass(frozen=True, slots=True)
class Judged:
    """An answer, and what it is worth.

    Attributes:
        score: from 0 to 1.
    """

    answer: str
    score: float


class Solver(Protocol):
    """Answers records and scores the answers."""

    async def judge(self, candidate: PromptCandidate, records: Sequence[Record]) -> list[Judged]:
        """What it answers to each record.

        Raises:
            ConfigError: a candidate that leaves no room for a record.
            BudgetSpent: there is not enough left.
            LLMError: the model does not answer.
        """
        ...

    def most(self, candidate: PromptCandidate, records: Sequence[Record]) -> Amount:
        """What that takes at most."""
        ...


class AnsweringEngine(Scores, Generates, Protocol):
    """What a solver needs of an engine in this process."""

    tokenizer: Tokenizer
    max_positions: int


class EngineSolver:
    """A backbone in this process answers: by its labels' likelihoods, or in its own words.

    Args:
        engine: started.
        backbone: digest of the model's weights, for the journal.
        spec: the task.
    """

    def __init__(
        self, engine: AnsweringEngine, backbone: str, spec: TaskSpec, calls: Calls
    ) -> None:
        self._engine, self._backbone, self._spec, self._calls = engine, backbone, spec, calls

    async def judge(self, candidate: PromptCandidate, records: Sequence[Record]) -> list[Judged]:
        """See `Solver.judge`; all records are one call of the journal."""
        spec, rows = self._encoded(candidate, records)
        asked = [[*record.texts.items(), str(record.target)] for record in records]
        key = digest([self._backbone, spec.model_dump(mode="json"), asked])
        most = _cost(spec, rows)

        async def run() -> CallAnswer:
            answers = await self._answers(spec, rows)
            scores = judged(self._spec, records, answers)
            return CallAnswer(list(zip(answers, scores, strict=True)), most)

        found = await self._calls.make(key, "backbone", most, run)
        return [Judged(answer, score) for answer, score in found]

    def most(self, candidate: PromptCandidate, records: Sequence[Record]) -> Amount:
        """See `Solver.most`. Every row counts as a call."""
        return _cost(*self._encoded(candidate, records))

    def _encoded(
        self, candidate: PromptCandidate, records: Sequence[Record]
    ) -> tuple[TaskSpec, list[Encoded]]:
        """The task in a candidate's words, and its rows."""
        tokenizer, most = self._engine.tokenizer, self._engine.max_positions
        spec = candidate.prompt.to_spec(self._spec, tokenizer, most)
        return spec, [spec.encode(record, tokenizer) for record in records]

    async def _answers(self, spec: TaskSpec, rows: Sequence[Encoded]) -> list[str]:
        if spec.mode == "text":
            return list(await asyncio.gather(*(self._text(spec, row.context) for row in rows)))
        words = spec.label_words(self._engine.tokenizer)
        found = await self._engine.score([Scoring(None, row, words.asked) for row in rows])
        sums = torch.tensor(found, dtype=torch.float64)
        told = word_predictions(words, sums, spec.labels, normalize=spec.normalize)
        return [each.answer for each in told]

    async def _text(self, spec: TaskSpec, context: tuple[int, ...]) -> str:
        sampling = Sampling(spec.max_new_tokens)
        asked = Generation(None, context, len(context), sampling)
        items = [item async for item in self._engine.generate(asked)]
        ids = [item.id for item in items if not isinstance(item, Finished)]
        return str(self._engine.tokenizer.decode(ids, skip_special_tokens=True)).strip()


def _cost(spec: TaskSpec, rows: Sequence[Encoded]) -> Amount:
    """A call a row, and the tokens that it reads and may write."""
    written = spec.max_new_tokens if spec.mode == "text" else 1
    return Amount(len(rows), sum(len(row.context) + written for row in rows))


class LLMSolver:
    """An LLM answers, a record a call, in its own words; labels are found in what it says."""

    def __init__(self, asker: Asker, spec: TaskSpec) -> None:
        self._asker, self._spec = asker, spec

    async def judge(self, candidate: PromptCandidate, records: Sequence[Record]) -> list[Judged]:
        """See `Solver.judge`."""
        found = await self._asker.ask([self._request(candidate, record) for record in records])
        texts = [each.text.strip() for each in found]
        if self._spec.labels:
            texts = [label_in(text, self._words(candidate.prompt)) or text for text in texts]
        scores = judged(self._spec, records, texts)
        return [Judged(text, score) for text, score in zip(texts, scores, strict=True)]

    def most(self, candidate: PromptCandidate, records: Sequence[Record]) -> Amount:
        """See `Solver.most`."""
        each = [self._asker.most(self._request(candidate, record)) for record in records]
        return sum(each, Amount())

    def _words(self, prompt: ManualPrompt) -> dict[str, str]:
        words = self._spec.words if prompt.words is None else prompt.words
        return {label: words.get(label, label) for label in self._spec.labels}

    def _request(self, candidate: PromptCandidate, record: Record) -> LLMRequest:
        prompt = candidate.prompt
        words = self._words(prompt) if self._spec.labels else {}
        template = Template(prompt.template)
        shown = [
            f"{template.render(dict(each.texts))} {words.get(str(each.target), str(each.target))}"
            for each in prompt.demonstrations
        ]
        asked = template.render(dict(record.texts))
        text = prompt.instruction + "".join(f"{each}\n\n" for each in shown) + asked
        system = [LLMMessage("system", prompt.system)] if prompt.system else []
        limit = _LABEL_TOKENS if self._spec.labels else self._spec.max_new_tokens
        return LLMRequest((*system, LLMMessage("user", text)), limit)


def judged(spec: TaskSpec, records: Sequence[Record], answers: Sequence[str]) -> list[float]:
    """What answers are worth, from 0 to 1: of labels 1 for the right one, of texts ROUGE-L."""
    if spec.labels:
        gold = map(spec.label_of, records)
        return [float(told == true) for told, true in zip(answers, gold, strict=True)]
    predictions = [Prediction(n, answer, {}, {}) for n, answer in enumerate(answers)]
    gold_values = [spec.with_value(record).target for record in records]
    found = spec.task_kind.score(spec, gold_values, predictions)
    return [float(value) for value in found.vectors["rouge_l"]]


def label_in(text: str, words: Mapping[str, str]) -> str | None:
    """The label that an answer says: alone, at its beginning, or as the only one in it.

    Args:
        words: label -> the word that the prompt has for it; the label's own name counts as well.
    """
    plain = _plain(text)
    for known in (words, {label: label for label in words}):
        said = {label: _plain(word) for label, word in known.items()}
        first = [x for x, word in said.items() if word and f"{plain} ".startswith(f"{word} ")]
        if first:  # "not relevant" and not "not", where both are labels
            return max(first, key=lambda label: len(said[label]))
        within = [x for x, word in said.items() if word and f" {word} " in f" {plain} "]
        if len(within) == 1:
            return within[0]
    return None


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))
