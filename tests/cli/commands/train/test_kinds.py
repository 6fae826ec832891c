"""Every kind of task on the command line: trained, scored, answered, looked at."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cuecard.artifacts import Prompt
from cuecard.tasks import Task
from cuecard.types import value_text
from support.command_line import Call
from support.data.head_tasks import (
    answer_task,
    choice_task,
    head_task,
    number_task,
    several_task,
    tag_task,
)

TASKS: dict[str, Callable[[int], Task]] = {
    "classification": head_task,
    "multi-label": several_task,
    "regression": number_task,
    "multiple-choice": choice_task,
    "tagging": tag_task,
    "extractive-qa": answer_task,
}
PRIMARY = {
    "classification": "accuracy",
    "multi-label": "micro_f1",
    "regression": "r2",
    "multiple-choice": "accuracy",
    "tagging": "span_f1",
    "extractive-qa": "exact_match",
}


def as_row(kind: str, record: Any) -> dict[str, Any]:
    fields, target = dict(record.fields), record.target
    if kind == "multiple-choice":
        fields["options"] = [*fields["options"]]
    if kind == "tagging":
        return {"tokens": fields["tokens"].split(" "), "tags": [*target]}
    if kind == "extractive-qa":
        return {**fields, "answers": json.loads(value_text(target))}
    return {**fields, "label": float(target) if kind == "regression" else value_text(target, ",")}


def save(kind: str, folder: Path) -> Path:
    task = TASKS[kind](80)
    rows = [as_row(kind, r) for r in (*task.train, *task.validation, *task.test)]
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def train_words(kind: str, data: Path, backbone: Path, out: Path) -> list[object]:
    words: list[object] = ["train", data, "--kind", kind, "--backbone", backbone, "--out", out]
    words += ["--steps", "6", "--length", "3", "--init", "random", "--head-lr", "0.01"]
    head = ["--head", "trained"] if kind == "classification" else []
    return [*words, *head, "--set", "demonstrations=[2]"]


@pytest.mark.parametrize("kind", TASKS)
def test_from_data_to_answers(cuecard: Call, backbone: Path, tmp_path: Path, kind: str) -> None:
    data, out = save(kind, tmp_path), tmp_path / "run"
    words = train_words(kind, data, backbone, out)
    plan = cuecard(*words, "--dry-run", "--json")
    assert plan.code == 0, plan.err
    outputs = {"extractive-qa": 2, "multiple-choice": 0, "regression": 1, "classification": 2}
    outputs |= {"multi-label": 3, "tagging": 3}
    assert plan.json["trained_parameters"] == 3 * 32 + outputs[kind] * 33
    assert plan.json["loss"] == ("tokens" if kind == "multiple-choice" else "head")
    done = cuecard(*words)
    assert done.code == 0, done.err
    assert "trained: prompt-tuning" in done.out
    (advice,) = (line for line in done.out.splitlines() if line.startswith("use it"))
    used = cuecard(*shlex.split(advice)[3:])
    assert used.code == 0, used.err
    report = json.loads((out / "report.json").read_text())
    assert report["metric"] == PRIMARY[kind]

    scored = cuecard("eval", out, data, "--json", "--predictions", tmp_path / "all.jsonl")
    assert scored.code == 0, scored.err
    assert scored.json["metric"] == PRIMARY[kind] and scored.json["rows"] == 80
    assert len((tmp_path / "all.jsonl").read_text().splitlines()) == 80
    assert cuecard("eval", out, data).code == 0
    answers = cuecard("predict", out, "--file", data, "--limit", "3", "--json")
    assert answers.code == 0, answers.err
    assert len(answers.json["predictions"]) == 3
    assert cuecard("predict", out, "--file", data, "--limit", "3").code == 0
    shown = cuecard("inspect", out)
    assert kind in shown.out and ("head" in shown.out) is (kind != "multiple-choice")
    assert Prompt.load(out / "prompt").spec.kind == kind


def test_typed_texts(cuecard: Call, backbone: Path, tmp_path: Path) -> None:
    runs = {}
    for kind in ("tagging", "multiple-choice", "extractive-qa"):
        (tmp_path / kind).mkdir()
        data, runs[kind] = save(kind, tmp_path / kind), tmp_path / f"{kind}-run"
        words = train_words(kind, data, backbone, runs[kind])
        assert cuecard(*words, "--no-compare", "--steps", "1").code == 0
    found = cuecard("predict", runs["tagging"], " the   fox ran ", "--json").json
    assert len(found["predictions"][0]["answer"].split(" ")) == 3
    options = 'options=["great", "warm"]'
    done = cuecard("predict", runs["multiple-choice"], "which", "--field", options, "--json")
    assert done.json["predictions"][0]["answer"] in ("great", "warm")
    assert sum(done.json["predictions"][0]["probabilities"].values()) == pytest.approx(1)
    done = cuecard("predict", runs["multiple-choice"], "which", "--field", "options=great,warm")
    assert done.code == 2 and "not a list" in done.err
    fields = ["--field", "question=which one", "--field", "context=the fox ran"]
    done = cuecard("predict", runs["extractive-qa"], *fields, "--json")
    assert done.json["predictions"][0]["answer"] in "the fox ran"
    lines = tmp_path / "lines.txt"
    lines.write_text("the fox\na  dog ran\n", encoding="utf-8")
    found = cuecard("predict", runs["tagging"], "--file", lines, "--json").json
    assert [len(p["answer"].split(" ")) for p in found["predictions"]] == [2, 3]


def test_conll_files_on_the_command_line(cuecard: Call, backbone: Path, tmp_path: Path) -> None:
    task = tag_task(60)
    path = tmp_path / "train.conll"
    sentences = [
        "\n".join(
            f"{word} {tag}" for word, tag in zip(r.fields["tokens"].split(), r.target, strict=True)
        )
        for r in (*task.train, *task.validation, *task.test)
    ]
    path.write_text("\n\n".join(sentences) + "\n", encoding="utf-8")
    words = train_words("tagging", path, backbone, tmp_path / "run")
    done = cuecard(*words, "--no-compare", "--set", "task.subword=last")
    assert done.code == 0, done.err
    assert cuecard("eval", tmp_path / "run", path, "--json").json["rows"] == 60
    path.write_text(f"{sentences[0]}\nbroken\n", encoding="utf-8")
    done = cuecard("eval", tmp_path / "run", path)
    line = len(sentences[0].splitlines()) + 1
    assert done.code == 2 and f"train.conll, row {line}" in done.err.replace("\n", " ")


def test_columns_of_labels_and_of_options(cuecard: Call, backbone: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    rows = [f"text {i},{i % 2},{i % 3 // 2}" for i in range(60)]
    labels.write_text("text,rude,spam\n" + "\n".join(rows) + "\n", encoding="utf-8")
    words = train_words("multi-label", labels, backbone, tmp_path / "labels-run")
    done = cuecard(*words, "--label-field", "rude,spam")
    assert done.code == 0, done.err
    assert cuecard("eval", tmp_path / "labels-run", labels).code == 0
    calibrated = cuecard("eval", tmp_path / "labels-run", labels, "--calibrate", "batch")
    assert calibrated.code == 2
    options = tmp_path / "options.csv"
    rows = [f"question {i},great,warm,{'AB'[i % 2]}" for i in range(60)]
    options.write_text("question,A,B,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    words = train_words("multiple-choice", options, backbone, tmp_path / "options-run")
    done = cuecard(*words, "--options-field", "A,B", "--no-compare")
    assert done.code == 0, done.err
    assert cuecard("eval", tmp_path / "options-run", options, "--json").json["rows"] == 60


@pytest.mark.parametrize(
    ("kind", "row", "said"),
    [
        ("regression", {"text": "a", "label": "many"}, "not a number"),
        ("multiple-choice", {"question": "a", "options": [], "label": 0}, "options"),
        ("extractive-qa", {"question": "a", "context": "b", "answers": "c"}, "not in its context"),
        ("tagging", {"tokens": ["a"], "tags": []}, "sentence is empty"),
    ],
)
def test_mistakes_end_with_2(
    cuecard: Call, backbone: Path, tmp_path: Path, kind: str, row: dict[str, Any], said: str
) -> None:
    data = save(kind, tmp_path)
    with data.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    done = cuecard(*train_words(kind, data, backbone, tmp_path / "run"))
    words = " ".join(done.err.split())
    assert done.code == 2 and said in words and "row 81" in words
