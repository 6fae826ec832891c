"""`cuecard train --seeds` as a user types it, on a tiny backbone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cuecard.artifacts import Prompt
from support.command_line import Call

TEMPLATE = r"Review: {text}\nSentiment:"


@pytest.fixture
def words(backbone: Path, data: Path) -> list[str]:
    """What all the runs here have in common."""
    return [
        *("train", str(data), "--text-field", "review", "--template", TEMPLATE),
        *("--word", "negative=bad", "--word", "positive=good", "--backbone", str(backbone)),
        *("--length", "3", "--steps", "6", "--batch-rows", "8", "--lr", "0.05"),
    ]


def test_the_report_tells_how_seeds_differ(cuecard: Call, words: list[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = cuecard(
        *words, "--seeds", "2", "--seed", "3", "--set", "demonstrations=[]", "--out", out
    )
    assert done.code == 0, done.err
    assert "Training: 2 seeds, up to 2 in one pass" in done.out
    report = json.loads((out / "report.json").read_text())
    seeds = report["seeds"]
    assert seeds["seeds"] == [3, 4] and seeds["kept"] in (3, 4) and report["seed"] == seeds["kept"]
    assert seeds["scores"][seeds["kept"] - 3] == report["prompt"]["accuracy"]
    assert Prompt.load(out / "prompt").manifest.metrics["seeds"] == seeds
    written = (out / "report.md").read_text()
    for said in (
        "2 seeds, each tested once: accuracy",
        "95% interval over seeds and rows",
        "points; the interval of a single run,",
        "is over test rows alone and does not include that.",
        f"Kept: seed {seeds['kept']}, the best on validation rows.",
    ):
        assert said in done.out and said in written, said
    assert "| mean of 2 |" in written and written.count(" kept |") == 2  # heading and row
    assert "one seed" not in written
    shown = [line for line in done.out.splitlines() if line.endswith("kept")]
    assert len(shown) == 2 and shown[1].startswith(str(seeds["kept"]))
    assert f"cuecard predict {out}" in done.out
    assert "sd" in cuecard("inspect", out).out
    again = cuecard("train", "--resume", out)
    assert again.code == 0 and "nothing was trained or tested again" in again.out
    assert json.loads((out / "report.json").read_text()) == report
    other = cuecard(*words, "--seeds", "3", "--seed", "3", "--out", out)
    assert other.code == 2 and "seeds: 2 -> 3" in other.err


def test_json_has_the_seeds_numbers(cuecard: Call, words: list[str], tmp_path: Path) -> None:
    more = ("--seeds", "2", "--keep", "average", "--no-compare", "--out", tmp_path / "r", "--json")
    done = cuecard(*words, *more)
    assert done.code == 0, done.err
    events = [json.loads(line) for line in done.out.splitlines()]
    found = events[-1]["seeds"]
    assert found["seeds"] == [0, 1] and len(found["scores"]) == 2
    least = min(found["validation_losses"])
    assert (found["kept"] == "average") is (found["average"]["validation_loss"] <= least)
    assert [event["kept"] for event in events if event["event"] == "average"] == [
        found["kept"] == "average"
    ]
    assert "sd" in (tmp_path / "r" / "report.md").read_text()


def test_one_seed_says_that_it_was_one(cuecard: Call, words: list[str], tmp_path: Path) -> None:
    done = cuecard(*words, "--no-compare", "--out", tmp_path / "one")
    assert done.code == 0, done.err
    report = (tmp_path / "one" / "report.md").read_text()
    assert "one seed, 0: others were not tested." in report
    assert "seeds" not in json.loads((tmp_path / "one" / "report.json").read_text())


def test_a_dry_run_counts_the_tokens_of_all_seeds(
    cuecard: Call, words: list[str], tmp_path: Path
) -> None:
    plans = [
        cuecard(*words, "--seeds", count, "--dry-run", "--json", "--out", tmp_path / "dry").json
        for count in (1, 3)
    ]
    assert plans[1]["tokens"] == pytest.approx(3 * plans[0]["tokens"])
    assert plans[0]["tokens"] == pytest.approx(6 * plans[0]["tokens_per_step"])
    said = cuecard(*words, "--seeds", 3, "--dry-run", "--out", tmp_path / "dry").out
    assert "3: 0 to 2, each tested once;" in said and f"{plans[1]['tokens']:,.0f} tokens" in said
    assert not (tmp_path / "dry").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--seeds", "0"), ("--seeds", "1 or more")),
        (("--seeds", "-2"), ("--seeds",)),
        (("--seeds", "two"), ("--seeds",)),
        (("--keep", "average"), ("one seed has no average", "--keep")),
        (("--keep", "last", "--seeds", "2"), ("--keep",)),
        (("--seeds", "2", "--lr", "auto"), ("one learning rate", "--lr")),
        (
            ("--seeds", "2", "--keep", "average", "--init", "random"),
            ("start apart", "keep", "an init that draws nothing"),
        ),
    ],
)
def test_a_mistake_is_refused(
    cuecard: Call, words: list[str], tmp_path: Path, more: tuple[str, ...], said: tuple[str, ...]
) -> None:
    for dry in ((), ("--dry-run",)):
        done = cuecard(*words, *more, *dry, "--out", tmp_path / "run")
        assert done.code == 2, done.out
        for word in said:
            assert word in done.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "command", [("sweep", "--grid", "seed=0,1"), ("sweep", "--grid", "lr=0.1,0.2"), ("lora",)]
)
def test_other_commands_train_with_one_seed(
    cuecard: Call, words: list[str], tmp_path: Path, command: tuple[str, ...]
) -> None:
    name, *own = command
    given = [word for word in words[1:] if not (name == "lora" and word in ("--length", "3"))]
    by_key = cuecard(name, *given, *own, "--set", "seeds=2", "--out", tmp_path / "run")
    assert by_key.code == 2 and "trains with one seed" in by_key.err
    by_flag = cuecard(name, *given, *own, "--seeds", "2", "--out", tmp_path / "run")
    assert by_flag.code == 2 and "--seeds" in by_flag.err
    assert not (tmp_path / "run").exists()


def test_shots_train_the_protocols_draws(cuecard: Call, words: list[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    few = [*words, "--shots", "4", "--no-compare", "--out", str(out)]
    done = cuecard(*few, "--seeds", "2", "--json")
    assert done.code == 0, done.err
    seeds = json.loads(done.out.splitlines()[-1])["seeds"]
    assert seeds["seeds"] == [13, 21] and seeds["shots"] == 4
    assert "sd" in seeds and "accuracy" in seeds["ci95"]
    saved = Prompt.load(out / "prompt").manifest
    assert saved.seed in (13, 21) and saved.rows is not None
    again = cuecard("train", "--resume", out)
    assert again.code == 0, again.err
    assert "Note: 4 training rows of each label and 4 others to validate, drawn" in again.out
    assert "on 8 validation rows two prompts that differ by less than 6" in again.out
    planned = cuecard(*few, "--seeds", "2", "--out", tmp_path / "other", "--dry-run")
    assert planned.code == 0 and "2: 13, 21, each with rows of its own tested once" in planned.out
    for more, said in (
        (("--limit", "9"), "the number of training rows is given twice"),
        (("--kind", "regression"), "one label each"),
    ):
        refused = cuecard(*few, *more, "--out", tmp_path / "other")
        assert refused.code == 2 and said in refused.err, refused.err
