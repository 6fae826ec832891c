"""What a kind of task is: one object with everything that is the kind's own."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

from pydantic import BaseModel

from cuecard.errors import ConfigError, DataError
from cuecard.lazy import functional, np, torch
from cuecard.metrics.values import MetricValues
from cuecard.tasks.encoding.bound import BoundTask, bind
from cuecard.tasks.predictions import Floats, as_predictions, calibrate
from cuecard.tasks.readers.columns import ColumnReader, parts_of
from cuecard.tasks.readers.tables import record_place
from cuecard.tasks.settings import NoSettings, TaskSettings, contradiction
from cuecard.tasks.similar import nearest
from cuecard.types import (
    Encoded,
    Placement,
    Prediction,
    Record,
    Slot,
    Tokenizer,
    Tower,
    Value,
    value_text,
)

if TYPE_CHECKING:
    from torch import Tensor

AnswerMode = Literal["labels", "options", "text", "head", "vector", "pixels"]
"""How a model is asked for an answer.

"labels": the likeliest of the task's label words. "options": the likeliest of a record's own
options. "text": what it generates. "head": what a trained head makes of its hidden states.
"vector": the mean of its hidden states. "pixels": a mask of an image.
"""

TextModel = Literal["classes", "labels", "number"]
"""What a linear model of the texts predicts: one of the labels, each label, or a number."""

Targets = Sequence[Any]
"""Records' targets as their kind has them, see `TaskKind.target_of`."""
Records = Sequence[Record]
Predictions = Sequence[Prediction]
Readers = dict[str, ColumnReader[Value]]

S = TypeVar("S", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a prompt has to beat, learnt from training rows and cheap to make.

    Attributes:
        key: its name in report.json.
        name: its name in the table.
        against: what it is called where a sentence tells the gain over it.
        predict: makes the predictions of the test rows.
        slow: whether it takes long enough to be reported when it begins.
    """

    key: str
    name: str
    against: str
    predict: Callable[[], list[Prediction]]
    slow: bool = False


@dataclass(frozen=True, slots=True)
class HandWritten:
    """How hand-written prompts are chosen and compared for a kind.

    Attributes:
        metric: what is compared, larger is better.
        rows: the most validation rows that they are chosen on.
        rounds: the worse half is dropped after each of these numbers of rows.
    """

    metric: str
    rows: int
    rounds: tuple[int, ...]


class TaskKind(Generic[S]):
    """A kind of task. A new one is a subclass in a file of its own, and its object in `KINDS`.

    What is defined here suits a kind whose answer is one of the task's labels.

    Attributes:
        name: what recipes and prompts call it.
        about: what it is, in a few words.
        settings: the settings that no other kind has.
        template: the usual template.
        target_field: the usual column of the target.
        metric: the metric that counts, of which more is better.
        second: the metric shown beside it.
        headings: what tables call the two.
        mode: how a model is asked, see `AnswerMode`.
        head_is_optional: whether a trained head answers where the task names one.
        labelled: whether the task has a list of labels.
        least_labels: how many labels there are at least.
        single_label: whether an answer is exactly one of the labels, with a score for each, so that
            it can be calibrated by a log-prior.
        has_thresholds: whether its prior is a threshold per label.
        right_or_wrong: whether every answer is either.
        target_may_be_shown: whether the template may read the target's column, as in copying.
        text_model: what a linear model of the texts predicts; None where none can.
        hand_written: how hand-written prompts are compared; None where none can answer.
        verb: what the model is told to do with the fields where there are no labels.
        tower: the tower that reads its records.
        argument: an input as `cuecard predict` takes it, for commands to copy.
    """

    name: str
    about: str
    settings: type[S] = cast("type[S]", NoSettings)
    template = "{text}\nLabel:"
    target_field = "label"
    metric = "accuracy"
    second = "macro_f1"
    headings = ("accuracy", "macro-F1")
    mode: AnswerMode = "labels"
    head_is_optional = False
    labelled = False
    least_labels = 2
    single_label = False
    has_thresholds = False
    right_or_wrong = False
    target_may_be_shown = False
    text_model: TextModel | None = None
    hand_written: HandWritten | None = None
    verb = "write"
    tower: Tower = "text"
    argument = "some text"

    @property
    def headline(self) -> str:
        """The metric that reports compare by."""
        return self.metric if self.hand_written is None else self.hand_written.metric

    # What a task says.

    def own(self, spec: TaskSettings) -> S:
        """The kind's own settings of a task."""
        return self.settings.model_validate(spec.own)

    def check(self, spec: TaskSettings) -> None:
        """Refuse settings that the kind cannot use.

        Raises:
            ConfigError: there are such.
        """

    def fitted(self, spec: TaskSettings, train: Records) -> Mapping[str, Any]:
        """Settings that the training rows decide.

        Raises:
            DataError: rows that cannot.
        """
        return {}

    def answer_mode(self, spec: TaskSettings) -> AnswerMode:
        """How a model is asked for a task's answers."""
        return "head" if self.head_is_optional and spec.head != "none" else self.mode

    def outputs(self, spec: TaskSettings) -> int:
        """K of the head."""
        return len(spec.labels)

    def record_fields(self, spec: TaskSettings) -> tuple[str, ...]:
        """The fields a record needs: the template's, and others that the kind reads."""
        return spec.field_names

    def read_field(self, spec: TaskSettings) -> str:
        """The field whose tokens' states a head reads; empty for the state after the context."""
        return ""

    # Columns and targets.

    def columns(self, spec: TaskSettings, target: str | None, named: Mapping[str, str]) -> Readers:
        """How fields, and the target as `TARGET`, are read that are no plain text.

        Args:
            target: the target's column; None where it is not read.
            named: field -> the column it is read from, where that is not its own name.
        """
        return {}

    def target_columns(self, column: str) -> tuple[str, ...]:
        """The columns that a target's column names."""
        return (column,)

    def separator(self, spec: TaskSettings) -> str | None:
        """What stands between the parts of a target as text; None for targets without parts."""
        return None

    def target_of(self, spec: TaskSettings, value: Value) -> Any:
        """A record's target as the kind has it, also where it is given as its text.

        A text by default, or a tuple of texts where there is a `separator`.

        Raises:
            DataError: a value that cannot be the kind's target.
        """
        separator = self.separator(spec)
        return value_text(value) if separator is None else parts_of(value, separator)

    def labels_of(self, spec: TaskSettings, target: Value) -> list[str]:
        """The single labels of a record's target."""
        value = self.target_of(spec, target)
        return [*value] if isinstance(value, tuple) else [value]

    def sorted_labels(self, labels: Sequence[str]) -> list[str]:
        """Labels found in data, in the order they get."""
        return sorted(labels)

    def check_target(self, spec: TaskSettings, record: Record) -> None:
        """Refuse a record whose target is none of the task's.

        Raises:
            DataError: no target, a label that is not in the list, and what else a kind refuses.
        """
        if record.target is None:
            raise DataError(
                "the record has no target",
                where=record_place(record),
                got="nothing",
                expected="a label" if spec.labels else "a text",
            )
        if self.labelled:
            known = set(spec.labels)
            for label in self.labels_of(spec, record.target):
                if label not in known:
                    raise unknown_label(record, label, spec.labels)

    # Token ids.

    def encode(
        self, spec: TaskSettings, record: Record, tokenizer: Tokenizer, slot: Slot
    ) -> list[Encoded]:
        """The rows that a record is trained on: one, or several over a long text.

        Raises:
            TemplateError: a field the template needs is missing.
            DataError: a label that is not in the list.
            ConfigError: a tokenizer that does not fit the task, or the slot "infix" for a template
                without `{prompt}`.
        """
        bound, mode = bind(spec, tokenizer), self.answer_mode(spec)
        context = (bound.infix if slot == "infix" else bound.encoder)(record.texts)
        template = bound.encoder.template
        # A masked model finds what opens every text at its first place, where it learnt it.
        first = len(bound.encoder.leading) if template.has_mask or mode == "vector" else 0
        if mode == "head":
            first = bound.front
        sizes = template.deal if any(template.deal) else ()
        placements = {
            "prefix": Placement.at(first),
            "suffix": Placement.at(len(context.ids)),
            "infix": Placement((context.before, *context.more), sizes),
        }
        row = Encoded(
            context=context.ids,
            target=(),
            placement=placements[slot],
            cut=context.cut,
            mask=context.mask,
            images=record.images,
        )
        if record.target is None:
            return [row]
        if mode == "head":
            return [replace(row, goal=self.goal(spec, record))]
        target = self.target_ids(spec, record, bound)
        return [replace(row, target=target, barred=self.barred(spec, record, bound))]

    def target_ids(self, spec: TaskSettings, record: Record, bound: BoundTask) -> tuple[int, ...]:
        """The token ids of a record's target, without a head."""
        (label,) = self.labels_of(spec, record.target or "")
        if label not in bound.words:
            raise unknown_label(record, label, spec.labels)
        return bound.words[label]

    def barred(self, spec: TaskSettings, record: Record, bound: BoundTask) -> tuple[int, ...]:
        """The tokens that would make the target another label, see `LabelWords`; none for texts."""
        (label,) = self.labels_of(spec, record.target or "")
        return bound.barred.get(label, ())

    # What a head learns and answers.

    def goal(self, spec: TaskSettings, record: Record) -> tuple[float, ...]:
        """What a head is to give for a record with a target: a label's number, for most kinds.

        Raises:
            DataError: a label that is not in the list.
        """
        numbers = {label: number for number, label in enumerate(spec.labels)}
        found = self.labels_of(spec, record.target or "")
        for label in found:
            if label not in numbers:
                raise unknown_label(record, label, spec.labels)
        return tuple(float(numbers[label]) for label in found)

    def head_loss(self, spec: TaskSettings, rows: Sequence[Encoded], outputs: Tensor) -> Tensor:
        """The summed loss of a head's float32 outputs [N, K] at the rows' reads.

        Cross-entropy over the labels, of each read.
        """
        goals = [int(number) for row in rows for number in row.goal]
        wanted = torch.tensor(goals, device=outputs.device)
        return functional.cross_entropy(outputs, wanted, reduction="sum")

    def count_goals(self, rows: Sequence[Encoded]) -> int:
        """How many goals a summed head's loss sums over."""
        return len(rows)

    def head_answers(
        self,
        spec: TaskSettings,
        records: Sequence[Record],
        outputs: Sequence[Floats],
        tokenizer: Tokenizer,
        prior: Mapping[str, float] | None = None,
    ) -> list[Prediction]:
        """What a head's outputs [reads, K] of every row answer to the records."""
        whole = np.concatenate(outputs) if outputs else np.empty((0, self.outputs(spec)))
        return self.answers(spec, whole, prior)

    def answers(
        self, spec: TaskSettings, outputs: Floats, prior: Mapping[str, float] | None = None
    ) -> list[Prediction]:
        """Outputs [n, K] with a row per record as predictions.

        Args:
            prior: label -> what is taken off its output.
        """
        raw = as_predictions(outputs, spec.labels)
        return raw if prior is None else calibrate(raw, prior)

    def thresholds(
        self, spec: TaskSettings, outputs: Floats, gold: Sequence[Sequence[float]]
    ) -> dict[str, float] | None:
        """label -> the best threshold on labelled rows, as a logit; None for kinds without."""
        return None

    def vector_loss(
        self, anchors: Tensor, positives: Tensor, targets: Sequence[Hashable]
    ) -> Tensor:
        """[n] the loss of texts' vectors [n, H] and of those of what belongs to them.

        Args:
            targets: what belongs to each; equal ones are equal.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what a vector is to be near")

    def mask_loss(self, spec: TaskSettings, rows: Sequence[Encoded], logits: Tensor) -> Tensor:
        """The summed loss of mask logits [N, C] of the rows' images."""
        raise NotImplementedError(f"{type(self).__name__} does not say what a mask is to be")

    def mask_answers(
        self, spec: TaskSettings, rows: Sequence[Encoded], logits: Tensor
    ) -> list[Prediction]:
        """Mask logits [N, C] of the rows' images as predictions."""
        raise NotImplementedError(f"{type(self).__name__} does not say what a mask answers")

    # What answers are worth.

    def score(self, spec: TaskSettings, gold: Targets, predictions: Predictions) -> MetricValues:
        """The metrics of predictions against the records' targets, see `target_of`."""
        raise NotImplementedError(f"{type(self).__name__} does not say how answers are scored")

    def baselines(self, spec: TaskSettings, train: Records, test: Records) -> Iterator[Baseline]:
        """What a prompt has to beat, the one that always works first."""
        return iter(())

    # Words.

    def instruction(self, spec: TaskSettings) -> str:
        """What the task is, as a sentence to the model that a prompt may start from."""
        fields = _spoken(spec.field_names)
        if not spec.labels:
            return f"Read the {fields} and {self.verb} the {_spoken([spec.target_field])}.\n\n"
        *most, last = spec.label_names.values()
        return f"Classify the {fields} as {', '.join(most)}{' or ' if most else ''}{last}.\n\n"

    def probe(self, text: str) -> Value:
        """A field's value in a prompt's two test inputs."""
        return text

    def inputs(self, texts: Sequence[str]) -> list[str]:
        """The single inputs that typed texts stand for."""
        return list(texts)

    def details(self, prediction: Prediction) -> Mapping[str, Any]:
        """What files of answers say of one besides, by name."""
        return {}

    def shown(self, prediction: Prediction) -> str:
        """An answer as a table shows it."""
        return prediction.answer

    def head_note(self, spec: TaskSettings) -> str:
        """What `cuecard inspect` says of the head beside its size."""
        return ""

    def example(self, field: str) -> str:
        """A value of a field, as `--field` takes it, for commands to copy."""
        return f"some {field}"


def check_read_field(kind: TaskKind[Any], spec: TaskSettings) -> None:
    """The field whose tokens are read is in the template, once.

    Raises:
        ConfigError: it does not.
    """
    name = kind.read_field(spec)
    count = spec.parsed.count(name)
    if count != 1:
        got = f"{{{name}}} {count} times in {spec.template!r}"
        raise contradiction("no single place for its text", "template", got, f"{{{name}}} once")


def unknown_label(record: Record, label: str, labels: Sequence[str]) -> DataError:
    """The error for a record whose label is not in the list."""
    return DataError(
        "the label is not in the list",
        where=record_place(record),
        got=repr(label),
        expected=f"one of {', '.join(map(repr, labels))}",
        hint=nearest(label, labels),
    )


def same_for_all(answer: str, count: int) -> list[Prediction]:
    """One answer, given to so many records."""
    return [Prediction(index, answer, {}, {}) for index in range(count)]


def no_training_rows(kind: str) -> ConfigError:
    """The error for a baseline that has nothing to learn from."""
    return ConfigError("there is no baseline", got=f"{kind}, 0 rows", expected="training rows")


def _spoken(names: Sequence[str]) -> str:
    return " and ".join(name.replace("_", " ") for name in names)
