"""The long texts that are compiled: solved examples of two classifications, a policy, a prompt.

A folder may hold another policy: policy.md, and questions.jsonl with {"question": ..., "answer":
...} a line; the words of the answer are those that a right answer holds. Questions without one are
learnt from, those with one are tests.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.compile.policy import made_policy
from benchmarks.methods.sets import SETS, Rows, read_task, rows_beside
from cuecard.errors import DataError
from cuecard.evaluation.evaluate import Evaluation
from cuecard.graphrag.measuring.prompts import generic_prompt
from cuecard.runs.compiling.rows import text_and_template
from cuecard.tasks import TaskSpec, draw_rows
from cuecard.types import Record

_ASKED = 2
"""Times as many questions are asked as are tests, since those count that are answered right."""

# Answers of an extraction are long: fewer are learnt from.
_COSTLY, _EXTRACTED = 4, 128
_TYPES = ("person", "organization", "place", "event")

POLICY, QUESTIONS = "policy.md", "questions.jsonl"


@dataclass(frozen=True)
class TextSizes:
    """How much of everything.

    Attributes:
        demonstrations: solved examples in a text.
        inputs: rows without labels to learn from.
        tests: labelled rows at most.
        tokens: of a row at most.
        subjects: of the policy that is made where the folder has none.
    """

    demonstrations: int = 64
    inputs: int = 400
    tests: int = 120
    tokens: int = 48
    subjects: int = 48


@dataclass(frozen=True)
class LongText:
    """A text in front of requests.

    Attributes:
        content: the text.
        spec: what is asked; the text stands at its {prompt}.
        inputs: without targets.
        tests: with targets.
        right: which of the answers to the tests are right, 1.0 or 0.0 each.
        known_alone: whether only those tests count that the full text answers right.
    """

    content: str
    spec: TaskSpec
    inputs: tuple[Record, ...]
    tests: tuple[Record, ...]
    right: Callable[[Evaluation], list[float]]
    known_alone: bool = False


def demonstrations(name: str, sizes: TextSizes, data: str = "") -> LongText:
    """Solved examples of a set, each label in turn.

    Args:
        data: a file instead of the set's own source.
    """
    chosen = SETS[name]
    rows = Rows(sizes.inputs, 1, sizes.tests, sizes.tokens)
    task = read_task(chosen, rows, data or None)
    by_label = {
        label: [row for row in task.train if task.spec.label_of(row) == label]
        for label in chosen.labels
    }
    each = -(-sizes.demonstrations // len(by_label))
    drawn = [draw_rows(some, each, "demonstrations") for some in by_label.values()]
    shown = [row for turn in zip(*drawn, strict=False) for row in turn][: sizes.demonstrations]
    others = rows_beside(task.train, shown)
    lines = [f"{_asked(chosen.template, row)} {_word(task.spec, row)}" for row in shown]
    return LongText(
        chosen.instruction + "\n\n".join(lines),
        task.spec.model_copy(update={"template": f"{{prompt}}\n\n{chosen.template}"}),
        tuple(replace(row, target=None) for row in draw_rows(others, sizes.inputs, "inputs")),
        task.test,
        lambda found: [float(each) for each in found.correct],
    )


def policy(sizes: TextSizes, folder: str = "") -> LongText:
    """A folder's policy with its questions, or one that is made."""
    spec = TaskSpec(
        kind="text-to-text",
        template="{prompt}\n\n{text} Answer in a few words.",
        chat=True,
        max_new_tokens=16,
    )
    if folder and (Path(folder) / POLICY).is_file():
        place = Path(folder)
        content = (place / POLICY).read_text(encoding="utf-8")
        inputs, tests = _questions(place / QUESTIONS)
    else:
        made = made_policy(sizes.subjects)
        content = made.text
        inputs = [Record({"text": one.text}, None) for one in made.inputs]
        tests = [Record({"text": one.text}, one.answer) for one in made.tests]
    return LongText(
        content,
        spec,
        tuple(inputs[: sizes.inputs]),
        tuple(tests[: _ASKED * sizes.tests]),
        _holds,
        known_alone=True,
    )


def extraction(sizes: TextSizes, data: str = "") -> LongText:
    """A GraphRAG project's extraction prompt for news; nobody has labelled what is in them.

    Args:
        data: a file instead of the set's own source.
    """
    chosen = SETS["topic"]
    rows = Rows(sizes.inputs, 1, sizes.tests, sizes.tokens)
    news = draw_rows(read_task(chosen, rows, data or None).train, sizes.inputs // _COSTLY, "news")
    prompt = generic_prompt().with_types(_TYPES)
    content, template = text_and_template("the extraction prompt", prompt.template, "input_text")
    return LongText(
        content,
        TaskSpec(kind="text-to-text", template=template, chat=True, max_new_tokens=_EXTRACTED),
        tuple(Record({"text": next(iter(row.texts.values()))}, None) for row in news),
        (),
        lambda found: [],
    )


TEXTS: Mapping[str, Callable[[TextSizes, str], LongText]] = {
    "sentiment": lambda sizes, data: demonstrations("sentiment", sizes, data),
    "topic": lambda sizes, data: demonstrations("topic", sizes, data),
    "policy": policy,
    "extraction": extraction,
}
"""Each of the texts, from the sizes and where its data is, "" for its own source."""


def _questions(file: Path) -> tuple[list[Record], list[Record]]:
    """Those to learn from, and those to test with.

    Raises:
        DataError: a line that is not a question.
    """
    inputs: list[Record] = []
    tests: list[Record] = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        row = json.loads(line)
        if not isinstance(row, dict) or not row.get("question"):
            raise DataError("not a question", where=f"{file}, line {number}", got=line[:80])
        answer = row.get("answer")
        (inputs if answer is None else tests).append(Record({"text": row["question"]}, answer))
    return inputs, tests


def _holds(found: Evaluation) -> list[float]:
    """An answer is right that holds the gold words."""
    pairs = zip(found.records, found.predictions, strict=True)
    return [float(str(row.target).lower() in each.answer.lower()) for row, each in pairs]


def _asked(template: str, row: Record) -> str:
    return template.format(**row.texts)


def _word(spec: TaskSpec, row: Record) -> str:
    return spec.label_names[spec.label_of(row)]
