from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from cuecard.errors import ArtifactError, BackboneError, ConfigError, DataError, TrainingError
from cuecard.evaluation.baselines.manual import ManualPrompt
from cuecard.methods import PTuningV2
from cuecard.names import data_source, load_backbone
from cuecard.runs.dry_run import dry_run
from cuecard.runs.recipe import Recipe, resume, run_recipe
from cuecard.runs.recipe_method import prompt_folder
from support.data.reviews import reviews
from support.tiny import tiny_model, tiny_tokenizer


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a backbone in hub layout and a CSV."""
    tiny_model().save_pretrained(tmp_path / "backbone")
    tiny_tokenizer().save_pretrained(tmp_path / "backbone")
    rows = [f"{r.fields['text']},{r.target}" for r in reviews(150)]
    (tmp_path / "reviews.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recipe(**changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "data": {"path": "reviews.csv"},
        "task": {
            "template": "Review: {text}\nSentiment:",
            "words": {"negative": "bad", "positive": "good"},
        },
        "backbone": "./backbone",
        "dtype": "fp32",
        "training": {"steps": 4, "batch_rows": 8},
    }
    return Recipe.parse(values | changes)


def test_a_recipe_runs_and_goes_on(home: Path) -> None:
    outcome = run_recipe(recipe())
    folder = home / "runs" / "reviews"
    assert outcome.proof is not None
    report = json.loads((folder / "report.json").read_text())
    assert report["digest"] == outcome.run.prompt.digest
    again = resume(folder)
    assert again.run.prompt.digest == outcome.run.prompt.digest
    assert prompt_folder(folder) == folder / "prompt"
    assert prompt_folder(folder / "prompt") == folder / "prompt"


def test_prompts_of_ones_own_are_compared_with(home: Path) -> None:
    own = ManualPrompt("mine", "{text}\nGood or bad?")
    outcome = run_recipe(recipe(demonstrations=[]), manual=[own])
    assert outcome.proof is not None
    report = outcome.proof.report
    assert report["manual"]["name"] == "mine"
    assert {trial.name for trial in report["manual"]["candidates"]} == {"mine"}


def test_what_is_written_can_be_read(home: Path) -> None:
    first = recipe(out="runs/x", compare=False)
    run_recipe(first)
    written = yaml.safe_load((home / "runs/x/recipe.yaml").read_text())
    assert Recipe.parse(written) == first
    assert yaml.safe_load(first.to_yaml()) == written


def test_a_rate_is_written_out_if_it_was_given() -> None:
    whole = {"name": "p-tuning-v2", **PTuningV2().model_dump(), "prompt": None}  # by cuecard 0.1
    for lr in (None, 0.03):
        training = {"training": {"lr": lr}}
        plain = recipe(method={"name": "p-tuning-v2"}, **training)
        assert plain.method["length"] is None and "values_lr" not in plain.method
        assert recipe(method=whole, **training) == plain
    own = {"name": "p-tuning-v2", "values_lr": 0.02}
    kept = recipe(method=own, training={"lr": 0.02})
    assert kept.method["values_lr"] == 0.02
    for chosen in (kept, recipe(method={**own, "values_lr": 0.01})):
        assert Recipe.parse(yaml.safe_load(chosen.to_yaml())) == chosen
    for rate in (0.02, 0.01):  # a default too, where somebody gave it
        with pytest.raises(ConfigError, match=r"training\.lr 0\.03, method\.values_lr 0\.0"):
            recipe(method={**own, "values_lr": rate}, training={"lr": 0.03})


def test_a_folder_keeps_its_recipe(home: Path) -> None:
    run_recipe(recipe(compare=False))
    other = recipe(compare=False, training={"steps": 5, "batch_rows": 8})
    with pytest.raises(ConfigError, match=r"training\.steps: 4 -> 5"):
        run_recipe(other)
    assert run_recipe(other, overwrite=True).run.steps == 5


def test_a_prompt_can_start_from_another(home: Path) -> None:
    first = run_recipe(recipe(out="a", compare=False, method={"length": 6}))
    start = {"init": "prompt", "prompt": "a"}
    second = recipe(out="b", compare=False, method=start)
    assert second.read_method().prompt is not None
    run = run_recipe(second).run
    assert run.prompt.vectors.shape == first.run.prompt.vectors.shape
    with pytest.raises(ArtifactError):
        recipe(method={"init": "prompt", "prompt": "nowhere"}).read_method()


def test_a_dry_run_counts_and_writes_nothing(home: Path) -> None:
    before = sorted(home.rglob("*"))
    plan = dry_run(recipe(method={"length": 10}))
    assert sorted(home.rglob("*")) == before
    assert plan.trained_parameters == 10 * 32 and plan.prompt_bytes == 10 * 32 * 4
    assert sum(plan.rows.values()) == 150
    assert sum(plan.labels.values()) == plan.rows["train"]
    assert sum(count for *_, count in plan.lengths) == plan.rows["train"]
    assert plan.truncated == 0
    short = recipe(task={"template": "{text}", "max_length": 4})
    assert dry_run(short).truncated > 0
    assert plan.steps_per_epoch == -(-plan.rows["train"] // 8)
    assert plan.loss == "labels" and plan.weight_bytes == 4 * plan.backbone_parameters


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"dta": {}}, "did you mean data"),
        ({"data": {"path": "x", "lable_field": "y"}}, "did you mean label_field"),
        ({"data": {"path": "x"}, "training": {"stepz": 3}}, "did you mean steps"),
        ({"data": {"path": "x"}, "training": {"steps": 0}}, "1 or more"),
        ({"data": {"path": "x"}, "method": {"length": 1001}}, "1000 or less"),
        ({"data": {"path": "x"}, "method": {"init": "zeros"}}, "vocabulary"),
        ({"data": {"path": "x"}, "method": {"name": "prompt_tunning"}}, "mean prompt-tuning"),
        ({"data": {"path": "x"}, "method": {"name": "p-tuning", "hiden": 8}}, "mean hidden"),
        ({"data": {"path": "x"}, "method": {"hidden": 8}}, "an unknown setting"),
        ({"data": {"path": "x"}, "method": {"prompt": 3}}, "is not a folder"),
        ({"data": {"path": "x"}, "method": {"prompt": "a"}}, "do not go together"),
        ({}, "a required setting is missing"),
    ],
)
def test_a_typo_names_the_key(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Recipe.parse(values, "recipe.yaml")


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", "1: 2\n", ""])
def test_what_is_no_recipe(tmp_path: Path, text: str) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(ConfigError, match="recipe"):
        Recipe.read(tmp_path / "recipe.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        Recipe.read(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        Recipe.read(tmp_path)
    assert caught.value.got == "Is a directory"


def test_bad_input_leaves_no_folder(home: Path) -> None:
    for wrong, error in (
        (recipe(data={"path": "reviews.csv", "label_field": "labl"}), DataError),
        (recipe(backbone="./nothing"), BackboneError),
        (recipe(backbone="smollm2-135-instruct"), BackboneError),
    ):
        with pytest.raises(error):
            run_recipe(wrong)
    assert not (home / "runs").exists()
    with pytest.raises(TrainingError, match="no run to resume"):
        resume(home / "runs")
    (home / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        run_recipe(recipe(out="file"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"training": {"steps": 2, "lr": float("nan")}}, "positive number"),
        ({"training": {"steps": 2, "clip": float("inf")}}, "finite number"),
        ({"task": {"template": "Review: {text}\nSentiment:", "max_length": 2}}, "fills the"),
        ({"method": {"length": 250}}, "no room"),
        ({"task": {"kind": "text-to-text", "max_new_tokens": 300}}, "no room"),
        ({"task": {"head": "none"}, "training": {"steps": 2, "loss": "head"}}, "does not fit"),
        ({"demonstrations": [0]}, "demonstrations"),
    ],
)
def test_what_is_refused_leaves_no_trace_and_a_dry_run_says_the_same(
    home: Path, wrong: dict[str, Any], said: str
) -> None:
    before = sorted(home.rglob("*"))
    told = []
    for use in (dry_run, run_recipe):
        with pytest.raises(ConfigError, match=said) as refused:
            use(recipe(**wrong))
        told.append(str(refused.value))
    assert told[0] == told[1]
    assert sorted(home.rglob("*")) == before
    if "task" not in wrong:  # the corrected recipe works in the same folder
        run_recipe(recipe(compare=False, training={"steps": 2}))


def test_a_finished_recipe_is_read(home: Path) -> None:
    first = run_recipe(recipe(demonstrations=[]))
    events: list[str] = []
    again = run_recipe(recipe(demonstrations=[]), observer=lambda e: events.append(e["event"]))
    assert events == ["finished"]
    assert again.run.test is not None and first.run.test is not None
    assert again.run.test.to_dict() == first.run.test.to_dict()
    assert again.proof is not None and first.proof is not None
    assert again.proof.rows == first.proof.rows and again.proof.notes == first.proof.notes
    alone = run_recipe(recipe(compare=False))
    assert alone.proof is None


def test_names(home: Path) -> None:
    assert load_backbone("backbone", dtype="fp32").name == "backbone"
    assert data_source("reviews.csv") == "reviews.csv"
    with pytest.raises(BackboneError, match="did you mean smollm2-135m-instruct"):
        load_backbone("SmolLM2-135M-Instrct")
    with pytest.raises(BackboneError, match="lists the names"):
        load_backbone("../elsewhere")


def test_resuming_elsewhere_says_where_the_data_is(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run_recipe(recipe(training={"steps": 1, "batch_rows": 4}, compare=False))
    assert done.run.folder is not None
    folder = done.run.folder.absolute()
    (home / "else where").mkdir()
    monkeypatch.chdir(home / "else where")
    with pytest.raises(TrainingError, match="path is relative to another") as caught:
        resume(folder)
    assert caught.value.hint == f"cd {home}"
    shutil.move(folder, home / "else where" / "moved")
    (home / "reviews.csv").rename(home / "kept.csv")
    with pytest.raises(TrainingError, match="path is relative to another") as caught:
        resume("moved")
    assert caught.value.expected == "the working directory in which the run was started"
    with pytest.raises(TrainingError, match="no such folder"):
        resume(home / "nothing")


@pytest.mark.parametrize(
    ("training", "budget"), [(None, "2m"), ({"seed": 3}, "2m"), ({"steps": 21}, "21 steps")]
)
def test_a_race_has_one_budget_however_often_its_recipe_is_read(
    training: dict[str, int] | None, budget: str
) -> None:
    given = {"data": {"path": "x.csv"}}
    recipe = Recipe.parse(given | ({} if training is None else {"training": training}))
    assert recipe.method == {"name": "auto", "prompt": None}
    again = Recipe.parse(recipe.model_dump(mode="json"))
    assert recipe.training.budget == again.training.budget == budget
    assert again == recipe
