"""A tag per word, by a trained head that reads a token of each word."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from cuecard.errors import DataError
from cuecard.lazy import np
from cuecard.metrics.answers import correctness
from cuecard.metrics.entities import entities
from cuecard.metrics.statistics import micro_f1
from cuecard.metrics.values import MetricValues, of_counts
from cuecard.tasks.encoding.bound import bind
from cuecard.tasks.encoding.spans import room_for, tokens_of, word_row
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
from cuecard.tasks.readers.columns import tags_column, words_column
from cuecard.tasks.readers.tables import TARGET, record_place
from cuecard.tasks.settings import TaskSettings
from cuecard.types import Encoded, Placement, Prediction, Record, Slot, Tokenizer, value_text

OUTSIDE = "O"
"""The tag of a word that belongs to nothing."""


class TaggingSettings(BaseModel):
    """What a tagging task says besides."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    subword: Literal["first", "last"] = Field(
        default="first",
        exclude_if=lambda x: x == "first",
        description="Which token of a word tells its tag. A causal model has seen the whole word "
        "at its last one alone.",
    )


class TaggingKind(TaskKind[TaggingSettings]):
    """A tag per word."""

    name = "tagging"
    about = "a tag per word"
    settings = TaggingSettings
    template = "{tokens}"
    target_field = "tags"
    metric = "span_f1"
    second = "word_accuracy"
    headings = ("span F1", "word accuracy")
    mode = "head"
    labelled = True

    def check(self, spec: TaskSettings) -> None:
        """The words are in the template once."""
        check_read_field(self, spec)

    def read_field(self, spec: TaskSettings) -> str:
        """The template's only field, or "tokens"."""
        return spec.field_names[0] if len(spec.field_names) == 1 else "tokens"

    def columns(self, spec: TaskSettings, target: str | None, named: Mapping[str, str]) -> Readers:
        """Words and tags as lists, or as texts with spaces between."""
        name = self.read_field(spec)
        column = named.get(name, name)
        found: Readers = {name: words_column(column)}
        return found if target is None else {**found, TARGET: tags_column(target)}

    def separator(self, spec: TaskSettings) -> str:
        """A space between two words' tags."""
        return " "

    def sorted_labels(self, labels: Sequence[str]) -> list[str]:
        """ "O" first."""
        return sorted(labels, key=lambda label: (label != OUTSIDE, label))

    def check_target(self, spec: TaskSettings, record: Record) -> None:
        """Refuse another number of tags than of words."""
        if record.target is not None:
            count = len(self._words(spec, record))
            given = len(self.labels_of(spec, record.target))
            if given != count:
                raise DataError(
                    "the number of tags differs from the number of words",
                    where=record_place(record),
                    got=given,
                    expected=f"{count} tags",
                )
        super().check_target(spec, record)

    def encode(
        self, spec: TaskSettings, record: Record, tokenizer: Tokenizer, slot: Slot
    ) -> list[Encoded]:
        """A sentence's row, the prompt before it; words that are cut away are not read.

        Raises:
            DataError: no room for the words, or none of them has a token.
        """
        bound = bind(spec, tokenizer)
        around = bound.encoder.around(record.texts, self.read_field(spec))
        tokens = tokens_of(tokenizer, around)
        room = room_for(around, spec.max_length, record_place(record))
        lengths = [len(bound.encoder.safe(word)) for word in self._words(spec, record)]
        last = self.own(spec).subword == "last"
        row = word_row(around, tokens, lengths, room, last=last)
        if record.target is None:
            return [replace(row, placement=Placement.at(bound.front))]
        goals = self.goal(spec, record)[: len(row.at)]
        if not row.at:
            raise DataError(
                "the tokenizer makes no tokens of the sentence",
                where=record_place(record),
                got=repr(record.text(self.read_field(spec))[:40]),
                expected="words with tokens",
            )
        return [replace(row, placement=Placement.at(bound.front), goal=goals)]

    def count_goals(self, rows: Sequence[Encoded]) -> int:
        """The words that are read."""
        return sum(len(row.at) for row in rows)

    def head_answers(
        self,
        spec: TaskSettings,
        records: Sequence[Record],
        outputs: Sequence[Floats],
        tokenizer: Tokenizer,
        prior: Mapping[str, float] | None = None,
    ) -> list[Prediction]:
        """A tag per word; words that were cut away get "O", or the first tag."""
        rest = OUTSIDE if OUTSIDE in spec.labels else spec.labels[0]
        predictions = []
        for index, (record, rows) in enumerate(zip(records, outputs, strict=True)):
            words = self._words(spec, record)
            given = [spec.labels[k] for k in rows.argmax(1)] if rows.size else []
            given = [*given, *[rest] * (len(words) - len(given))][: len(words)]
            answer = value_text(tuple(given), self.separator(spec))
            predictions.append(Prediction(index, answer, {}, {}))
        return predictions

    def score(self, spec: TaskSettings, gold: Targets, predictions: Predictions) -> MetricValues:
        """F1 of whole spans, each type's own, and the shares of right words and sentences."""
        said = [self.target_of(spec, prediction.answer) for prediction in predictions]
        pairs = [(entities(g), entities(s)) for g, s in zip(gold, said, strict=True)]
        rows = np.asarray([(len(t & s), len(s), len(t)) for t, s in pairs], dtype=np.float64)
        kinds = sorted({entity[0] for both in pairs for side in both for entity in side})
        each = {
            kind: of_counts(
                sum(len({e for e in t & s if e[0] == kind}) for t, s in pairs),
                sum(e[0] == kind for _, s in pairs for e in s),
                sum(e[0] == kind for t, _ in pairs for e in t),
            )
            for kind in kinds
        }
        overall = of_counts(*(int(total) for total in rows.sum(0)))
        words = [
            g == a
            for tags, answer in zip(gold, said, strict=True)
            for g, a in zip(tags, answer, strict=True)
        ]
        return MetricValues.of(
            {"sentence_accuracy": correctness(gold, said)},
            {"span_f1": micro_f1(rows[:, 0], rows[:, 1], rows[:, 2])},
            precision=overall["precision"],
            recall=overall["recall"],
            word_accuracy=float(np.mean(words)),
            per_class=each,
        )

    def baselines(self, spec: TaskSettings, train: Records, test: Records) -> Iterator[Baseline]:
        """Each word's most common tag in training."""
        name = "each word's commonest tag"
        yield Baseline("baseline", name, name, lambda: self._word_tags(spec, train, test))

    def _word_tags(self, spec: TaskSettings, train: Records, test: Records) -> list[Prediction]:
        """New words get "O", or the most common tag of all."""
        if not train:
            raise no_training_rows(self.name)
        seen: dict[str, Counter[str]] = defaultdict(Counter)
        for record in train:
            tags = self.labels_of(spec, record.target or "")
            for word, tag in zip(self._words(spec, record), tags, strict=True):
                seen[word][tag] += 1
        every = sum(seen.values(), Counter[str]())
        rest = OUTSIDE if OUTSIDE in spec.labels else every.most_common(1)[0][0]
        known = {word: max(sorted(tags), key=tags.__getitem__) for word, tags in seen.items()}
        sentences = [self._words(spec, record) for record in test]
        given = [tuple(known.get(word, rest) for word in words) for words in sentences]
        answers = [value_text(tags, self.separator(spec)) for tags in given]
        return [Prediction(i, answer, {}, {}) for i, answer in enumerate(answers)]

    def _words(self, spec: TaskSettings, record: Record) -> list[str]:
        return record.text(self.read_field(spec)).split(" ")


TAGGING = TaggingKind()
