"""The one table: in the documentation, on the command line, and in what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, MambaConfig

from cuecard.backbones import CausalBackbone
from cuecard.backbones.families import FAMILIES, Family
from cuecard.errors import ConfigError
from cuecard.methods import (
    METHODS,
    DeepPrompts,
    DePT,
    MethodSettings,
    PrefixTuning,
    PTuningV2,
)
from cuecard.training import TrainConfig
from cuecard.training.train import train
from cuecard.training.trainables.capabilities import (
    LIMITS,
    capabilities,
    cells,
    headings,
    markdown,
)
from cuecard.types import InjectionKind, Tower
from support.data.reviews import review_task
from support.tiny import tiny_model, tiny_tokenizer

DOCS = Path(__file__).parents[3] / "docs" / "methods.md"


def test_the_documentation_has_the_table() -> None:
    text = DOCS.read_text(encoding="utf-8")
    shown = text.partition("<!-- cuecard methods -->\n")[2].partition("<!-- end -->")[0]
    assert shown == markdown()


def test_every_method_has_a_row_and_is_told_of() -> None:
    assert [row.method for row in capabilities()] == list(METHODS)
    text = DOCS.read_text(encoding="utf-8")
    for row in capabilities():
        assert f"| `{row.method}` |" in text
        assert set(row.missing) == set(FAMILIES)


class Deaf(CausalBackbone):
    """A backbone whose input embeddings cannot be shifted."""

    def unsupported(self, kind: InjectionKind, tower: Tower = "text") -> str | None:
        return "shifts get lost" if kind == "token-shifts" else super().unsupported(kind, tower)


def test_what_is_missing_is_refused_before_any_work() -> None:
    backbone = Deaf(tiny_model(), tiny_tokenizer(), "deaf")
    events: list[dict[str, Any]] = []
    with pytest.raises(ConfigError, match="shifts get lost") as refused:
        train(
            backbone,
            review_task(60),
            DePT(length=3, init="random"),
            TrainConfig(steps=1),
            observer=events.append,
        )
    assert not events and not any(backbone.counts.values())
    assert "method dept, backbone deaf" in str(refused.value)


@pytest.mark.parametrize("config", [PTuningV2(length=3), PrefixTuning(length=3)])
def test_a_recurrent_model_takes_no_keys_and_values(config: MethodSettings) -> None:
    sizes = MambaConfig(
        vocab_size=384, hidden_size=32, num_hidden_layers=2, state_size=4, eos_token_id=2
    )
    model = AutoModelForCausalLM.from_config(sizes).eval()
    backbone = CausalBackbone(model, tiny_tokenizer(), "mamba")
    with pytest.raises(ConfigError, match="keeps no keys and values of one shape"):
        train(backbone, review_task(60), config, TrainConfig(steps=1))
    assert not any(backbone.counts.values())
    row = next(row for row in capabilities() if row.method == config.name)
    assert LIMITS["prefix-kv"] in dict(zip(headings(), cells(row), strict=True))["causal backbones"]
    deep = DeepPrompts(length=3, init="random")
    run = train(backbone, review_task(60), deep, TrainConfig(steps=2))
    assert run.prompt.manifest.injection == "layer-tokens"


def test_a_row_without_support_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "cuecard.training.trainables.capabilities.FAMILIES",
        {"other": Family("another model", {"text": frozenset({"input-tokens"})}, frozenset())},
    )
    found = {row.method: cells(row)[-1] for row in capabilities()}
    assert found["prompt-tuning"] == "yes" and found["dept"] == "no: token-shifts"
