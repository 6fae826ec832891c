"""Other packages' searchers, as they come, on a model whose calls are counted here."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cuecard.lazy import lazy_module
from cuecard.llms.protocol import LLMMessage, LLMRequest
from cuecard.search.asker import Asker
from cuecard.search.calls import Calls
from cuecard.search.solver import label_in
from cuecard.tasks import Task
from cuecard.types import Record

gepa = lazy_module("gepa")
gepa_adapter = lazy_module("gepa.adapters.default_adapter.default_adapter")
pandas = lazy_module("pandas")
capo = lazy_module("promptolution.optimizers.capo")
classification = lazy_module("promptolution.tasks.classification_tasks")
first_occurrence = lazy_module("promptolution.predictors.first_occurrence_predictor")
prompt_creation = lazy_module("promptolution.utils.prompt_creation")

Chat = Sequence[tuple[str, str]]

ANSWER_TOKENS = 24
"""Of an answer to a row: as many as a search here allows for a label."""

_WRITTEN = 1000
# GEPA's own minibatch.
_READ = 3
# CAPO's first population beside the start, and into how many blocks the validation rows are cut:
# of its own 30 rows there would be none.
_VARIED, _BLOCKS = 3, 2
_SYSTEM = "You are a helpful assistant."


@dataclass
class CountedModel:
    """One model that answers and writes, for code that waits for it.

    Attributes:
        asker: counts, and refuses what passes the budget.
        runner: of the event loop that the model runs in.
    """

    asker: Asker
    calls: Calls
    runner: asyncio.Runner
    _samples: int = field(default=0, init=False)

    @property
    def left(self) -> int:
        """Calls that are left."""
        most = self.calls.ledger.budget.calls
        assert most is not None
        return most - self.calls.ledger.spent.calls

    def answers(self, chats: Sequence[Chat]) -> list[str]:
        """The likeliest answers to rows.

        Raises:
            BudgetSpent: there are fewer calls left than chats.
        """
        return self._asked([LLMRequest(_messages(chat), ANSWER_TOKENS) for chat in chats])

    def writes(self, chats: Sequence[Chat]) -> list[str]:
        """Something else every time; errors as in `answers`."""
        first, self._samples = self._samples, self._samples + len(chats)
        return self._asked(
            [
                LLMRequest(_messages(chat), _WRITTEN, 1.0, first + number)
                for number, chat in enumerate(chats)
            ]
        )

    def _asked(self, requests: Sequence[LLMRequest]) -> list[str]:
        found = self.runner.run(self.asker.ask(requests))
        return [each.text.strip() for each in found]


@dataclass(frozen=True)
class PeerPrompt:
    """What a peer found.

    Attributes:
        right: which rows a model answers rightly under it, asked and read by the peer's own code.
    """

    text: str
    right: Callable[[CountedModel, Sequence[Record]], list[float]]


Peer = Callable[[CountedModel, Task, str, int], PeerPrompt]


def by_gepa(model: CountedModel, task: Task, start: str, seed: int) -> PeerPrompt:
    """`gepa.optimize` with its default adapter: the instruction is the system message.

    Training rows are for reflection, validation rows for its Pareto front, by which it chooses. It
    ends before an iteration that the budget might not pay for, or where it has counted as many
    answers itself: those to what was asked before are free here.
    """
    words = _words(task)

    def scored(data: Mapping[str, Any], response: str) -> Any:
        right = label_in(response, words) == data["answer"]
        told = "right" if right else f"wrong. The right answer is '{data['answer']}'"
        feedback = f"The response is {told}."
        return gepa_adapter.EvaluationResult(float(right), feedback)

    front = [_example(record) for record in task.validation]
    least = 2 * _READ + 1 + len(front)
    found = gepa.optimize(
        {"instruction": start},
        trainset=[_example(record) for record in task.train],
        valset=front,
        task_lm=lambda messages: model.answers([_chat(messages)])[0],
        evaluator=scored,
        reflection_lm=lambda text: model.writes([[("user", text)]])[0],
        max_metric_calls=model.left,
        stop_callbacks=lambda state: model.left < least,
        logger=_Silent(),
        seed=seed,
    )
    text = found.best_candidate["instruction"]

    def right(asked: CountedModel, records: Sequence[Record]) -> list[float]:
        answers = asked.answers([[("system", text), ("user", _text(each))] for each in records])
        told = [label_in(answer, words) for answer in answers]
        return [float(a == each.target) for a, each in zip(told, records, strict=True)]

    return PeerPrompt(text, right)


def by_capo(model: CountedModel, task: Task, start: str, seed: int) -> PeerPrompt:
    """promptolution's CAPO with its settings as they come, but for its blocks.

    Training rows are shown, validation rows raced on. It begins with the start and variations of
    it by its own request, and ends with the step that the budget does not pay for.
    """
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - pandas draws from it
    words = [word.lower() for word in _words(task).values()]
    writer = _PromptolutionLLM(model.writes)
    rows = classification.ClassificationTask(
        _frame(task.validation),
        task_description=start,
        n_subsamples=len(task.validation) // _BLOCKS,
        eval_strategy="sequential_block",
        seed=seed,
    )
    optimizer = capo.CAPO(
        predictor=_predictor(model, words),
        task=rows,
        meta_llm=writer,
        initial_prompts=[
            start,
            *prompt_creation.create_prompt_variation([start] * _VARIED, writer),
        ],
        df_few_shots=_frame(task.train),
    )
    best = str(optimizer.optimize(n_steps=1000)[0])

    def right(asked: CountedModel, records: Sequence[Record]) -> list[float]:
        texts = [_text(record) for record in records]
        told, _ = _predictor(asked, words).predict([best] * len(texts), texts)
        return [
            float(answer == str(record.target).lower())
            for answer, record in zip(told, records, strict=True)
        ]

    return PeerPrompt(best, right)


def _predictor(model: CountedModel, words: list[str]) -> Any:
    """promptolution's reader of answers: the first label in one, else the first of all."""
    llm = _PromptolutionLLM(model.answers)
    return first_occurrence.FirstOccurrencePredictor(llm, classes=words)


PEERS: Mapping[str, Peer] = {"gepa.optimize": by_gepa, "promptolution CAPO": by_capo}


class _PromptolutionLLM:
    """What promptolution asks of an LLM.

    Args:
        ask: chats for their answers.
    """

    tokenizer = None

    def __init__(self, ask: Callable[[Sequence[Chat]], list[str]]) -> None:
        self._ask = ask

    def get_response(
        self, prompts: str | list[str], system_prompts: str | list[str] | None = None
    ) -> list[str]:
        """Answers, in order."""
        texts = [prompts] if isinstance(prompts, str) else prompts
        system = system_prompts or _SYSTEM
        systems = [system] * len(texts) if isinstance(system, str) else system
        return self._ask(
            [[("system", own), ("user", text)] for own, text in zip(systems, texts, strict=True)]
        )


class _Silent:
    def log(self, message: str) -> None:
        """Drop it."""


def _words(task: Task) -> dict[str, str]:
    return {label: task.spec.words.get(label, label) for label in task.spec.labels}


def _text(record: Record) -> str:
    return record.texts["text"]


def _example(record: Record) -> dict[str, Any]:
    return {"input": _text(record), "additional_context": {}, "answer": str(record.target)}


def _frame(records: Sequence[Record]) -> Any:
    rows = [{"x": _text(record), "y": str(record.target)} for record in records]
    return pandas.DataFrame(rows)


def _chat(messages: Sequence[Mapping[str, str]]) -> Chat:
    return [(each["role"], each["content"]) for each in messages]


def _messages(chat: Chat) -> tuple[LLMMessage, ...]:
    return tuple(LLMMessage(role, content) for role, content in chat)  # type: ignore[arg-type]
