"""Forgetting: the loss on texts that are not the task's."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from cuecard.comparison.contest.contender import Loaded
from cuecard.comparison.contest.general_texts import (
    OWN,
    GeneralTexts,
    forgetting,
    general_texts,
)
from cuecard.errors import DataError
from cuecard.types import InputTokens
from support.data.reviews import SPEC
from support.tiny import tiny_backbone

TEXT = "good bad fine awful nice poor warm cold good bad fine awful nice poor warm cold"


def test_the_loss_is_the_models_own(tmp_path: Path) -> None:
    """Of the tokens after the first quarter, as the model itself computes it."""
    backbone = tiny_backbone()
    path = tmp_path / "texts.txt"
    path.write_text(f"{TEXT}\n\n{TEXT} good\n")
    found = general_texts(backbone, str(path), 0)
    assert isinstance(found, GeneralTexts) and len(found.ids) == 2
    ids = found.ids[0]
    with torch.no_grad():
        logits = backbone.model(torch.tensor([ids])).logits[0].float()
    given = len(ids) // 4
    logs = logits.log_softmax(-1)
    expected = -sum(float(logs[at - 1, ids[at]]) for at in range(given, len(ids)))
    (loss, _) = found.losses(Loaded(backbone, SPEC))
    assert loss == pytest.approx(expected / (len(ids) - given), rel=0.02)


def test_a_table_is_read_by_its_column(tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    path.write_text(f"text,other\n{TEXT},1\nshort,2\n")
    found = general_texts(tiny_backbone(), str(path), 0)
    assert isinstance(found, GeneralTexts) and found.source == str(path)
    assert len(found.ids) == 1  # the short one says nothing


@pytest.mark.parametrize(
    ("content", "said"), [("", "the file is empty"), ("a\nb\n", "no general texts")]
)
def test_texts_that_say_nothing_are_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "texts.txt"
    path.write_text(content)
    with pytest.raises(DataError, match=said):
        general_texts(tiny_backbone(), str(path), 0)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        general_texts(tiny_backbone(), str(tmp_path / "none.txt"), 0)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_bytes(b"good bad \xff\n")
    with pytest.raises(DataError, match="UTF-8"):
        general_texts(tiny_backbone(), str(path), 0)


def test_the_models_own_texts_come_from_the_seed() -> None:
    backbone = tiny_backbone()
    one, same, other = (general_texts(backbone, None, seed) for seed in (0, 0, 1))
    assert isinstance(one, GeneralTexts) and one.source == OWN
    assert one == same != other


def test_a_model_that_predicts_no_texts_is_told() -> None:
    assert general_texts(tiny_backbone("bert"), None, 0) == "the backbone predicts no texts"
    assert "--general" in str(general_texts(tiny_backbone("t5-relu"), None, 0))


@pytest.mark.parametrize("slot", ["prefix", "suffix"])
@pytest.mark.parametrize("kind", ["llama", "t5-relu"])
def test_a_prompt_changes_the_loss(tmp_path: Path, kind: str, slot: str) -> None:
    backbone = tiny_backbone(kind)
    path = tmp_path / "texts.txt"
    path.write_text(f"{TEXT}\n{TEXT} fine\n")
    texts = general_texts(backbone, str(path), 0)
    assert isinstance(texts, GeneralTexts)
    vectors = torch.randn(3, backbone.hidden_size, generator=torch.Generator().manual_seed(0))
    off = texts.losses(Loaded(backbone, SPEC))
    on = texts.losses(Loaded(backbone, SPEC, InputTokens(vectors), slot))  # type: ignore[arg-type]
    found = forgetting(texts, off, on)
    assert found.more != 0 and found.texts == 2
    assert found.ci95 is not None and found.ci95.low < found.more < found.ci95.high


def test_the_interval_is_students() -> None:
    texts = GeneralTexts("texts", ((1,) * 8,) * 3)
    found = forgetting(texts, (1.0, 2.0, 3.0), (1.5, 2.5, 4.5))
    assert found.off == 2.0 and found.on == pytest.approx(17 / 6)
    assert found.more == pytest.approx(5 / 6) and found.ci95 is not None
    spread = math.sqrt(((0.5 - 5 / 6) ** 2 * 2 + (1.5 - 5 / 6) ** 2) / 2)
    assert found.ci95.high - found.more == pytest.approx(4.302653 * spread / math.sqrt(3))
    assert forgetting(texts, (1.0,), (2.0,)).ci95 is None
