"""An LLM that says what answers are worth, and whether it says so as people do."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

from cuecard.lazy import np
from cuecard.llms.protocol import LLMMessage, LLMRequest
from cuecard.metrics.statistics import spearman
from cuecard.search.asker import Asker
from cuecard.search.budget import Amount, BudgetSpent, Ledger
from cuecard.search.scorer import target_texts
from cuecard.tasks import TaskSpec
from cuecard.types import Record

FLAG = "--judge-budget"
_TOKENS = 16
_USUAL = "Is the answer as right and as complete as the reference answer?"
_ASK = (
    "You grade answers.\n\n<input>\n{input}\n</input>\n\n<reference>\n{target}\n</reference>\n\n"
    "<answer>\n{answer}\n</answer>\n\n{criterion}\n\nRate the answer, and nothing else, from 0 "
    "(worthless) to 10 (perfect). Write the rating alone, such as 'Rating: 7'."
)
_AGAIN = "Write the rating alone: one number from 0 to 10."
_NUMBER = re.compile(r"(?<![\w.-])(\d+(?:\.\d+)?)(?:\s*/\s*10)?(?![\w%])")


class JudgeScorer:
    """Asks an LLM for a rating of every answer; equal answers to a record are rated once.

    Like the judges of Zheng et al. 2023 (arXiv:2306.05685, section 3.1), with the reference answer
    beside the answer. An answer that it gives no rating for, even when it is asked again, is worth
    nothing.

    Args:
        asker: the LLM, within a budget and a journal of its own.
        ledger: of that budget.
        criterion: what to look at, as a question; by default whether it says what the target says.
        saving: whether what is left for the last comparison and the test must not be touched.

    Attributes:
        kept: what is left for these.
        unreadable: answers without a rating.
    """

    def __init__(
        self,
        asker: Asker,
        ledger: Ledger,
        spec: TaskSpec,
        name: str,
        *,
        saving: Callable[[], bool] = lambda: False,
    ) -> None:
        self.name = name
        self._asker, self._ledger, self._spec, self._saving = asker, ledger, spec, saving
        self._criterion = name.partition(":")[2].strip() or _USUAL
        self.kept = Amount()
        self._unreadable: set[LLMRequest] = set()

    @property
    def unreadable(self) -> int:
        """How many answers it gave no rating for."""
        return len(self._unreadable)

    @property
    def spent(self) -> Amount:
        """In all sittings."""
        return self._ledger.spent

    async def scores(self, records: Sequence[Record], answers: Sequence[str]) -> list[float]:
        """The ratings, from 0 to 1.

        Raises:
            BudgetSpent: its budget is.
            LLMError: it does not answer.
        """
        requests = self._requests(records, answers)
        told = await self._told(requests)
        unread = [number for number, text in enumerate(told) if rating_in(text) is None]
        again = await self._told([_reminded(requests[n], told[n]) for n in unread])
        for number, text in zip(unread, again, strict=True):
            told[number] = text
            if rating_in(text) is None:
                self._unreadable.add(requests[number])
        return [rating_in(text) or 0.0 for text in told]

    def most(self, records: Sequence[Record]) -> Amount:
        """About what rating an answer to each of these takes at most: one as long as the target."""
        requests = self._requests(records, target_texts(self._spec, records))
        return sum(map(self._asker.most, requests), Amount())

    def _requests(self, records: Sequence[Record], answers: Sequence[str]) -> list[LLMRequest]:
        targets = target_texts(self._spec, records)
        return [
            LLMRequest((LLMMessage("user", self._text(*row)),), _TOKENS)
            for row in zip(records, targets, answers, strict=True)
        ]

    def _text(self, record: Record, target: str, answer: str) -> str:
        fields = [f"{name}: {record.texts[name]}" for name in self._spec.field_names]
        return _ASK.format(
            input="\n".join(fields),
            target=target,
            # What a model writes must not end its own quotation.
            answer=answer.replace("</answer", "< /answer"),
            criterion=self._criterion,
        )

    async def _told(self, requests: Sequence[LLMRequest]) -> list[str]:
        new = not all(map(self._asker.knows, requests))
        held = self.kept if new and self._saving() else Amount()
        try:
            self._ledger.reserve(held)
            try:
                return [each.text for each in await self._asker.ask(requests)]
            finally:
                self._ledger.settle(held, Amount())
        except BudgetSpent as error:
            raise BudgetSpent(error.limit, FLAG) from error


def rating_in(text: str) -> float | None:
    """The rating in what a judge wrote, from 0 to 1: the last number; None without one up to 10."""
    found = _NUMBER.findall(text)
    value = float(found[-1]) if found else -1.0
    return value / 10 if 0 <= value <= 10 else None


def _reminded(request: LLMRequest, said: str) -> LLMRequest:
    more = (LLMMessage("assistant", said or "-"), LLMMessage("user", _AGAIN))
    return LLMRequest((*request.messages, *more), request.max_tokens)


@dataclass(frozen=True, slots=True)
class JudgeAgreement:
    """How alike a judge and people rate the same answers.

    Attributes:
        spearman: of the ratings' ranks; 0 where either rates all alike.
        pairs: the share of pairs that people rate differently which the judge puts in the same
            order; its ties count half.
        rows: answers that were rated.
    """

    spearman: float
    pairs: float
    rows: int

    @classmethod
    def of(cls, people: Sequence[float], judge: Sequence[float]) -> JudgeAgreement:
        """From the ratings of the same answers, on any scales."""
        gold, given = (np.asarray(each, dtype=np.float64) for each in (people, judge))
        both = list(combinations(range(len(gold)), 2))
        apart = [(a, b) for a, b in both if gold[a] != gold[b]]
        alike = [0.5 + 0.5 * np.sign((gold[a] - gold[b]) * (given[a] - given[b])) for a, b in apart]
        return cls(
            float(spearman(gold, given).value()),
            float(np.mean(alike)) if alike else 0.0,
            len(gold),
        )
