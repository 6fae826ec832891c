"""`cuecard train --method auto`: from a file to a prompt, and mistakes."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from cuecard.artifacts import Prompt
from cuecard.cli.commands.train.demo import DemoTask
from cuecard.cli.commands.train.demo_tasks import demo_of
from support.command_line import Call

WORDS = ("--text-field", "review", "--template", r"Review: {text}\nSentiment:")


def test_a_race_is_told_and_its_prompt_answers(
    cuecard: Call, backbone: Path, data: Path, tmp_path: Path
) -> None:
    own = ("--backbone", str(backbone), "--out", str(tmp_path / "run"))
    plan = cuecard("train", str(data), *WORDS, *own, "--budget", "108 steps", "--dry-run")
    assert plan.code == 0 and not (tmp_path / "run").exists()
    assert "the method is chosen within 108 steps" in " ".join(plan.out.split())
    done = cuecard("train", str(data), *WORDS, *own, "--budget", "108 steps", "--no-compare")
    assert done.code == 0, done.err
    assert "Racing 2 contestants for 18 steps each (108 steps in all; --budget sets it)" in done.out
    assert "Chosen: " in done.out
    again = cuecard("train", "--resume", str(tmp_path / "run"))
    assert again.code == 0 and "nothing was trained or tested again" in again.out
    words = (*WORDS, "--backbone", str(backbone), "--out", str(tmp_path / "next"))
    start = ("--init-prompt", str(tmp_path / "run"), "--steps", "1", "--no-compare")
    refused = cuecard("train", str(data), *words, *start)
    assert refused.code == 2 and "prompt-tuning does not start from keys and values" in refused.err
    advised = refused.err.partition("hint: ")[2].split()
    assert advised == ["--method", "p-tuning-v2", "--slot", "infix"]
    assert cuecard("train", str(data), *words, *start, *advised).code == 0
    sweep = ("--recipe", str(tmp_path / "run" / "recipe.yaml"), "--grid", "seed=0", "--no-compare")
    named = ("--method", "prompt-tuning", "--set", "training.steps=1")
    assert cuecard("sweep", *sweep, *named, "--out", str(tmp_path / "sweep")).code == 0
    answer = cuecard("predict", str(tmp_path / "run"), "a warm film", "--json")
    assert answer.code == 0 and {"negative", "positive"} & {*re.findall(r"\w+", answer.out)}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--method", "auto", "--budget", "soon"), ("not a budget", "soon", "2m")),
        (("--method", "auto", "--length", "4"), ("chooses the method's settings", "length")),
        (("--method", "auto", "--init-prompt", "x"), ("chooses the method's settings", "prompt")),
        (("--method", "auto", "--lr", "0.1"), ("chooses the learning rate", "--lr", "0.1")),
        (
            ("--method", "auto", "--seeds", "2", "--lr", "auto"),
            ("chooses the learning rate", "--lr"),
        ),
        (
            ("--method", "auto", "--budget", "9s", "--steps", "7"),
            ("not both", "--steps", "7 steps", "9s"),
        ),
        (("--budget", "9s", "--length", "4"), ("chooses the method's settings", "--length")),
        (("--budget", "9s", "--lr", "0.1"), ("chooses the learning rate", "--lr")),
        (
            ("--method", "residual", "--budget", "9s"),
            ("only the method auto takes a budget", "--budget", "--method auto"),
        ),
        (
            ("--method", "residual", "--set", "training.budget=8 steps"),
            ("only the method auto takes a budget", "8 steps"),
        ),
        (("--method", "autos"), ("unknown method", "autos", "did you mean auto?")),
        (("--method", "AUTO"), ("unknown method", "residual, wayward, auto", "did you mean auto?")),
    ],
)
def test_mistakes(
    cuecard: Call, data: Path, words: tuple[str, ...], said: tuple[str, ...], tmp_path: Path
) -> None:
    done = cuecard("train", str(data), *WORDS, *words, "--out", str(tmp_path / "run"))
    assert done.code == 2 and not (tmp_path / "run").exists()
    for word in said:
        assert word in done.err


def test_steps_are_a_budget_and_a_run_resumes_with_it(
    cuecard: Call, backbone: Path, data: Path, tmp_path: Path
) -> None:
    own = ("--backbone", str(backbone), "--method", "auto", "--out", str(tmp_path / "run"))
    done = cuecard("train", str(data), *WORDS, *own, "--steps", "11", "--no-compare")
    assert done.code == 0, done.err
    assert "A budget of 11 steps has no room for a race" in done.out
    again = cuecard("train", "--resume", str(tmp_path / "run"))
    assert again.code == 0 and "nothing was trained or tested again" in again.out


def test_a_dry_run_counts_the_steps_of_the_budget(
    cuecard: Call, backbone: Path, data: Path
) -> None:
    own = ("--backbone", str(backbone), "--method", "auto", "--budget", "13 steps")
    assert cuecard("train", str(data), *WORDS, *own, "--dry-run", "--json").json["steps"] == 13


@pytest.mark.parametrize("command", ["sweep", "lora"])
def test_only_train_offers_a_budget(cuecard: Call, command: str) -> None:
    for asked, offered in (("train", True), (command, False)):
        told = cuecard(asked, "--help").out
        assert ("--budget" in told) is offered
    done = cuecard(command, "x.csv", "--budget", "9s")
    assert done.code == 2 and "no such option" in done.err


def test_a_sweep_takes_methods_by_name(cuecard: Call, data: Path, backbone: Path) -> None:
    own = ("--backbone", str(backbone), "--method", "auto", "--grid", "lr=0.1,0.2")
    done = cuecard("sweep", str(data), *WORDS, *own)
    assert done.code == 2 and "only `cuecard train` chooses the method itself" in done.err


@pytest.mark.parametrize(
    ("words", "method", "budget"),
    [
        ((), "auto", "2m"),
        (("--steps", "300"), "auto", "300 steps"),
        (("--batch-rows", "4", "--head-lr", "0.1", "--optimizer", "adamw"), "auto", "2m"),
        (("--length", "4"), "prompt-tuning", None),
        (("--init", "random"), "prompt-tuning", None),
        (("--init-text", "Good or bad?"), "prompt-tuning", None),
        (("--slot", "suffix"), "prompt-tuning", None),
        (("--lr", "0.1"), "prompt-tuning", None),
        (("--lr", "auto"), "prompt-tuning", None),
        (("--optimizer", "adafactor"), "prompt-tuning", None),
        (("--seeds", "2"), "auto", "2m"),
        (("--method", "p-tuning-v2"), "p-tuning-v2", None),
    ],
)
def test_what_is_trained_where_no_method_is_named(
    cuecard: Call,
    backbone: Path,
    data: Path,
    words: tuple[str, ...],
    method: str,
    budget: str | None,
) -> None:
    own = ("--backbone", str(backbone), "--dry-run", "--json", *words)
    recipe = cuecard("train", str(data), *WORDS, *own).json["recipe"]
    assert (recipe["method"]["name"], recipe["training"].get("budget")) == (method, budget)


def test_a_run_of_before_is_kept_and_resumes(cuecard: Call, run: Path, data: Path) -> None:
    own = ("--text-field", "review", "--out", str(run))  # by default that was prompt tuning
    again = cuecard("train", str(data), *own)
    assert again.code == 2 and "method.name: 'prompt-tuning' -> 'auto'" in again.err
    assert f"resume that run with cuecard train --resume {run}" in again.err
    done = cuecard("train", "--resume", str(run))
    assert done.code == 0 and "nothing was trained or tested again" in done.out


@pytest.mark.parametrize(
    ("task", "method"), [("reviews", "p-tuning-v2"), ("headlines", "prompt-tuning")]
)
def test_the_demos_name_their_method(task: DemoTask, method: str) -> None:
    recipe = demo_of(task, None, 0, quick=True).recipe
    assert recipe.method["name"] == method and recipe.training.budget is None


def test_help_says_what_is_trained_by_default(cuecard: Call) -> None:
    told = " ".join(cuecard("train", "--help").out.split())
    assert "[default: auto; prompt-tuning with --shots, --length, --init," in told
    assert "[default: --steps if given, else 2m]" in told


@pytest.mark.parametrize("command", [("sweep", "--grid", "seed=0,1"), ("lora", "--rank", "2")])
def test_other_commands_take_what_is_not_named_as_before(
    cuecard: Call, backbone: Path, data: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    name, *own = command
    out, steps = tmp_path / "run", ("--steps", "1", "--no-compare")
    more = ("--backbone", str(backbone), *own, *steps, "--out", str(out))
    done = cuecard(name, str(data), *WORDS, *more)
    assert done.code == 0, done.err
    written = yaml.safe_load((out / f"{name}.yaml").read_text())
    assert written["recipe"]["method"]["name"] == "prompt-tuning"
    assert "budget" not in written["recipe"]["training"]


def test_what_may_do_better_is_told_with_a_command_that_works(
    cuecard: Call, backbone: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a run"
    own = ("--backbone", str(backbone), "--set", "demonstrations=[]", "--out", str(out))
    done = cuecard("train", str(data), *WORDS, *own, "--budget", "3 steps", "--head", "none")
    (note,) = (line for line in done.out.splitlines() if line.startswith("Not clearly better than"))
    assert "TF-IDF or its own start: a larger --budget, more rows, a head instead of" in note
    assert "(`--head trained`) or a LoRA adapter may help" in note
    assert note in json.loads((out / "report.json").read_text())["table"]["notes"]
    assert "Not clearly better than" in (out / "report.md").read_text()
    words = shlex.split(note.rpartition("(`")[2].partition("`")[0])
    assert words[:2] == ["cuecard", "lora"]
    adapted = cuecard(*words[1:], "--steps", "1", "--no-compare")
    assert adapted.code == 0, adapted.err
    assert (tmp_path / "a run-lora" / "adapter").is_dir()
    named = cuecard("train", str(data), *WORDS, *own, "--lr", "0.3", "--steps", "1", "--overwrite")
    assert "a race of methods (`--method auto --budget`), more rows, a head" in named.out
    assert f"--lr 0.0005 --out '{out}-lora'" in named.out
    quantized = ("--quantize", "int8", "--overwrite")
    other = cuecard("train", str(data), *WORDS, *own, "--budget", "2 steps", *quantized)
    assert "a larger --budget or more rows may help." in other.out


def test_several_seeds_of_what_won_a_race(
    cuecard: Call, backbone: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    words = ("--backbone", str(backbone), "--seeds", "2", "--budget", "97 steps", "--out", str(out))
    plan = cuecard("train", str(data), *WORDS, *words, "--dry-run", "--json").json
    assert plan["steps"] == 97 // 2 and not out.exists()
    done = cuecard("train", str(data), *WORDS, *words, "--no-compare")
    assert done.code == 0, done.err
    told = ["Racing 2 contestants for 16 steps each", "Chosen: ", "Training: 2 seeds", "mean of 2"]
    assert sorted(told, key=done.out.index) == told
    again = cuecard("train", "--resume", str(out))
    assert again.code == 0 and "nothing was trained or tested again" in again.out
    cuecard("train", str(data), *WORDS, *words, "--no-compare", "--overwrite", "--seed", "5")
    assert Prompt.load(out / "prompt").manifest.metrics["seeds"]["seeds"] == [5, 6]
