"""Promotion checks: minimum scores as stored and as measured, and no worse by a paired interval."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cuecard.artifacts import Prompt
from cuecard.artifacts.seen_rows import RowsEntry
from cuecard.backbones import CausalBackbone
from cuecard.errors import ConfigError, DataWarning, PromotionError, WrongBackboneError
from cuecard.evaluation import paired_interval
from cuecard.evaluation.evaluate import evaluate
from cuecard.registry import EvaluationSetup, PromotionChecks, Registry
from cuecard.types import Record
from support.data.reviews import reviews
from support.tiny import tiny_backbone


@pytest.fixture(scope="module")
def records() -> Sequence[Record]:
    return reviews(60)


@pytest.fixture
def setup(model: CausalBackbone, records: Sequence[Record]) -> EvaluationSetup:
    return EvaluationSetup(rows=lambda spec: records, backbone=lambda prompt: model)


@pytest.fixture(scope="module")
def scores(model: CausalBackbone, prompts: list[Path], records: Sequence[Record]) -> Any:
    """What each prompt is worth, by evaluation alone."""

    def of(folder: Path) -> Any:
        prompt = Prompt.load(folder, model)
        return evaluate(model, prompt.spec, records, prompt.injection())

    return [of(folder) for folder in prompts]


@pytest.fixture
def pushed(disk: Registry, prompts: list[Path]) -> Registry:
    for folder in prompts:
        disk.push(folder, "reviews")
    return disk


@pytest.mark.parametrize(
    ("minimum", "refused"),
    [
        ({"accuracy": 0.8}, None),
        ({"accuracy": 0.81}, "below the minimum"),
        ({"validation.accuracy": 0.9, "accuracy": 0.5}, None),
        ({"macro_f1": 0.1}, "no score of this name"),
    ],
)
def test_stored_scores(pushed: Registry, minimum: dict[str, float], refused: str | None) -> None:
    checks = PromotionChecks(pushed, minimum)
    if refused is None:
        event = pushed.promote("reviews@1", "production", check=checks)
        for metric, least in minimum.items():
            assert event.evidence["minimum"][metric]["least"] == least  # type: ignore[index,call-overload]
        return
    with pytest.raises(PromotionError, match=refused):
        pushed.promote("reviews@1", "production", check=checks)
    assert pushed.aliases("reviews") == {}


def test_measured_scores(pushed: Registry, setup: EvaluationSetup, scores: Any) -> None:
    real = scores[0].score
    with pytest.raises(PromotionError, match="below the minimum") as refused:
        PromotionChecks(pushed, {"accuracy": real + 0.01}, setup)(None, pushed.resolve("reviews@1"))
    assert f"{real:.4f}" in str(refused.value.got)
    event = pushed.promote(
        "reviews@1", "production", check=PromotionChecks(pushed, {"accuracy": real}, setup)
    )
    assert event.evidence["rows"] == 60 and event.evidence["new"] == pytest.approx(real)
    assert "current" not in event.evidence


def test_not_worse(pushed: Registry, setup: EvaluationSetup, scores: Any) -> None:
    order = sorted(range(4), key=lambda i: scores[i].score)
    worst, best = order[0] + 1, order[-1] + 1
    assert scores[best - 1].score > scores[worst - 1].score
    pushed.promote(f"reviews@{best}", "production")
    interval = paired_interval(scores[best - 1].correct, scores[worst - 1].correct)
    with pytest.raises(PromotionError, match="not shown to be no worse") as refused:
        pushed.promote(f"reviews@{worst}", "production", check=PromotionChecks(pushed, setup=setup))
    assert f"{interval.high:+.4f}" in str(refused.value.got)
    assert pushed.aliases("reviews") == {"production": best}
    # A margin that the interval's upper end does not reach lets it pass, and is on the record.
    setup.margin = interval.high
    event = pushed.promote(
        f"reviews@{worst}", "production", check=PromotionChecks(pushed, setup=setup)
    )
    assert event.evidence["ci95"] == pytest.approx([interval.low, interval.high])
    assert event.evidence["margin"] == interval.high
    assert event.evidence["current_minus_new"] == pytest.approx(
        scores[best - 1].score - scores[worst - 1].score
    )


def test_the_same_prompt_is_no_worse(
    pushed: Registry, setup: EvaluationSetup, make_prompt: Any
) -> None:
    pushed.promote("reviews@1", "production")
    twin = pushed.push(make_prompt(0, accuracy=0.1), "reviews").version  # other metrics alone
    assert twin.number == 5
    setup.margin = 0.0
    event = pushed.promote("reviews@5", "production", check=PromotionChecks(pushed, setup=setup))
    assert event.evidence["ci95"] == [0.0, 0.0]


def test_the_same_answers_of_another_prompt_need_rows(
    pushed: Registry,
    setup: EvaluationSetup,
    make_prompt: Any,
    tmp_path: Path,
    model: CausalBackbone,
) -> None:
    first = Prompt.load(make_prompt(0), model)
    near = Prompt.create(
        first.vectors + 1e-7,
        backbone=model,
        spec=first.spec,
        method="prompt-tuning",
        method_config={"length": 4},
        slot="prefix",
    )
    pushed.promote("reviews@1", "production")
    number = pushed.push(near.save(tmp_path / "near"), "reviews").version.number
    with pytest.raises(PromotionError, match="not shown") as refused:
        pushed.promote(
            f"reviews@{number}", "production", check=PromotionChecks(pushed, setup=setup)
        )
    assert "about 137 rows" in str(refused.value.hint)
    setup.margin = 0.05
    event = pushed.promote(
        f"reviews@{number}", "production", check=PromotionChecks(pushed, setup=setup)
    )
    assert event.evidence["current_minus_new"] == 0.0
    assert event.evidence["ci95"] == pytest.approx([-0.0447, 0.0447], abs=1e-3)


def test_few_rows_decide_nothing(
    pushed: Registry, model: CausalBackbone, make_prompt: Any, records: Sequence[Record]
) -> None:
    few = EvaluationSetup(rows=lambda spec: records[:2], backbone=lambda prompt: model, margin=0.9)
    pushed.promote("reviews@1", "production")
    for minimum in ({}, {"accuracy": 0.0}):
        with pytest.raises(PromotionError, match="too few rows to decide") as refused:
            pushed.promote("reviews@2", "production", check=PromotionChecks(pushed, minimum, few))
        assert refused.value.got == "2 rows" and "at least 30" in str(refused.value.expected)
    with pytest.raises(PromotionError, match="too few rows"):
        pushed.promote("reviews@2", "first", check=PromotionChecks(pushed, {"accuracy": 0.0}, few))
    assert pushed.aliases("reviews") == {"production": 1}


def test_rows_that_a_version_was_trained_on_are_told(
    pushed: Registry,
    setup: EvaluationSetup,
    records: Sequence[Record],
    tmp_path: Path,
    make_prompt: Any,
) -> None:
    known = Prompt.load(make_prompt(0), setup.backbone(None))  # type: ignore[arg-type]
    entry = RowsEntry.of(records[:9], records[20:24])
    manifest = known.manifest.model_copy(update={"rows": entry})
    folder = Prompt(known.tensors, manifest).save(tmp_path / "known")
    pushed.push(folder, "reviews")
    with pytest.warns(DataWarning, match="reviews@5 was trained on 9 and selected on 4 of these"):
        event = pushed.promote("reviews@5", "production", check=PromotionChecks(pushed, {}, setup))
    assert event.evidence["seen_rows"] == {"reviews@5": {"trained": 9, "selected": 4}}


def test_the_gate_decides_on_what_the_alias_has_then(
    pushed: Registry, setup: EvaluationSetup
) -> None:
    """Another writer moves the alias while the check measures: it runs again."""
    pushed.promote("reviews@1", "production")
    asked = []

    def check(current: Any, new: Any) -> dict[str, Any]:
        asked.append(current.number)
        if len(asked) == 1:
            Registry(pushed.store).promote("reviews@2", "production")
        return {}

    event = pushed.promote("reviews@3", "production", check=check)
    assert asked == [1, 2] and (event.before, event.after) == (2, 3)


def test_another_backbone(pushed: Registry, records: Sequence[Record]) -> None:
    other = tiny_backbone(seed=9)
    setup = EvaluationSetup(rows=lambda spec: records, backbone=lambda prompt: other)
    with pytest.raises(WrongBackboneError):
        pushed.promote("reviews@1", "production", check=PromotionChecks(pushed, setup=setup))


def test_a_margin_is_a_share(pushed: Registry, setup: EvaluationSetup) -> None:
    setup.margin = 2.0
    with pytest.raises(ConfigError, match="not a share of the score"):
        PromotionChecks(pushed, setup=setup)
