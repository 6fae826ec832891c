"""The likeliest of a record's own options."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

from pydantic import BaseModel, ConfigDict, Field

from cuecard.lazy import np
from cuecard.metrics.answers import correctness
from cuecard.metrics.values import MetricValues
from cuecard.tasks.encoding.bound import BoundTask
from cuecard.tasks.encoding.label_words import LabelWords
from cuecard.tasks.kinds.base import (
    Baseline,
    Predictions,
    Readers,
    Records,
    Targets,
    TaskKind,
    no_training_rows,
    unknown_label,
)
from cuecard.tasks.predictions import as_predictions
from cuecard.tasks.readers.columns import OPTIONS, choice_column, options_column, options_of
from cuecard.tasks.readers.tables import TARGET
from cuecard.tasks.settings import TaskSettings
from cuecard.tasks.text_features import fitted_words, text_of
from cuecard.types import Prediction, Record, value_text

_LEAST = 1e-12


class ChoiceSettings(BaseModel):
    """What a multiple-choice task says besides."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    options_field: str = Field(
        default="options",
        exclude_if=lambda x: x == "options",
        description="Column of the options of multiple choice, or one for each, separated by "
        "commas.",
    )


class MultipleChoiceKind(TaskKind[ChoiceSettings]):
    """One of a record's own options."""

    name = "multiple-choice"
    about = "one of a record's own options"
    settings = ChoiceSettings
    template = "{question}\nAnswer:"
    second = "accuracy"
    headings = ("accuracy", "accuracy")
    mode = "options"
    right_or_wrong = True
    verb = "choose"

    def record_fields(self, spec: TaskSettings) -> tuple[str, ...]:
        """The template's fields, and the options."""
        return (*spec.field_names, OPTIONS)

    def columns(self, spec: TaskSettings, target: str | None, named: Mapping[str, str]) -> Readers:
        """Options as a list or a column each; the right one by its text, column or number."""
        options = options_column(self.own(spec).options_field)
        found: Readers = {OPTIONS: options}
        return found if target is None else {**found, TARGET: choice_column(target, options)}

    def check_target(self, spec: TaskSettings, record: Record) -> None:
        """Refuse an answer that is none of the record's options."""
        super().check_target(spec, record)
        given, target = options_of(record), value_text(record.target or "")
        if target not in given:
            raise unknown_label(record, target, given)

    def target_ids(self, spec: TaskSettings, record: Record, bound: BoundTask) -> tuple[int, ...]:
        """The right option's ids."""
        return bound.option(value_text(record.target or ""))

    def barred(self, spec: TaskSettings, record: Record, bound: BoundTask) -> tuple[int, ...]:
        """The tokens that would make the target another option."""
        words = option_words(spec, record, bound)
        pairs = zip(options_of(record), words.barred, strict=True)
        return dict(pairs).get(value_text(record.target or ""), ())

    def score(self, spec: TaskSettings, gold: Targets, predictions: Predictions) -> MetricValues:
        """Accuracy."""
        return MetricValues.of({"accuracy": correctness(gold, [p.answer for p in predictions])})

    def baselines(self, spec: TaskSettings, train: Records, test: Records) -> Iterator[Baseline]:
        """The place where the right option was most often, and the option most like the text."""
        place, like = "the commonest place", "the option most like the text (TF-IDF)"
        yield Baseline("baseline", place, place, lambda: self._place(train, test))
        yield Baseline("overlap", like, like, lambda: match_options(spec, train, test))

    def _place(self, train: Records, test: Records) -> list[Prediction]:
        if not train:
            raise no_training_rows(self.name)
        places = Counter(options_of(r).index(value_text(r.target or "")) for r in train)
        place = min(places, key=lambda at: (-places[at], at))
        each = [options_of(record) for record in test]
        given = [options[min(place, len(options) - 1)] for options in each]
        return [Prediction(i, answer, {}, {}) for i, answer in enumerate(given)]

    def example(self, field: str) -> str:
        """A list of options."""
        return '["one answer", "another answer"]' if field == OPTIONS else super().example(field)


def option_words(spec: TaskSettings, record: Record, bound: BoundTask) -> LabelWords:
    """The token ids of a record's options, and how they are scored."""
    ids = [bound.option(option) for option in options_of(record)]
    return LabelWords.of(ids, exclusive=spec.prefix_labels != "inclusive")


def match_options(spec: TaskSettings, train: Records, test: Records) -> list[Prediction]:
    """The option whose TF-IDF vector has the largest cosine with the text's.

    Raises:
        ConfigError: training rows without a word.
    """
    known = [text_of(spec, r) for r in train] + [option for r in train for option in options_of(r)]
    words = fitted_words(known)
    predictions = []
    for index, record in enumerate(test):
        options = options_of(record)
        cosines = (words.transform(options) @ words.transform([text_of(spec, record)]).T).toarray()
        (one,) = as_predictions(np.log(np.maximum(cosines.T, _LEAST)), options)
        predictions.append(replace(one, index=index))
    return predictions


MULTIPLE_CHOICE = MultipleChoiceKind()
