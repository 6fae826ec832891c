"""Every kind of task, trained in every way: it works, or is refused before its first step."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cuecard.artifacts import Prompt
from cuecard.tasks import Task
from cuecard.types import value_text
from support.command_line import Call, save_tiny
from support.data.head_tasks import (
    answer_task,
    choice_task,
    head_task,
    number_task,
    several_task,
    tag_task,
)
from support.data.pairs import pair_task
from support.data.reviews import review_task, title_task
from support.tiny import tiny_model, tiny_tokenizer

TASKS: dict[str, Callable[[int], Task]] = {
    "classification": review_task,
    "head": head_task,
    "text-to-text": title_task,
    "multi-label": several_task,
    "regression": number_task,
    "multiple-choice": choice_task,
    "tagging": tag_task,
    "extractive-qa": answer_task,
    "embedding": pair_task,
}
WAYS: dict[str, list[object]] = {
    "train": ["--length", 2, "--init", "random"],
    "race": [],
    "sweep": ["--grid", "training.lr=0.01,0.02", "--length", 2, "--init", "random"],
    "lora": ["--rank", "2"],
}
MULTITASK = ("classification", "text-to-text")


def as_row(kind: str, record: Any) -> dict[str, Any]:
    fields, target = dict(record.fields), record.target
    match kind:
        case "multiple-choice":
            fields["options"] = [*fields["options"]]
        case "tagging":
            return {"tokens": fields["tokens"].split(" "), "tags": [*target]}
        case "extractive-qa":
            return {**fields, "answers": json.loads(value_text(target))}
        case "text-to-text" | "embedding":
            return {**fields, {"embedding": "positive"}.get(kind, "title"): target}
        case "regression":
            return {**fields, "label": float(target)}
    return {**fields, "label": value_text(target, ",")}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    encoder = root / "encoder"
    tiny_model("bert").save_pretrained(encoder)
    tiny_tokenizer("<s> $A </s>", mask=True).save_pretrained(encoder)
    return {"llama": save_tiny(root / "llama"), "bert": encoder}


def given(kind: str, models: dict[str, Path], folder: Path) -> dict[str, object]:
    """Data and the flags that every way takes."""
    task = TASKS[kind](60)
    rows = [as_row(kind, r) for r in (*task.train, *task.validation, *task.test)]
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    flags: dict[str, object] = {
        "data": path,
        "--kind": "classification" if kind == "head" else kind,
        "--backbone": models["bert" if kind == "embedding" else "llama"],
        "--steps": 2,
    }
    if kind == "head":
        flags["--head"] = "trained"
    if kind in ("text-to-text", "embedding"):
        flags["--label-field"] = {"embedding": "positive"}.get(kind, "title")
    if kind == "text-to-text":
        flags["--set"] = "task.max_new_tokens=3"
    return flags


def words(way: str, flags: dict[str, object], out: Path) -> list[object]:
    named = [part for name, value in flags.items() if name != "data" for part in (name, value)]
    command = "train" if way == "race" else way
    return [command, flags["data"], *named, *WAYS[way], "--out", out]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", TASKS)
def test_a_kind_in_a_way(
    cuecard: Call, models: dict[str, Path], tmp_path: Path, kind: str, way: str
) -> None:
    flags, out = given(kind, models, tmp_path), tmp_path / "run"
    done = cuecard(*words(way, flags, out))
    assert done.code == 0, done.err
    run = out / "best" if way == "sweep" else out
    if way != "lora":
        # A race's first contestant has so small a budget alone; late prompts leave out such kinds.
        late = way == "race" and kind not in ("tagging", "extractive-qa", "embedding")
        raced = "p-tuning-v2" if way == "race" else "prompt-tuning"
        assert (run / "report.json").is_file() and f"trained: {raced}" in done.out
        assert (Prompt.load(run / "prompt").manifest.slot == "infix") is late
    prompt = Prompt.load(run / "prompt")
    assert (prompt.head() is not None) is (prompt.spec.mode == "head")
    assert prompt.spec.kind == flags["--kind"]
    scored = cuecard("eval", run, flags["data"], "--json")
    assert scored.code == 0, scored.err
    assert scored.json["rows"] == 60
    answered = cuecard("predict", run, "--file", flags["data"], "--limit", 2, "--json")
    assert answered.code == 0, answered.err


@pytest.mark.parametrize("kind", ["head", "text-to-text", "multiple-choice", "tagging"])
def test_a_kind_is_compared(
    cuecard: Call, models: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    flags, out = given(kind, models, tmp_path), tmp_path / "run"
    named = [part for name, value in flags.items() if name != "data" for part in (name, value)]
    prompt = ("--rates", 1, "--length", 2, "--init", "random")
    done = cuecard("compare", flags["data"], *named, *prompt, "--out", out)
    assert done.code == 0, done.err
    (contest,) = json.loads((out / "compare.json").read_text())["contests"]
    assert {"start", "prompt-tuning", "lora"} <= set(contest["contestants"])
    assert ("zero-shot" in contest["contestants"]) is (kind != "tagging")  # has no words
    assert ("in-context" in contest["contestants"]) is (kind in ("head", "text-to-text"))
    assert all(contest["left_out"].values())


@pytest.mark.parametrize("kind", TASKS)
def test_a_kind_with_another_task(
    cuecard: Call, models: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    flags, out = given(kind, models, tmp_path), tmp_path / "run"
    task: dict[str, Any] = {"kind": flags["--kind"], "max_new_tokens": 3}
    task |= {"head": flags["--head"]} if "--head" in flags else {}
    data = {"path": str(flags["data"]), "label_field": flags.get("--label-field")}
    plan = {
        "tasks": {name: {"data": data, "task": task} for name in ("one", "two")},
        "backbone": str(flags["--backbone"]),
        "method": {"length": 2, "init": "random"},
        "training": {"steps": 2},
        "out": str(out),
    }
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan), encoding="utf-8")
    done = cuecard("multitask", tmp_path / "plan.yaml")
    if kind in MULTITASK:
        assert done.code == 0, done.err
        scored = cuecard("eval", out / "tasks" / "two", flags["data"], "--json")
        assert scored.code == 0, scored.err
    else:
        assert done.code == 2 and "does not answer in words" in done.err
        assert not out.exists()


def test_a_lora_run_is_resumed_by_its_folder(
    cuecard: Call, models: dict[str, Path], tmp_path: Path
) -> None:
    flags, out = given("classification", models, tmp_path), tmp_path / "run"
    command = words("lora", flags, out)
    assert cuecard(*command).code == 0
    done = cuecard("lora", "--resume", out)
    assert done.code == 0 and "nothing was trained or tested again" in " ".join(done.out.split())
    done = cuecard("lora", "--resume", out, "--rank", 3)
    assert done.code == 2 and "--resume alone" in done.err
    command[command.index("--rank") + 1] = 3
    done = cuecard(*command)
    assert done.code == 2 and "lora.rank: 2 -> 3" in done.err
    done = cuecard("train", "--resume", out)
    assert done.code == 2 and "cuecard lora --resume" in done.err
    shutil.rmtree(out / "prompt")
    done = cuecard("predict", out, "some text")
    assert done.code == 2 and "cuecard lora --resume" in done.err
    assert cuecard(*command, "--overwrite").code == 0
