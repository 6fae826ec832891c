"""`cuecard compare` as a user types it, on a tiny backbone."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from cuecard.errors import Interrupted
from cuecard.runs.compare.recipe import CompareRecipe
from cuecard.runs.compare.run import run_compare
from support.command_line import Call

FORMS = ("html", "json", "md", "tex", "csv", "svg", "yaml")
FILES = {f"compare.{form}" for form in FORMS}


@pytest.fixture
def words(backbone: Path, data: Path) -> list[str]:
    """What all the comparisons here have in common."""
    return [
        *("compare", str(data), "--text-field", "review", "--template", r"Review: {text}\nIs:"),
        *("--word", "negative=bad", "--word", "positive=good", "--backbone", str(backbone)),
        *("--length", "2", "--init", "random", "--steps", "2", "--batch-rows", "8"),
        *("--rates", "1", "--set", "data.split=[0.6, 0.2, 0.2]"),
    ]


def test_a_comparison_leaves_its_report(cuecard: Call, words: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = cuecard(*words, "--rows", "16", "--price", "2", "--out", out)
    assert done.code == 0, done.err
    figures = {
        "learning-curve.svg",
        *(f"score-by-{cost}.svg" for cost in ("bytes", "cpu", "tokens")),
    }
    assert FILES | figures | {"contests"} <= {path.name for path in out.iterdir()}
    report = json.loads((out / "compare.json").read_text())
    assert [one["train_rows"] for one in report["contests"]] == [16, report["contests"][1]["rows"]]
    last = report["contests"][1]
    names = ["majority", "tfidf", "embedding-lr", "zero-shot", "in-context", "start"]
    assert list(last["contestants"]) == [*names, "prompt-tuning", "lora"]
    assert last["contestants"]["lora"]["weights_changed"] is True
    assert last["contestants"]["prompt-tuning"]["weights_changed"] is False
    assert last["contestants"]["lora"]["cost"] > 0
    assert report["general"]["source"] == "the frozen model's own texts"
    assert "12 test rows are few: " in report["notes"][0]
    for said in ("accuracy", "forgetting", "changed", "The best in words", "compare.html"):
        assert said in done.out
    page = (out / "compare.html").read_text()
    assert page.count("<svg") == 1 + len(figures) and "<script" not in page
    # More of them are added; what is finished is not run again.
    named = ",".join([*names, "prompt-tuning", "p-tuning-v2", "lora"])
    more = cuecard(*words, "--contestants", named, "--out", out, "--json")
    assert more.code == 0, more.err
    *events, result = map(json.loads, more.out.splitlines())
    assert {e["contestant"] for e in events if e["event"] == "contestant"} == {"p-tuning-v2"}
    assert result["event"] == "result" and len(result["contests"]) == 1
    told = {
        name: {k: v for k, v in one.items() if k != "cost"}
        for name, one in result["contests"][0]["contestants"].items()
    }
    for name, one in last["contestants"].items():
        assert told[name] == {key: value for key, value in one.items() if key != "cost"}


def test_texts_of_ones_own_show_what_is_forgotten(
    cuecard: Call, words: list[str], tmp_path: Path
) -> None:
    texts = tmp_path / "general.txt"
    texts.write_text("good bad fine awful nice poor warm cold good bad\n" * 3)
    named = ("--contestants", "lora", "--general", texts)
    done = cuecard(*words, *named, "--out", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    result = json.loads(done.out.splitlines()[-1])
    lost = result["contests"][0]["contestants"]["lora"]["forgetting"]
    assert lost["source"] == str(texts) and lost["texts"] == 3
    assert lost["off"] == result["general"]["loss"]


def test_other_tasks_are_scored_with_each_on(
    cuecard: Call, words: list[str], tmp_path: Path
) -> None:
    rows = [
        f"{'good' if n % 2 else 'bad'} thing {n},{'warm' if n % 2 else 'cold'}" for n in range(60)
    ]
    other = tmp_path / "other.csv"
    other.write_text("\n".join(["text,label", *rows]) + "\n")
    named = ("--contestants", "tfidf,zero-shot,prompt-tuning,lora", "--other", other)
    done = cuecard(*words, *named, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert f"On {other}, another task" in " ".join(done.out.split())
    report = json.loads((tmp_path / "out" / "compare.json").read_text())
    found = report["contests"][0]["contestants"]
    told = {name: one["other_tasks"] for name, one in found.items()}
    assert told["tfidf"] == []
    (words_alone,), (prompt,) = told["zero-shot"], told["prompt-tuning"]
    assert words_alone["on"] == words_alone["off"] == prompt["off"] == told["lora"][0]["off"]
    assert words_alone["ci95"][0] <= 0 <= words_alone["ci95"][1]
    assert prompt["ci95"][0] <= prompt["on"] - prompt["off"] <= prompt["ci95"][1]
    again = cuecard("compare", "--resume", tmp_path / "out", "--json")
    contest = json.loads(again.out.splitlines()[-1])["contests"][0]
    assert contest["contestants"]["lora"]["other_tasks"] == told["lora"]


def test_a_dry_run_writes_nothing(cuecard: Call, words: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = cuecard(*words, "--rows", "16", "--out", out, "--dry-run")
    assert done.code == 0 and not out.exists()
    assert "lora" in done.out and "0.0005" in done.out and "16 training" in done.out
    assert "Note: 12 test rows are few: " in done.out
    plan = cuecard(*words, "--out", out, "--dry-run", "--json").json
    entered = {one["name"]: one for one in plan["entered"]}
    assert entered["prompt-tuning"]["parameters"] > 0 and entered["lora"]["rates"] == [5e-4]
    assert entered["tfidf"]["parameters"] is None
    assert [note.split(":")[0] for note in plan["notes"]] == ["12 test rows are few"]


def test_a_dry_run_does_not_know_what_a_race_will_train(
    cuecard: Call, words: list[str], tmp_path: Path
) -> None:
    asked = (*words, "--contestants", "auto,prompt-tuning", "--out", tmp_path / "out", "--dry-run")
    entered = {one["name"]: one for one in cuecard(*asked, "--json").json["entered"]}
    race, tuned = entered["auto"], entered["prompt-tuning"]
    assert race["parameters"] is None and race["rates"] == [] and race["seconds"] > 0
    assert tuned["parameters"] > 0 and len(tuned["rates"]) == 1
    assert "methods and rates race" in cuecard(*asked).out
    given = cuecard(*asked, "--lr", "0.01", "--json").json["entered"]
    assert "chooses the learning rate" in given[0]["why_not"] and given[1]["rates"] == [0.01]


def test_ctrl_c_keeps_what_is_finished(words: list[str], tmp_path: Path, cuecard: Call) -> None:
    out = tmp_path / "out"
    named = ("--contestants", "majority,tfidf,prompt-tuning", "--out", out)
    assert cuecard(*words, *named, "--dry-run").code == 0
    # As the command makes it, so that an observer can press Ctrl-C.
    recipe = _recipe(words, out)

    def press(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted) as stopped:
        run_compare(recipe, observer=press)
    assert f"cuecard compare --resume {out}" in str(stopped.value)
    done = cuecard("compare", "--resume", out)
    assert done.code == 0, done.err
    assert "tfidf is finished; nothing was run again" in done.out
    assert "Resuming after step 1 of 2" in done.out


def _recipe(words: list[str], out: Path) -> CompareRecipe:
    named = dict(zip(words[2::2], words[3::2], strict=True))
    return CompareRecipe.parse(
        {
            "recipe": {
                "data": {"path": words[1], "text_field": "review", "split": [0.6, 0.2, 0.2]},
                "task": {
                    "template": "Review: {text}\nIs:",
                    "words": {"negative": "bad", "positive": "good"},
                },
                "backbone": named["--backbone"],
                "method": {"name": "prompt-tuning", "length": 2, "init": "random"},
                "training": {"steps": 2, "batch_rows": 8},
                "out": str(out),
            },
            "contest": {"contestants": ["majority", "tfidf", "prompt-tuning"], "rates": 1},
        }
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--contestants", "lorra"), ("no such contestant", "did you mean 'lora'?")),
        (("--contestants", "lora,lora"), ("named twice",)),
        (("--rates", "9"), ("rates",)),
        (("--rows", "1"), ("rows",)),
        (("--price", "0"), ("price",)),
        (("--method", "p-tuning-v2"), ("--contestants p-tuning-v2",)),
        (("--lr", "auto"), ("tries learning rates itself", "--rates")),
        (("--general", "nowhere.txt"), ("nowhere.txt",)),
        (("--other", "nowhere.csv"), ("nowhere.csv",)),
        (("--set", "data.split=[0.8, 0.2, 0]"), ("no test rows to compare on",)),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    cuecard: Call, words: list[str], tmp_path: Path, options: tuple[str, ...], said: tuple[str, ...]
) -> None:
    out = tmp_path / "out"
    kept = words[:-2] if "--set" in options or "--rates" in options else words
    done = cuecard(*kept, *options, "--out", out)
    assert done.code == 2 and not out.exists()
    for text in said:
        assert text in done.err, done.err


def test_other_settings_are_another_comparison(
    cuecard: Call, words: list[str], tmp_path: Path
) -> None:
    named = ("--contestants", "majority", "--out", tmp_path / "out")
    assert cuecard(*words, *named).code == 0
    other = cuecard(*words, *named, "--lr", "0.5")
    assert other.code == 2 and "comparison with other settings" in other.err
    assert cuecard(*words, *named, "--lr", "0.5", "--overwrite").code == 0
