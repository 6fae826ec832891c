"""`cuecard sweep --shard` and `--collect`: several processes' trials as one sweep."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from cuecard.artifacts import Prompt
from cuecard.training import read_log
from support.command_line import Call, save_rows, save_tiny

GRID = ("--grid", "lr=0.01,0.3", "--grid", "length=2,3,5")


@pytest.fixture
def words(backbone: Path, data: Path) -> list[str]:
    """A sweep of six trials in which each pass has one alone: nothing depends on the company."""
    return [
        *(
            "sweep",
            str(data),
            "--text-field",
            "review",
            "--template",
            r"Review: {text}\nSentiment:",
        ),
        *("--word", "negative=bad", "--word", "positive=good", "--backbone", str(backbone)),
        *("--init", "random", "--steps", "4", "--batch-rows", "8", "--no-compare", *GRID),
    ]


def trials(folder: Path) -> list[dict[str, Any]]:
    """What came of each, without the clocks."""
    found = json.loads((folder / "sweep.json").read_text())["trials"]
    return [{k: v for k, v in t.items() if not k.endswith("seconds")} for t in found]


def train(cuecard: Call, words: list[str], place: Path, count: int = 4) -> list[Path]:
    """All shards, each in a folder of its own."""
    folders = [place / f"s-{index}-of-{count}" for index in range(count)]
    for index, folder in enumerate(folders):
        done = cuecard(*words, "--shard", f"{index}/{count}", "--out", folder)
        assert done.code == 0, done.err
    return folders


def test_shards_are_the_sweep_of_one_process(
    cuecard: Call, words: list[str], tmp_path: Path
) -> None:
    words += ["--together", "1"]
    whole, joined = tmp_path / "whole", tmp_path / "joined"
    assert cuecard(*words, "--out", whole).code == 0
    folders = train(cuecard, words, tmp_path)
    assert [[t["number"] for t in trials(f)] for f in folders] == [[0], [1], [2, 5], [3, 4]]
    # No shard has chosen or seen the test rows.
    assert not any((folder / "best").exists() for folder in folders)
    events = [e["event"] for f in folders for log in f.glob("trials/*") for e in read_log(log)]
    assert events.count("start") == 6 and "test" not in events
    done = cuecard("sweep", "--collect", *reversed(folders), "--out", joined)
    assert done.code == 0, done.err
    assert "chosen on validation rows" in done.out
    assert trials(joined) == trials(whole)
    digests = [Prompt.load(place / "best" / "prompt").digest for place in (joined, whole)]
    assert digests[0] == digests[1]
    assert "shard" not in yaml.safe_load((joined / "sweep.yaml").read_text())["sweep"]
    assert "accuracy" in cuecard("eval", joined / "best", words[1], "--text-field", "review").out


def test_the_test_rows_are_scored_once(cuecard: Call, words: list[str], tmp_path: Path) -> None:
    folders, joined = train(cuecard, words, tmp_path, 2), tmp_path / "joined"

    def events(*command: object) -> list[str]:
        done = cuecard(*command, "--json")
        assert done.code == 0, done.err
        return [json.loads(line)["event"] for line in done.out.splitlines()]

    collect = ("sweep", "--collect", *folders, "--out", joined)
    first = events(*collect)
    assert first.count("test") == 1 and "step" not in first
    for again in (collect, ("sweep", "--resume", joined)):
        assert not {"test", "step"} & {*events(*again)}


def test_passes_with_others_change_rounding_alone(
    cuecard: Call, words: list[str], tmp_path: Path
) -> None:
    whole, joined = tmp_path / "whole", tmp_path / "joined"
    words += ["--together", "3"]
    assert cuecard(*words, "--out", whole).code == 0
    cuecard("sweep", "--collect", *train(cuecard, words, tmp_path, 2), "--out", joined)
    pairs = [*zip(trials(joined), trials(whole), strict=True)]
    assert [one["settings"] for one, _ in pairs] == [other["settings"] for _, other in pairs]
    assert [one["loss"] for one, _ in pairs] == pytest.approx(
        [other["loss"] for _, other in pairs], rel=1e-4
    )


def test_a_shard_resumes_and_its_folder_is_named_after_it(
    cuecard: Call, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = cuecard(*words, "--shard", "1/2")
    assert done.code == 0, done.err
    folder = "runs/reviews-sweep-1-of-2"
    assert "Sweep: 3 trials" in done.out and "#5 lr 0.3, length 5:" in done.out
    assert "collect  cuecard sweep --collect runs/reviews-sweep-*-of-2" in done.out
    for again in (("sweep", "--resume", folder), (*words, "--shard", "1/2")):
        assert "resuming after 3 of 3 trials" in cuecard(*again).out
    assert cuecard(*words, "--shard", "0/2").code == 0
    both = [folder, "runs/reviews-sweep-0-of-2"]
    assert cuecard("sweep", "--collect", *both).code == 0
    assert (tmp_path / "runs" / "reviews-sweep" / "best" / "prompt").is_dir()


def test_what_is_missing_or_unfinished_is_named(
    cuecard: Call, words: list[str], tmp_path: Path
) -> None:
    folders, out = train(cuecard, words, tmp_path, 3), tmp_path / "joined"
    (folders[2] / "checkpoint.pt").unlink()
    done = cuecard("sweep", "--collect", folders[2], folders[0], "--out", out)
    assert done.code == 2
    assert "shard 1/3 is missing; shard 2/3 has finished 0 of 2 trials" in done.err
    assert f"cuecard sweep --resume {folders[2]}" in done.err
    done = cuecard("sweep", "--collect", folders[0], folders[1], "--out", out)
    assert "shard 2/3 is missing" in done.err and "--shard" in done.err
    again = Path(shutil.copytree(folders[0], tmp_path / "again"))
    done = cuecard("sweep", "--collect", folders[0], again, "--out", out)
    assert done.code == 2 and "a shard is given twice" in done.err and str(again) in done.err
    assert not out.exists()


def test_shards_of_different_sweeps_are_refused(
    cuecard: Call, words: list[str], tmp_path: Path, data: Path
) -> None:
    rows = [{"review": f"good {n}", "label": ("positive", "negative")[n % 2]} for n in range(80)]
    here, model, out = tmp_path / "d.csv", save_tiny(tmp_path / "model"), tmp_path / "joined"
    shutil.copyfile(data, here)
    words[1], words[words.index("--backbone") + 1] = str(here), str(model)

    def shard(name: str, *more: str) -> Path:
        assert cuecard(*words, *more, "--out", tmp_path / name).code == 0
        return tmp_path / name

    def refused(*folders: Path) -> str:
        done = cuecard("sweep", "--collect", *folders, "--out", out)
        assert done.code == 2 and not out.exists()
        return done.err

    first = shard("first", "--shard", "0/2")
    other = shard("other", "--shard", "1/2", "--batch-rows", "4")
    assert "recipe.training.batch_rows: 8 -> 4" in refused(first, other)
    assert "shards of 2 -> of 3" in refused(first, shard("third", "--shard", "1/3"))
    second = shard("second", "--shard", "1/2")
    save_tiny(model, seed=1)
    assert "the shards were trained with something else than what is here" in refused(first, second)
    backbone = shard("backbone", "--shard", "1/2")
    assert "another backbone" in refused(first, backbone)
    save_tiny(model)
    save_rows(here, rows)
    assert "another data" in refused(first, shard("data", "--shard", "1/2"))


def test_mistakes(cuecard: Call, words: list[str], tmp_path: Path) -> None:
    out = tmp_path / "s"
    for options, said in (
        (("--shard", "2/2"), "INDEX/COUNT"),
        (("--shard", "0/7"), "7 shards of 6 trials"),
        (("--shard", "0/2", "--prune"), "a shard knows nothing of the other shards' trials"),
        (("--shard", "0/2", "--trials", "5"), "a shard knows nothing of the other shards' trials"),
        (("--workers", "2"), "--on ray"),
        (("more.csv",), "more than one data set"),
    ):
        done = cuecard(*words, *options, "--out", out)
        assert done.code == 2 and said in done.err, (options, done.err)
        assert not out.exists()
    assert "nothing to collect" in cuecard("sweep", "--collect").err
    assert "no sweep to resume" in cuecard("sweep", "--collect", tmp_path / "none").err
    done = cuecard("sweep", "--collect", tmp_path, "--lr", "0.1", "--shard", "0/2")
    assert done.code == 2 and "--lr, --shard" in done.err
    assert "--collect" in cuecard("sweep", "--collect", "--resume", tmp_path).err
    assert cuecard(*words, "--out", out).code == 0
    assert "a whole sweep has no shards" in cuecard("sweep", "--collect", out).err


def test_another_sittings_results_are_not_replaced_unasked(
    cuecard: Call, words: list[str], tmp_path: Path
) -> None:
    folders, joined = train(cuecard, words, tmp_path, 2), tmp_path / "joined"
    words += ["--out", str(joined)]
    assert cuecard("sweep", "--collect", *folders, "--out", joined).code == 0
    first = Prompt.load(joined / "best" / "prompt").digest
    # The same shard again, but as if another machine had rounded otherwise.
    state = torch.load(folders[0] / "checkpoint.pt", weights_only=True)
    state["runs"][0]["best_score"] = (0.0, 0.0)
    torch.save(state, folders[0] / "checkpoint.pt")
    done = cuecard("sweep", "--collect", *folders, "--out", joined)
    assert done.code == 2 and "the same sweep with other results" in done.err
    assert Prompt.load(joined / "best" / "prompt").digest == first
    assert cuecard("sweep", "--collect", *folders, "--out", joined, "--overwrite").code == 0
    assert json.loads((joined / "sweep.json").read_text())["best"][0]["trial"] == 0
