"""`cuecard advise`, and what a training with few rows says of it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

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
