"""docs/notebooks: every script is run, on a tiny model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import cuecard
from support.command_line import save_tiny
from support.installs import ROOT
from support.tiny_vision import save_vision

SCRIPTS = sorted((ROOT / "docs" / "notebooks").glob("*.py"))
# Whether it works needs no good prompt.
SHORTER = {
    r"steps=\d+": "steps=3",
    r'"steps": \d+': '"steps": 3',
    r'"rates": 2': '"rates": 1',
    r"1200 calls": "700 calls",
}

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning"),
]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a notebook in a folder of its own; the names that it leaves."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUECARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CUECARD_REGISTRY", raising=False)
    models = {
        "smollm2-135m-instruct": lambda: save_tiny(tmp_path / "tiny"),
        "dinov2-small": lambda: save_vision(tmp_path / "tiny"),
    }

    def named(name: str) -> dict[str, Any]:
        code = (ROOT / "docs" / "notebooks" / f"{name}.py").read_text()
        used = [model for model in models if f'"{model}"' in code]
        assert used
        for model in used:
            code = code.replace(model, str(models[model]()))
        for long, short in SHORTER.items():
            code = re.sub(long, short, code)
        names: dict[str, Any] = {}
        exec(compile(code, f"{name}.py", "exec"), names)
        return names

    return named


def test_classify(run: Any) -> None:
    names = run("classify")
    assert any(row.prompt.startswith("TF-IDF") for row in names["proof"].rows)
    assert [one.answer in names["TEAMS"] for one in names["answers"]] == [True, True]


def test_compare(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    found = run("compare")["contestants"]
    assert [*found] == ["majority", "tfidf", "zero-shot", "prompt-tuning", "lora"]
    assert f"lora            {found['lora']['score']:.3f}" in capsys.readouterr().out
    assert Path("runs/compare/compare.html").is_file()


def test_serve(run: Any) -> None:
    names = run("serve")
    assert names["answer"].model == "reviews@1" and names["server"].returncode == 0


def test_compile(run: Any) -> None:
    names = run("compile")
    assert {row["prompt"] for row in names["report"]["rows"]} > {"compiled", "full text"}
    assert isinstance(names["handbook"].generate(["when?"])[0], str)


def test_search(run: Any) -> None:
    names = run("search")
    assert "{text}" in names["outcome"].template
    assert names["words"].predict(["so warm"])[0].answer in ("negative", "positive")


def test_images(run: Any) -> None:
    names = run("images")
    assert isinstance(names["spots"], cuecard.BoundPrompt)
    assert names["spots"].predict([names["drawn"]("round")])[0].answer in ("round", "square")


def test_every_notebook_is_run() -> None:
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {path.stem for path in SCRIPTS} == tested - {"every_notebook_is_run"}
