"""An answer found in a context, by a trained head that reads every token of the context."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cuecard.lazy import functional, np, torch
from cuecard.metrics.answers import exact_match, token_f1
from cuecard.metrics.values import MetricValues
from cuecard.tasks.encoding.bound import BoundTask, bind
from cuecard.tasks.encoding.encoder import Around
from cuecard.tasks.encoding.spans import Tokens, Window, room_for, span_goal, tokens_of, windows_of
from cuecard.tasks.kinds.base import (
    Baseline,
    Predictions,
    Readers,
    Records,
    Targets,
    TaskKind,
    check_read_field,
    no_training_rows,
)
from cuecard.tasks.predictions import Floats
from cuecard.tasks.readers.columns import answers_column, answers_of
from cuecard.tasks.readers.tables import TARGET, record_place
from cuecard.tasks.settings import NoSettings, TaskSettings, contradiction
from cuecard.types import Answer, Encoded, Placement, Prediction, Record, Slot, Tokenizer, Value

if TYPE_CHECKING:
    from torch import Tensor

CONTEXT = "context"
# The longest answer that is looked for in a context, in tokens.
ANSWER_TOKENS = 30


class ExtractiveQaKind(TaskKind[NoSettings]):
    """An answer found in a context."""

    name = "extractive-qa"
    about = "an answer found in a context"
    template = "Question: {question}\nContext: {context}\nAnswer:"
    target_field = "answers"
    metric = "exact_match"
    second = "token_f1"
    headings = ("exact match", "token F1")
    mode = "head"
    right_or_wrong = True

    def check(self, spec: TaskSettings) -> None:
        """The context is in the template once, with words after it."""
        check_read_field(self, spec)
        if spec.template.rstrip().endswith(f"{{{CONTEXT}}}"):
            expected = f"words after {{{CONTEXT}}}, such as 'Answer:', where \"not here\" is read"
            raise contradiction("nothing after its text", "template", spec.template, expected)

    def outputs(self, spec: TaskSettings) -> int:
        """Two: how well an answer begins at a token, and how well it ends there."""
        return 2

    def read_field(self, spec: TaskSettings) -> str:
        """The context."""
        return CONTEXT

    def columns(self, spec: TaskSettings, target: str | None, named: Mapping[str, str]) -> Readers:
        """Answers with their places, or as texts that are looked up in the context."""
        column = named.get(CONTEXT, CONTEXT)
        return {} if target is None else {TARGET: answers_column(target, column)}

    def target_of(self, spec: TaskSettings, value: Value) -> tuple[Answer, ...]:
        """The answers and where they start."""
        return answers_of(value)

    def check_target(self, spec: TaskSettings, record: Record) -> None:
        """Refuse an answer that is not in its context."""
        super().check_target(spec, record)
        found = self.target_of(spec, record.target or ())
        values = {"answers": found, CONTEXT: record.text(CONTEXT)}
        where = record_place(record) or "a record"
        answers_column("answers", CONTEXT).read(values, {}, where)

    def encode(
        self, spec: TaskSettings, record: Record, tokenizer: Tokenizer, slot: Slot
    ) -> list[Encoded]:
        """A row per window over the context, the prompt before it.

        Raises:
            DataError: no room for the context beside the template and the other fields.
        """
        return [window.encoded for window in self.windows(spec, record, tokenizer)]

    def windows(self, spec: TaskSettings, record: Record, tokenizer: Tokenizer) -> list[Window]:
        """A context's rows with the tokens that each reads."""
        bound = bind(spec, tokenizer)
        around, tokens = self.tokens(record, bound)
        room = room_for(around, spec.max_length, record_place(record))
        found = [
            replace(w, encoded=replace(w.encoded, placement=Placement.at(bound.front)))
            for w in windows_of(around, tokens, room)
        ]
        if record.target is None:
            return found
        first, *_ = self.target_of(spec, record.target)
        safe, context = bound.encoder.safe, record.text(CONTEXT)
        places = (first.start, first.start + len(first.text))
        ends = (len(safe(context[:place])) for place in places)
        goal = tokens.cover(*ends)
        return [replace(w, encoded=replace(w.encoded, goal=span_goal(w, goal))) for w in found]

    def head_loss(self, spec: TaskSettings, rows: Sequence[Encoded], outputs: Tensor) -> Tensor:
        """The mean of both ends' cross-entropies over the tokens of the row and "not here".

        Devlin et al. (2019, arXiv:1810.04805), section 4.3.
        """
        parts = torch.split(outputs, [len(row.at) for row in rows])
        ends = []
        for part, row in zip(parts, rows, strict=True):
            wanted = torch.tensor([int(goal) for goal in row.goal], device=outputs.device)
            ends.append(functional.cross_entropy(part.T, wanted, reduction="sum") / 2)
        return torch.stack(ends).sum()

    def head_answers(
        self,
        spec: TaskSettings,
        records: Sequence[Record],
        outputs: Sequence[Floats],
        tokenizer: Tokenizer,
        prior: Mapping[str, float] | None = None,
    ) -> list[Prediction]:
        """The best span of each record's context over all its windows, as its text.

        A span's score is its first token's start and its last token's end, less what the window
        gives "not here".

        Args:
            outputs: [tokens + 1, 2] of every record's windows, record by record.
        """
        left, bound = iter(outputs), bind(spec, tokenizer)
        predictions = []
        for index, record in enumerate(records):
            around, tokens = self.tokens(record, bound)
            best, place = -np.inf, (0, 0)
            for window in self.windows(spec, replace(record, target=None), tokenizer):
                found = next(left)
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

    def score(self, spec: TaskSettings, gold: Targets, predictions: Predictions) -> MetricValues:
        """SQuAD's: the best over a question's answers (Rajpurkar et al. 2016, arXiv:1606.05250)."""
        known = [[answer.text for answer in target] for target in gold]
        said = [prediction.answer for prediction in predictions]
        return MetricValues.of(
            {
                name: np.asarray(
                    [
                        max(metric(text, answer) for text in texts)
                        for texts, answer in zip(known, said, strict=True)
                    ],
                    dtype=np.float64,
                )
                for name, metric in (("exact_match", exact_match), ("token_f1", token_f1))
            }
        )

    def baselines(self, spec: TaskSettings, train: Records, test: Records) -> Iterator[Baseline]:
        """The context's first sentence."""
        name = "the context's first sentence"
        yield Baseline("baseline", name, name, lambda: self._sentences(train, test))

    def _sentences(self, train: Records, test: Records) -> list[Prediction]:
        if not train:
            raise no_training_rows(self.name)
        firsts = [record.text(CONTEXT).split(". ", 1)[0] for record in test]
        return [Prediction(i, first, {}, {}) for i, first in enumerate(firsts)]

    def tokens(self, record: Record, bound: BoundTask) -> tuple[Around, Tokens]:
        """The template around the context, and the context's tokens with their places."""
        around = bound.encoder.around(record.texts, CONTEXT)
        return around, tokens_of(bound.tokenizer, around)


def _best_span(starts: Floats, ends: Floats) -> tuple[float, int, int]:
    """The largest starts[i] + ends[j] with i <= j < i + ANSWER_TOKENS."""
    sums = starts[:, None] + ends[None, :]
    distance = np.arange(len(ends))[None, :] - np.arange(len(starts))[:, None]
    sums = np.where((distance >= 0) & (distance < ANSWER_TOKENS), sums, -np.inf)
    start, end = np.unravel_index(int(sums.argmax()), sums.shape)
    return float(sums[start, end]), int(start), int(end)


EXTRACTIVE_QA = ExtractiveQaKind()
