"""`cuecard sweep` as a user types it, on a tiny backbone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

import cuecard.runs.sweeps.sweep_recipe as sweep_recipe
from cuecard.runs.recipe import Recipe
from support.command_line import Call

TEMPLATE = r"Review: {text}\nSentiment:"


@pytest.fixture
def words(backbone: Path, data: Path) -> list[str]:
    """What all the sweeps here have in common."""
    return [
        *("sweep", str(data), "--text-field", "review", "--template", TEMPLATE),
        *("--word", "negative=bad", "--word", "positive=good", "--backbone", str(backbone)),
        *("--length", "3", "--init", "random", "--steps", "6", "--batch-rows", "8"),
        *("--batch-tokens", "200", "--no-compare"),
    ]


def test_a_grid_leaves_a_run_that_other_commands_take(
    cuecard: Call, words: list[str], tmp_path: Path, data: Path
) -> None:
    out = tmp_path / "sweep"
    done = cuecard(*words, "--grid", "lr=0.01,0.3", "--grid", "seed=0,1", "--out", out)
    assert done.code == 0, done.err
    for said in ("Sweep: 4 trials, up to", "#3 lr 0.3, seed 1:", "chosen on validation rows: #"):
        assert said in done.out
    assert f"cuecard predict {out / 'best'}" in done.out
    report = json.loads((out / "sweep.json").read_text())
    losses = [trial["loss"] for trial in report["trials"]]
    chosen = report["best"][0]["trial"]
    assert losses[chosen] == min(losses)
    recipe = Recipe.read(out / "best" / "recipe.yaml")
    settings = report["trials"][chosen]["settings"]
    assert recipe.training.lr == settings["training.lr"]
    assert recipe.training.seed == settings["training.seed"]
    assert (recipe.data.split_seed, recipe.training.batch_tokens) == (0, 200)
    assert "good" in cuecard("predict", out / "best", "good nice", "--json").out
    scored = cuecard("eval", out / "best", data, "--text-field", "review")
    assert scored.code == 0 and "accuracy" in scored.out
    assert "tiny" in cuecard("inspect", out / "best").out
    again = cuecard("sweep", "--resume", out)
    assert again.code == 0 and "resuming after 4 of 4 trials" in again.out


def test_json_is_one_object_a_line(cuecard: Call, words: list[str], tmp_path: Path) -> None:
    space = ("--range", "lr=1e-3..1:log", "--grid", "slot=prefix,suffix", "--trials", "5")
    done = cuecard(*words, *space, "--together", "2", "--out", tmp_path / "s", "--json")
    assert done.code == 0, done.err
    events = [json.loads(line) for line in done.out.splitlines()]
    assert events[0]["event"] == "inputs" and events[1]["event"] == "sweep"
    result = events[-1]
    assert result["event"] == "result" and len(result["trials"]) == 5 and result["together"] == 2
    assert sum(e["event"] == "trial_done" for e in events) == 5
    assert sum(e["event"] == "test" for e in events) == 1


def test_compare_proves_the_chosen_one(cuecard: Call, words: list[str], tmp_path: Path) -> None:
    done = cuecard(*words[:-1], "--grid", "lr=0.1", "--out", tmp_path / "s")
    assert done.code == 0 and "majority class" in done.out
    assert (tmp_path / "s" / "best" / "report.md").is_file()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--grid", "leng=2,3"), ("unknown setting", "leng", "did you mean length?")),
        (("--grid", "training.lrr=1"), ("did you mean training.lr?",)),
        (("--grid", "length=0,3"), ("method", "length", "length 0 is for a prompt with a decoder")),
        (("--grid", "lr"), ("--grid", "NAME=VALUE")),
        (("--range", "lr=1..0"), ("--range lr", "low..high")),
        (("--grid", "lr=0.1", "--search", "random"), ("search", "grid")),
        (("--grid", "lr=0.1", "--trials", "0"), ("trials",)),
        (("--grid", "seed=0,1", "--lr", "auto"), ("chooses learning rates itself",)),
        ((), ("nothing to sweep", "--grid")),
    ],
)
def test_a_users_mistake(
    cuecard: Call, words: list[str], tmp_path: Path, options: tuple[str, ...], said: tuple[str, ...]
) -> None:
    done = cuecard(*words, *options, "--out", tmp_path / "s")
    assert done.code == 2
    for word in said:
        assert word in done.err
    assert not (tmp_path / "s").exists()


def test_folders_of_something_else_are_refused(
    cuecard: Call, words: list[str], tmp_path: Path, run: Path
) -> None:
    out = tmp_path / "s"
    assert cuecard(*words, "--grid", "lr=0.1", "--out", out).code == 0
    done = cuecard(*words, "--grid", "lr=0.2", "--out", out)
    assert done.code == 2 and "holds a sweep with other settings" in done.err
    assert cuecard(*words, "--grid", "lr=0.2", "--out", out, "--overwrite").code == 0
    assert json.loads((out / "sweep.json").read_text())["trials"][0]["settings"] == {
        "training.lr": 0.2
    }
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    assert "holds a run" in cuecard(*words, "--grid", "lr=0.1", "--out", copied).err
    (tmp_path / "file").write_text("")
    assert "is a file" in cuecard(*words, "--grid", "lr=0.1", "--out", tmp_path / "file").err


def test_resume_takes_nothing_else(cuecard: Call, words: list[str], tmp_path: Path) -> None:
    assert "no sweep to resume" in cuecard("sweep", "--resume", tmp_path).err
    assert "--resume alone" in cuecard(*words, "--resume", tmp_path).err
    done = cuecard("sweep", "--resume", tmp_path, "--grid", "lr=0.1")
    assert done.code == 2 and "--resume alone" in done.err
    assert "there is no data" in cuecard("sweep", "--grid", "lr=0.1").err


def test_a_recipe_and_its_folder(tmp_path: Path) -> None:
    plan: Any = sweep_recipe.SweepRecipe.model_validate(
        {"recipe": {"data": {"path": "some/reviews.csv"}}, "sweep": {"grid": {"lr": [0.1]}}}
    )
    assert plan.folder == Path("runs/reviews-sweep")
    again = yaml.safe_load(yaml.safe_dump(plan.model_dump(mode="json")))
    assert sweep_recipe.SweepRecipe.model_validate(again) == plan
