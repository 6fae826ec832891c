"""`cuecard bench vtab` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cuecard.runs.vtab_recipe import name_of
from support.command_line import Call
from support.tiny_vision import save_pictures, save_vision

FEW = (
    *("--backbone", "vit", "--length", 2, "--grid", "lr=2,0.5", "--grid", "weight_decay=0"),
    *("--epochs", 1, "--batch-rows", 16, "--examples", 30, "--test-rows", 6, "--seeds", "42,44"),
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    save_vision(folder / "vit")
    for name, seed in (("old", 1), ("new", 2)):
        save_pictures(folder / name, 80, seed)
    return folder


def test_from_folders_to_both_means(
    home: Path, cuecard: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    groups = ("--group", "old=then", "--group", "new=now")
    done = cuecard("bench", "vtab", "old", "new", *groups, *FEW, "--out", "run")
    assert done.code == 0, done.err
    assert "mean over groups" in done.out and "6 of 7" in done.out
    assert "2 settings tried on 24, then trained on all with 2 seeds" in done.out
    report = json.loads((home / "run" / "vtab.json").read_text())
    assert [task["name"] for task in report["tasks"]] == ["old", "new"]
    assert [task["group"] for task in report["tasks"]] == ["then", "now"]
    assert report["mean_over_tasks"] == report["mean_over_groups"]
    assert report["settings"]["method"]["name"] == "deep-prompts"
    assert report["settings"]["protocol"]["grid"] == {"lr": [2, 0.5], "weight_decay": [0]}
    assert all(len(task["trials"]) == len(task["scores"]) == 2 for task in report["tasks"])
    prompts = list(home.glob("run/retrain/*/trials/*/prompt/prompt.json"))
    assert len(prompts) == 4

    again = cuecard("bench", "vtab", "--resume", "run", "--json")
    assert again.code == 0, again.err
    events = [json.loads(line) for line in again.out.splitlines()]
    assert "step" not in {event["event"] for event in events}
    assert [task["scores"] for task in events[-1]["tasks"]] == [
        task["scores"] for task in report["tasks"]
    ]
    other = cuecard("bench", "vtab", "old", "new", *FEW, "--epochs", 2, "--out", "run")
    assert other.code == 2 and "other settings" in other.err
    wider = cuecard("bench", "vtab", "old", "new", *groups, *FEW, "--together", 1, "--out", "run")
    assert wider.code == 2 and "protocol.together" in wider.err
    assert cuecard("train", "--resume", "run").code == 2
    fewer = ("old", *FEW, "--seeds", 42, "--out", "run", "--overwrite")
    begun = cuecard("bench", "vtab", *fewer)
    assert begun.code == 0, begun.err
    assert len(list(home.glob("run/retrain/*/trials/*/prompt/prompt.json"))) == 1


def test_a_folder_by_its_place_has_its_own_name(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home / "old")
    for path in (".", "..", "../old/.", "../new/..", str(home), "../old"):
        assert name_of(path) == Path(path).resolve().name
    assert name_of("nobody/cats") == "nobody-cats"
    (home / "link").symlink_to("old")
    assert name_of("../link") == "link"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "there is no data"),
        (("old", "./old"), "two data sets have one name"),
        (("old", "old/../old/."), "two data sets have one name"),
        (("/",), "no name that a folder can have"),
        (("old", "--seeds", "42,42"), "42 once"),
        (("old", "--group", "odl=then"), "there is no such data set"),
        (("old", "--backbone", "vit", "--test-rows", 3), "too few rows for the protocol"),
        (("old", "--grid", "lr=-1"), "must be a positive number"),
        (("old", *FEW, "--grid", "lrr=1"), "an unknown setting"),
        (("old", "--method", "deep-promts"), "deep-prompts"),
        (("--resume", "old"), "no protocol run to resume"),
    ],
)
def test_what_is_refused(
    home: Path,
    cuecard: Call,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[object, ...],
    told: str,
) -> None:
    monkeypatch.chdir(home)
    done = cuecard("bench", "vtab", *words, *(() if "--resume" in words else ("--out", "bad")))
    assert done.code == 2 and told in done.err
    assert not (home / "bad").exists()
