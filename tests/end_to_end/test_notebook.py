"""What a notebook shows of runs, comparisons, evaluations and prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cuecard.runs.recipe import Outcome, Recipe, run_recipe
from cuecard.training.sweeps.trials import Sweep, Trial
from support.command_line import save_rows, save_tiny
from support.data.reviews import reviews

LABELS = {"negative": "<b>bad</b>", "positive": "<script>x</script>"}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A run whose labels are hostile."""
    folder = tmp_path_factory.mktemp("notebook")
    rows = [{"text": r.fields["text"], "label": LABELS[str(r.target)]} for r in reviews(120)]
    recipe = {
        "data": {"path": str(save_rows(folder / "rows.csv", rows))},
        "task": {"template": "<i>{text}</i>\nSentiment:", "words": {}},
        "backbone": str(save_tiny(folder / "tiny")),
        "method": {"name": "prompt-tuning", "length": 4, "init": "vocabulary"},
        "training": {"steps": 4, "batch_rows": 8},
        "out": str(folder / "run"),
        "demonstrations": [],
    }
    return run_recipe(Recipe.parse(recipe))


def shown(found: Any) -> str:
    html = found._repr_html_()
    assert isinstance(html, str)
    assert not any(tag in html for tag in ("<script", "<b>bad", "<i>"))
    assert len(html) < 20_000
    return html


def test_a_run(outcome: Outcome) -> None:
    html = shown(outcome.run)
    run = outcome.run
    assert run.test is not None
    assert f"{run.test.score:.3f}" in html and f"loss {run.validation.loss:.4f}" in html
    assert "&lt;script&gt;x&lt;/script&gt;" in html  # a row of its table by label


def test_a_comparison(outcome: Outcome) -> None:
    assert outcome.proof is not None
    html = shown(outcome.proof)
    for row in outcome.proof.rows:
        assert all(cell in html for cell in row.cells()[1:])
    assert html.count("<li>") == len(outcome.proof.notes)
    assert shown(outcome) == shown(outcome.run) + html


def test_a_prompt(outcome: Outcome) -> None:
    prompt = outcome.run.prompt
    html = shown(prompt)
    assert prompt.digest in html and f"{prompt.nbytes:,} bytes" in html
    assert "&lt;i&gt;{text}&lt;/i&gt;<br>Sentiment:" in html


def test_an_evaluation(outcome: Outcome, tmp_path: Path) -> None:
    bound = outcome.run.prompt.bind(outcome.backbone)
    html = shown(bound.evaluate(outcome.task.test))
    assert "accuracy" in html and "95% interval" in html


def test_a_sweep() -> None:
    trials = tuple(
        Trial(number, "", {"training.lr": lr}, 0.5, 0.75, 3, 4, "steps", None, 1.0, 1.0)
        for number, lr in ((1, 0.01), (3, 0.1))  # a shard's
    )
    found = Sweep(trials, {}, {"": 3}, 2, None)
    html = shown(found)
    bold = html.index("font-weight:bold")
    assert html.index("lr 0.01") < bold < html.index("lr 0.1<")
