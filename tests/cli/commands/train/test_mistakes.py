"""A user's mistakes: exit code 2, what is wrong and where, and nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.command_line import Call
from support.data.tickets import tickets


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("CUECARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


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
        (
            None,
            ("--method", "p-tuning-v2", "--lr", "0.03", "--set", "method.values_lr=0.01"),
            ("training.lr 0.03", "method.values_lr 0.01", "two learning rates"),
        ),
    ],
)
def test_a_users_mistake(
    cuecard: Call, here: Path, change: str | None, words: tuple[str, ...], said: tuple[str, ...]
) -> None:
    (here / "tickets.csv").write_text(tickets() + (change or ""))
    done = cuecard("train", "tickets.csv", *words)
    assert done.code == 2
    for word in said:
        assert word in done.err
    assert [p.name for p in here.iterdir()] == ["tickets.csv"]


def test_a_missing_file(cuecard: Call, here: Path) -> None:
    done = cuecard("train", "nothing.csv")
    assert done.code == 2 and "nothing.csv" in done.err
    assert list(here.iterdir()) == []


def test_a_misspelt_key_of_a_recipes_data(cuecard: Call, here: Path) -> None:
    (here / "run.yaml").write_text("data: {pth: tickets.csv}\n")
    done = cuecard("train", "--recipe", "run.yaml")
    assert done.code == 2 and "run.yaml, data.pth" in done.err and "did you mean path?" in done.err
