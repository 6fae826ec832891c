"""`cuecard train --allow lora`: an adapter or a prompt, told, asked and resumed alike."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cuecard.methods import PromptTuning
from cuecard.saved_prompts import find_prompt
from cuecard.training import read_log
from cuecard.training.race import contestants
from cuecard.training.race.contestants import Candidate
from support.command_line import Call, save_rows
from support.data.reviews import reviews
from support.peft_adapters import save_kind

WORDS = ("--text-field", "review", "--template", r"Review: {text}\nSentiment:")
WORDS += ("--word", "negative=bad", "--word", "positive=good", "--allow", "lora")
SPLIT = ("--set", "data.split=[0.6, 0.2, 0.2]")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [{"review": r.fields["text"], "label": str(r.target)} for r in reviews(120)]
    return save_rows(tmp_path_factory.mktemp("rows") / "reviews.csv", rows)


def idle(spec: Any, **asked: Any) -> tuple[Candidate, ...]:
    """Two that hardly learn, whatever they are given."""
    return tuple(Candidate(f"idle {n}", PromptTuning(length=2), faster=1e-4 * n) for n in (1, 2))


def test_an_adapter_is_kept_and_asked(
    cuecard: Call, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contestants, "contestants", idle)
    model, run = save_kind(tmp_path / "model", "t5-gated"), tmp_path / "run"
    words = (str(rows), *WORDS, *SPLIT, "--backbone", str(model), "--out", str(run))
    done = cuecard("train", *words, "--budget", "120 steps")
    assert done.code == 0, done.err
    said = " ".join(done.out.split())
    assert said.count("clearly better, and taken") == 2  # as it is found, and at the end
    assert f"adapter {run}/adapter" in said and not (run / "report.json").exists()
    assert yaml.safe_load((run / "recipe.yaml").read_text())["allow"] == ["lora"]
    again = cuecard("train", "--resume", str(run), "--json")
    result = yaml.safe_load(again.out.splitlines()[-1])
    assert again.code == 0 and result["lora"]["taken"] and result["test"]["rows"] > 0
    assert result["adapter"] == find_prompt(run).prompt.manifest.backbone.fingerprint.adapter
    assert find_prompt(run).adapter == run / "adapter"
    tested = cuecard("eval", str(run), str(rows), "--json")
    assert tested.code == 0 and tested.json["metrics"]["accuracy"] > 0.6, tested.err
    answer = cuecard("predict", str(run), "a warm film")
    assert answer.code == 0, answer.err
    other = cuecard("train", *words, "--budget", "130 steps")
    assert other.code == 2 and "with other settings" in other.err


def test_a_prompt_is_kept_and_the_report_says_how_lora_did(
    backbone: Path, rows: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = (*WORDS, "--backbone", str(backbone), "--budget", "120 steps", "--out", str(run))
    done = subprocess.run(
        [sys.executable, "-m", "cuecard", "train", str(rows), *words, "--no-compare"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (told,) = (e for e in read_log(run) if e["event"] == "lora")
    assert not told["taken"] and not (run / "adapter").exists()
    note = "LoRA r8 after 20 steps: accuracy"
    assert note in (run / "report.md").read_text() and done.stdout.count(note) == 2
    assert "a LoRA adapter may help" not in (run / "report.md").read_text()
    assert find_prompt(run).adapter is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--method", "prompt-tuning"), ("a method by its name", "prompt-tuning", "--allow")),
        (("--lr", "0.1"), ("a method by its name", "prompt-tuning")),
        (("--seeds", "2"), ("several seeds", "--allow")),
        (("--quantize", "int8"), ("quantised weights", "int8")),
        (("--adapter", "there"), ("an adapter that is there already", "there")),
        (("--allow", "dora"), ("dora", "lora")),
        (
            ("--template", r"Review: {text}\n{prompt}Sentiment:"),
            ("place for a prompt", "{prompt}", "--allow"),
        ),
    ],
)
def test_mistakes(
    cuecard: Call, backbone: Path, data: Path, words: tuple[str, ...], said: tuple[str, ...]
) -> None:
    done = cuecard("train", str(data), *WORDS, "--backbone", str(backbone), *words, "--dry-run")
    assert done.code == 2
    for text in said:
        assert text in done.err


def test_a_dry_run_says_that_it_races(cuecard: Call, backbone: Path, data: Path) -> None:
    words = ("--backbone", str(backbone), "--budget", "120 steps", "--dry-run")
    done = cuecard("train", str(data), *WORDS, *words)
    assert done.code == 0, done.err
    assert "LoRA races too" in " ".join(done.out.split())
