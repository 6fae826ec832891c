from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from command_line import ended
from cuecard.cli.demo_tasks import HEADLINE_PROMPTS
from tickets import Run, tickets
from tiny import tiny_model, tiny_tokenizer

pytestmark = [pytest.mark.slow, pytest.mark.integration]

STEPS = ("--steps", "30", "--batch-rows", "8", "--no-compare")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, cuecard: Run) -> Path:
    """A user's folder with a trained run in it."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "tickets.csv").write_text(tickets())
    cuecard("train", "tickets.csv", *STEPS, cwd=folder)
    return folder


def test_a_run_leaves_what_it_says(home: Path) -> None:
    run = home / "runs" / "tickets"
    assert {p.name for p in run.iterdir()} >= {
        "log.jsonl",
        "recipe.yaml",
        "checkpoint.pt",
        "prompt",
    }
    events = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert events[-1]["event"] == "done" and events[-1]["test"] > 0.6
    assert {p.name for p in (run / "prompt").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "prompt.json",
    }


def test_predict_eval_and_inspect(home: Path, cuecard: Run) -> None:
    done = cuecard("predict", "runs/tickets", "my card was declined", "--json", cwd=home)
    found = json.loads(done.stdout)
    assert "billing" in json.dumps(found)
    plain = cuecard("predict", "runs/tickets", "my card was declined", cwd=home)
    assert "billing" in plain.stdout
    (home / "more.csv").write_text(tickets(60).replace("this week", "last week"))
    scored = cuecard("eval", "runs/tickets", "more.csv", cwd=home)
    assert "accuracy" in scored.stdout
    shown = cuecard("inspect", "runs/tickets", cwd=home)
    assert "smollm2-135m-instruct" in shown.stdout


def test_exports_are_the_prompt(home: Path, cuecard: Run) -> None:
    prompt = load_file(home / "runs/tickets/prompt/adapter_model.safetensors")
    cuecard("export", "runs/tickets", "out.npy", "--form", "npy", cwd=home)
    assert np.array_equal(np.load(home / "out.npy"), prompt["prompt_embeddings"])
    cuecard("export", "runs/tickets", "out.safetensors", "--form", "safetensors", cwd=home)
    (exported,) = load_file(home / "out.safetensors").values()
    assert np.array_equal(exported, prompt["prompt_embeddings"])
    cuecard("export", "runs/tickets", "adapter", "--form", "peft", cwd=home)
    assert (home / "adapter" / "adapter_config.json").is_file()


def test_a_dry_run_writes_nothing(home: Path, cuecard: Run) -> None:
    before = sorted(home.rglob("*"))
    done = cuecard("train", "tickets.csv", "--out", "runs/dry", "--dry-run", cwd=home)
    for word in ("trainable params", "truncated", "billing", "memory", "steps"):
        assert word in done.stdout
    assert sorted(home.rglob("*")) == before


def test_a_recipe_and_its_typos(home: Path, cuecard: Run) -> None:
    (home / "recipe.yaml").write_text(
        "data: {path: tickets.csv}\ntraining: {steps: 2, batch_rowz: 8}\n"
    )
    done = cuecard("train", "--recipe", "recipe.yaml", cwd=home, code=2)
    assert "batch_rowz" in done.stderr and "did you mean batch_rows?" in done.stderr
    (home / "recipe.yaml").write_text(
        "data: {path: tickets.csv}\ntraining: {steps: 2, batch_rows: 4}\ncompare: false\n"
    )
    words = ("train", "--recipe", "recipe.yaml", "--out", "runs/recipe", "--json")
    lines = cuecard(*words, cwd=home).stdout.splitlines()
    events = [json.loads(line) for line in lines]
    assert events[-1]["event"] == "result" and events[-1]["steps"] == 2


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        (None, ("--text-field", "txt"), ("'txt'", "'text', 'label'", "tickets.csv")),
        ("only one cell\n", (), ("row 182",)),
        ("no label here,\n", (), ("row 182", "label")),
        (None, ("--backbone", "smollm3"), ("no such model", "smollm3", "cuecard backbones")),
        (None, ("--backbone", "smollm2-135m-instrukt"), ("did you mean smollm2-135m-instruct",)),
        (None, ("--labels", "billing,bug"), ("question", "row")),
        (None, ("--template", "Text: {txt}"), ("txt",)),
        (None, ("--lr", "fast"), ("--lr", "fast")),
        (None, ("--steps", "0"), ("steps",)),
    ],
)
def test_a_users_mistake(
    tmp_path: Path, cuecard: Run, change: str | None, words: tuple[str, ...], said: tuple[str, ...]
) -> None:
    (tmp_path / "tickets.csv").write_text(tickets() + (change or ""))
    done = cuecard("train", "tickets.csv", *words, cwd=tmp_path, code=2)
    for word in said:
        assert word in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["tickets.csv"]


def test_a_missing_file(tmp_path: Path, cuecard: Run) -> None:
    done = cuecard("train", "nothing.csv", cwd=tmp_path, code=2)
    assert "nothing.csv" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_prompt_for_another_model(home: Path, cuecard: Run, tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path / "other")
    tiny_tokenizer().save_pretrained(tmp_path / "other")
    words = ("predict", "runs/tickets", "hello", "--backbone", tmp_path / "other")
    done = cuecard(*words, cwd=home, code=2)
    assert "another backbone" in done.stderr


def test_an_altered_prompt(home: Path, cuecard: Run, tmp_path: Path) -> None:
    shutil.copytree(home / "runs/tickets/prompt", tmp_path / "prompt")
    path = tmp_path / "prompt" / "adapter_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    done = cuecard("predict", tmp_path / "prompt", "hello", cwd=home, code=2)
    assert "altered" in done.stderr


def started(folder: Path, environment: dict[str, str], *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "cuecard", "train", *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_step(log: Path, step: int) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if log.exists() and f'"step": {step},' in log.read_text():
            return
        time.sleep(0.05)
    raise AssertionError(f"step {step} never came")


def digest(folder: Path) -> Any:
    return json.loads((folder / "log.jsonl").read_text().splitlines()[-1])["digest"]


def test_ctrl_c_and_kill_then_resume(
    home: Path, cuecard: Run, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "tickets.csv").write_text(tickets())
    child = started(tmp_path, environment, "tickets.csv", *STEPS)
    run = tmp_path / "runs" / "tickets"
    wait_for_step(run / "log.jsonl", 4)
    os.kill(child.pid, signal.SIGINT)
    errors = ended(child)
    assert child.returncode == 130, errors
    assert "cuecard train --resume runs/tickets" in errors
    assert not (run / "prompt").exists()
    child = started(tmp_path, environment, "--resume", "runs/tickets")
    wait_for_step(run / "log.jsonl", 24)
    os.kill(child.pid, signal.SIGKILL)
    ended(child)
    cuecard("train", "--resume", "runs/tickets", cwd=tmp_path)
    assert digest(run) == digest(home / "runs" / "tickets")


def test_the_demo_in_short(cuecard: Run, tmp_path: Path) -> None:
    done = cuecard("demo", "--quick", cwd=tmp_path)
    for word in ("majority class", "by hand", "trained: prompt-tuning", "gob of drivel"):
        assert word in done.stdout
    run = tmp_path / "runs" / "demo"
    report = json.loads((run / "report.json").read_text())
    assert report["prompt"]["accuracy"] > report["majority"]["accuracy"] + 0.2
    assert report["gain_ci95"][0] > 0
    assert (run / "report.md").is_file() and (run / "figures" / "confusion.png").is_file()


def test_the_headlines_demo_in_short(cuecard: Run, tmp_path: Path) -> None:
    done = cuecard("demo", "--task", "headlines", "--quick", cwd=tmp_path)
    for word in ("ROUGE-L", "by hand", "trained: prompt-tuning", "$ cuecard predict"):
        assert word in done.stdout
    report = json.loads((tmp_path / "runs" / "demo-headlines" / "report.json").read_text())
    assert report["metric"] == "rouge_l" and report["gain_ci95"][0] > 0
    assert report["manual"]["name"] in {prompt.name for prompt in HEADLINE_PROMPTS}
