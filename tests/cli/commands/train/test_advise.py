"""`cuecard advise`, and what a training with few rows says of it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from cuecard.evaluation.measured import advise, measurements
from cuecard.runs.recipe import Recipe
from support.command_line import Call

FLAGS = ("--text-field", "review")


def test_advice(cuecard: Call, data: Path) -> None:
    done = cuecard("advise", data, *FLAGS, "--budget", "90s")
    assert done.code == 0, done.err
    task = Recipe.parse({"data": {"path": str(data), "text_field": "review"}}).read_task()
    found = advise(task, "smollm2-135m-instruct", 90.0)
    assert done.out.startswith(f"{found.way}: ")
    assert f"{len(task.train)} training rows, 2 labels" in done.out
    assert found.basis in done.out
    assert found.nearest[0].task in done.out
    next_ = found.command(f"{data} --text-field review", "90s")
    assert done.out.rstrip().endswith(f"next     {next_}")


def test_advice_for_machines(cuecard: Call, data: Path) -> None:
    found = cuecard("advise", data, *FLAGS, "--backbone", "flan-t5-small", "--json").json
    assert found["event"] == "result" and found["situation"]["family"] == "seq2seq"
    assert found["advice"] == found["expected"][0]["way"]
    assert "--text-field review --backbone flan-t5-small" in found["command"]
    assert {each["origin"] for each in found["nearest"]} <= {m.origin for m in measurements()}


def test_the_next_command_reads_the_rows_alike(cuecard: Call, data: Path) -> None:
    template, word = r"Review: {text}\nIt is", ("--word", "negative=bad")
    said = cuecard("advise", data, *FLAGS, "--template", template, *word, "--json").json
    words = shlex.split(said["command"])
    taken = words[words.index(str(data)) :]
    assert taken[:7] == [str(data), *FLAGS, "--template", template, *word]


def test_mistakes(cuecard: Call, data: Path, tmp_path: Path) -> None:
    for flags, said in (
        ((tmp_path / "none.csv",), "none.csv"),
        ((data,), "text"),
        ((data, *FLAGS, "--budget", "300 steps"), "--budget"),
        ((data, *FLAGS, "--budget", "soon"), "budget"),
        ((data, *FLAGS, "--kind", "taggin"), "--kind"),
    ):
        done = cuecard("advise", *flags)
        assert done.code == 2 and said in done.err


@pytest.fixture
def measure(backbone: Path, data: Path, tmp_path: Path) -> list[object]:
    """A contest of a few steps, in tmp_path / "out"."""
    words = ("--template", r"Review: {text}\nIs:", "--word", "negative=bad")
    steps = ("--set", "training.steps=2", "--set", "training.batch_rows=8")
    split = ("--set", "data.split=[0.6, 0.2, 0.2]", "--dtype", "fp32")
    named = (*FLAGS, *words, "--word", "positive=good", "--backbone", backbone)
    return ["advise", data, *named, *steps, *split, "--out", tmp_path / "out"]


def test_advice_after_a_contest(cuecard: Call, measure: list[object], tmp_path: Path) -> None:
    # No time at all: by what was measured elsewhere, and all contestants wait.
    none = cuecard(*measure, "--measure", "1e-9", "--json")
    assert none.code == 0, none.err
    without = json.loads(none.out.splitlines()[-1])
    assert without["measured_here"]["contestants"] == {}
    assert without["advice"] == without["elsewhere"]["advice"]
    assert without["waiting"][:5] == [
        "majority",
        "tfidf",
        "embedding-lr",
        "zero-shot",
        "in-context",
    ]
    # More time goes on, and the test rows have no part in what is advised.
    done = cuecard(*measure, "--measure", "600", "--json")
    assert done.code == 0, done.err
    *events, found = map(json.loads, done.out.splitlines())
    assert found["waiting"] == [] and found["steps"] == 2
    begun = [e["contestant"] for e in events if e["event"] == "contestant"]
    assert begun == without["waiting"]
    tested = found["measured_here"]["contestants"]
    scores = {name: one["validation"] for name, one in tested.items()}
    assert found["advice"] == found["estimates"][0]["way"]
    by_way = {one["way"]: one for one in found["estimates"]}
    assert by_way["lora"]["here"] == scores["lora"]
    assert by_way["by hand"]["here"] == max(scores["zero-shot"], scores["in-context"])
    assert by_way["dept"]["elsewhere"]["measured"] > 0
    report = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert report["contests"][0]["contestants"].keys() == tested.keys()
    assert json.loads((tmp_path / "out" / "advice.json").read_text())["advice"] == found["advice"]
    # Finished: it is read, and says which figures are from these rows.
    again = cuecard(*measure, "--measure", "600")
    assert again.code == 0 and f"\n{found['advice']}: " in again.out
    _, table = again.out.split("points below the best")[:2]
    seen = {line[:15].strip(): line.split() for line in table.splitlines()}
    for way in ("by hand", "linear", "lora", "auto"):
        assert f"{by_way[way]['here']:.3f}" in seen[way]
    said = " ".join(again.out.split())
    assert "tfidf is finished" in said and "Measured on these rows:" in said
    assert "points below the best by the shipped measurements alone" in said
    assert f"{scores['lora']:.3f}" in said and "12 validation rows" not in said
    other = cuecard(*measure, "--set", "training.lr=0.5", "--measure", "600")
    assert other.code == 2 and "comparison with other settings" in other.err


def test_what_measuring_refuses(cuecard: Call, measure: list[object], tmp_path: Path) -> None:
    for flags, said in (
        ((), "nothing is run without --measure"),
        (("--measure", "0"), "minutes"),
        (("--measure", "nan"), "minutes"),
        (("--measure", "1", "--method", "lora"), "--method"),
        (("--measure", "1", "--text-field", "nowhere"), "nowhere"),
    ):
        done = cuecard(*measure, *flags)
        assert done.code == 2 and said in done.err, done.err
        assert not (tmp_path / "out").exists()


def test_a_training_with_few_rows_says_what_did_better(
    cuecard: Call, backbone: Path, data: Path, tmp_path: Path
) -> None:
    flags = (data, *FLAGS, "--word", "negative=bad", "--word", "positive=good", "--steps", "2")
    run = (*flags, "--backbone", backbone, "--batch-rows", "8", "--no-compare", "--json")
    worse = cuecard("train", *run, "--method", "deep-prompts", "--out", tmp_path / "worse")
    events = [json.loads(line) for line in worse.out.splitlines()]
    (said,) = (one["text"] for one in events if one["event"] == "advice")
    assert "deep-prompts was" in said and "`cuecard advise`" in said
    dry = cuecard("train", *run, "--method", "deep-prompts", "--dry-run").json
    assert said in dry["notes"]
    best = said.split(", and ")[1].split()[0]
    more = () if best == "auto" else ("--method", best)
    better = cuecard("train", *run, *more, "--out", tmp_path / "better", "--dry-run").json
    assert not any("cuecard advise" in note for note in better["notes"])
