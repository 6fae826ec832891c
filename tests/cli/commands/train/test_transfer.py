"""`cuecard transfer` on a tiny backbone: from runs, a multitask run and a registry to a run."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from cuecard.artifacts import Prompt, SharedPrompt
from cuecard.errors import Interrupted
from cuecard.registry import Registry
from cuecard.runs.recipe import Recipe, run_recipe
from cuecard.runs.transfer_recipe import TransferRecipe, run_transfer
from cuecard.saved_prompts import prompt_library
from cuecard.training import read_log
from support.command_line import Call, save_rows, save_tiny
from support.data.reviews import reviews
from support.tiny import tiny_backbone

WORDS = {"negative": "bad", "positive": "good"}
TEMPLATE = r"So: {text}\nIt is:"


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows that the new task has not."""
    rows = [{"review": r.fields["text"], "label": str(r.target)} for r in reviews(60, seed=9)]
    return save_rows(tmp_path_factory.mktemp("other") / "other.csv", rows)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, backbone: Path, other: Path) -> Path:
    """A run of another task, one of another backbone, and a multitask run's shared prompt."""
    folder = tmp_path_factory.mktemp("library")
    foreign = save_tiny(tmp_path_factory.mktemp("models") / "gpt2", kind="gpt2")
    for name, model in (("apart", backbone), ("foreign", foreign)):
        recipe = {
            "data": {"path": str(other), "text_field": "review"},
            "task": {"template": "Review: {text}\nSentiment:", "words": WORDS},
            "backbone": str(model),
            "method": {"length": 4, "init": "vocabulary"},
            "training": {"steps": 3},
            "compare": False,
            "out": str(folder / name),
        }
        run_recipe(Recipe.parse(recipe))
    vectors = Prompt.load(folder / "apart" / "prompt").vectors
    made = SharedPrompt.create(
        vectors,
        vectors.new_ones(2, len(vectors)),
        vectors.new_ones(2, vectors.shape[1]),
        tasks=["one", "two"],
        backbone=tiny_backbone(),
        slot="prefix",
        seed=0,
    )
    made.save(folder / "sources" / "shared")
    return folder


@pytest.fixture
def words(backbone: Path, data: Path) -> list[str]:
    return [
        *("transfer", str(data), "--text-field", "review", "--template", TEMPLATE),
        *("--word", "negative=bad", "--word", "positive=good", "--backbone", str(backbone)),
        *("--length", "4", "--init", "random", "--steps", "4", "--search-steps", "2"),
        "--no-compare",
    ]


def test_from_a_library_to_a_run(
    cuecard: Call, words: list[str], library: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new"
    done = cuecard(*words, "--from", library, "--out", out)
    assert done.code == 0, done.err
    assert "Library: 2 prompts (1 left out)" in done.out
    assert f"left out: {library / 'foreign'}: " in done.out
    report = json.loads((out / "transfer.json").read_text())
    trained = {start["name"] for start in report["starts"] if start["loss"] is not None}
    assert trained == {"none", str(library / "apart"), str(library / "sources")}
    assert report["verdict"] in done.out.replace("\n", " ")
    assert f"cuecard predict {out / 'best'}" in done.out
    chosen = Recipe.read(out / "best" / "recipe.yaml")
    wanted = {"none": None, str(library / "apart"): str(library / "apart" / "prompt")}
    assert chosen.method["prompt"] == wanted.get(
        report["chosen"], str(library / "sources" / "shared")
    )
    events = [event["event"] for event in read_log(out / "best")]
    assert events[0] == "transfer" and events.count("test") == 1
    assert "good" in cuecard("predict", out / "best", "good nice", "--json").out
    # The same run as without a transfer: the search leaves nothing in it but what it took.
    plain = chosen.model_copy(update={"out": str(tmp_path / "plain")})
    again = run_recipe(plain).run.prompt
    assert again.digest == Prompt.load(out / "best" / "prompt").digest
    before = (out / "best" / "log.jsonl").read_bytes()
    resumed = cuecard("transfer", "--resume", out, "--json")
    assert resumed.code == 0, resumed.err
    last = json.loads(resumed.out.splitlines()[-1])
    assert last["digest"] == again.digest and last["transfer"]["chosen"] == report["chosen"]
    assert (out / "best" / "log.jsonl").read_bytes() == before


def test_saved_prompts_are_mixed(
    cuecard: Call, words: list[str], library: Path, tmp_path: Path
) -> None:
    """Two of a length are; what the transfer would train from them is a run like any other."""
    for name in ("one", "two"):
        shutil.copytree(library / "apart", tmp_path / "library" / name)
    done = cuecard(*words, "--from", tmp_path / "library", "--out", tmp_path / "new", "--json")
    assert done.code == 0, done.err
    starts = json.loads(done.out.splitlines()[-1])["transfer"]["starts"]
    assert starts[-1]["loss"] is not None and "attempt" in {one["name"] for one in starts}
    plan = TransferRecipe.read(tmp_path / "new" / "transfer.yaml")
    recipe = plan.mixing([*plan.library]).model_copy(update={"out": str(tmp_path / "mixed")})
    assert recipe.method["sources"] == list(plan.library.values())
    prompt = run_recipe(recipe).run.prompt
    assert prompt.manifest.method == "attempt" and prompt.tensors["mix.sources"].shape[0] == 2
    assert Recipe.read(tmp_path / "mixed" / "recipe.yaml") == recipe
    assert "good" in cuecard("predict", tmp_path / "mixed", "good nice", "--json").out
    shown = cuecard("inspect", tmp_path / "mixed")
    assert "4 vectors of 32, and a mix of 2 source prompts by input" in shown.out, shown.err
    refused = cuecard("export", tmp_path / "mixed", tmp_path / "peft", "--form", "peft")
    assert refused.code == 2 and "PEFT has no format for this prompt" in refused.err
    given = ("train", *words[1:6], *words[6:-3])
    start = [word for word in given if word not in ("--init", "random")]
    refused = cuecard(*start, "--init-prompt", tmp_path / "mixed", "--out", tmp_path / "other")
    assert refused.code == 2 and "a mix of prompts is no start" in refused.err, refused.err
    given = (*given, "--method", "attempt")
    refused = cuecard(*given)
    assert refused.code == 2 and "no source prompts to mix" in refused.err
    refused = cuecard(*given, "--set", "method.sources=[4]")
    assert refused.code == 2 and "the source prompts are not folders" in refused.err


def test_a_stopped_run_says_to_resume_the_transfer(
    backbone: Path, data: Path, library: Path, tmp_path: Path
) -> None:
    """Stopped in the run from the chosen start, which has a folder of its own."""
    recipe = {
        "data": {"path": str(data), "text_field": "review"},
        "task": {"template": "So: {text}\nIt is:", "words": WORDS},
        "backbone": str(backbone),
        "method": {"length": 4, "init": "random"},
        "training": {"steps": 4},
        "out": str(tmp_path / "new"),
    }
    places = prompt_library([library / "apart"])
    values = {"recipe": recipe, "library": places, "search": {"search_steps": 2}}

    def stop(event: dict[str, Any]) -> None:
        if event["event"] == "step":
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="after step 1 of 4") as stopped:
        run_transfer(TransferRecipe.parse(values), observer=stop)
    assert str(stopped.value.hint).endswith(f"cuecard transfer --resume {tmp_path / 'new'}")


def test_a_registry_is_a_library(
    cuecard: Call, words: list[str], library: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("CUECARD_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "prompts"
    pushed = cuecard("push", library / "apart", "apart", "--registry", place)
    assert pushed.code == 0, pushed.err
    done = cuecard(*words, "--from", place, "--out", tmp_path / "new", "--json")
    assert done.code == 0, done.err
    last = json.loads(done.out.splitlines()[-1])
    assert [start["name"] for start in last["transfer"]["starts"]] == ["none", "apart@1"]
    held = TransferRecipe.read(tmp_path / "new" / "transfer.yaml").library
    assert Path(held["apart@1"]).is_relative_to(tmp_path / "cache")
    assert Registry(place).names() == ["apart"]


def test_prompts_that_know_the_rows_are_left_out(
    cuecard: Call, words: list[str], run: Path, tmp_path: Path
) -> None:
    """The run was trained on the same file, split another way."""
    split = ("--split-seed", "1", "--from", run)
    done = cuecard(*words, *split, "--out", tmp_path / "new", "--json")
    assert done.code == 0, done.err
    last = json.loads(done.out.splitlines()[-1])
    reason = last["transfer"]["left_out"][str(run)]
    assert last["transfer"]["chosen"] == "none"
    assert reason.startswith("it was trained or selected on ") and reason.endswith(" test rows")
    assert last["verdict"] == (
        "Nothing in the library can be started from: the usual start is taken."
    )


def test_refusals(cuecard: Call, words: list[str], library: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "new")
    done = cuecard(*words, *out)
    assert done.code == 2 and "no library of prompts" in done.err
    done = cuecard(*words, *out, "--from", tmp_path / "nowhere")
    assert done.code == 2 and "no such folder" in done.err
    done = cuecard(*words, *out, "--from", tmp_path)
    assert done.code == 2 and "no prompts to start from" in done.err
    given = [word for word in words if word not in ("--init", "random")]
    done = cuecard(*given, *out, "--from", library, "--init-prompt", library / "apart")
    assert done.code == 2 and "finds the prompt to start from itself" in done.err
    assert not (tmp_path / "new").exists()
    done = cuecard("transfer", "--resume", library / "apart", "--from", library)
    assert done.code == 2 and "--from" in done.err


def test_a_library_is_searched_all_the_way_down(library: Path, tmp_path: Path) -> None:
    shutil.copytree(library / "apart", tmp_path / "deep" / "apart")
    shutil.copytree(library / "apart", tmp_path / "own" / "best")
    found = prompt_library([tmp_path], but=tmp_path / "own")
    assert found == {str(tmp_path / "deep/apart"): str(tmp_path / "deep/apart/prompt")}
    assert set(prompt_library([library])) == {
        str(library / name) for name in ("apart", "foreign", "sources")
    }
