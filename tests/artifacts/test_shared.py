"""What tasks share, on disk: as saved or refused, and an adapter that PEFT reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import PeftConfig
from safetensors.torch import load_file, save_file

from cuecard.artifacts import SharedPrompt, import_peft, shared_folder
from cuecard.artifacts.tensors import TASK_COLUMNS, TASK_ROWS
from cuecard.backbones import CausalBackbone
from cuecard.errors import ArtifactError, WrongBackboneError
from cuecard.methods.mpt import mean_start
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Slot
from support.tiny import tiny_backbone

TASKS = ("reviews", "tickets", "mails")


def made(backbone: CausalBackbone, slot: Slot = "prefix") -> SharedPrompt:
    generator = torch.Generator().manual_seed(3)
    vectors, columns, rows = (
        1 + 0.2 * torch.randn(*size, generator=generator) for size in ((5, 32), (3, 5), (3, 32))
    )
    return SharedPrompt.create(
        vectors, columns, rows, tasks=TASKS, backbone=backbone, slot=slot, seed=4
    )


def test_what_is_saved_is_loaded(backbone: CausalBackbone, tmp_path: Path) -> None:
    shared = made(backbone)
    folder = shared.save(tmp_path / "run" / "shared")
    again = SharedPrompt.load(folder, backbone)
    assert again.digest == shared.digest and again.manifest == shared.manifest
    assert torch.equal(again.start(), shared.start())
    assert shared_folder(folder) == shared_folder(tmp_path / "run") == folder
    assert shared_folder(tmp_path) is None
    shared.save(folder, overwrite=True)
    with pytest.raises(ArtifactError, match="not empty"):
        shared.save(folder)


def test_the_start(backbone: CausalBackbone) -> None:
    shared = made(backbone)
    plain = {name: tensor.double() for name, tensor in shared.tensors.items()}
    products = [u @ v for u, v in zip(plain[TASK_COLUMNS], plain[TASK_ROWS], strict=True)]
    expected = plain["prompt_embeddings"] * sum(products) / 3
    torch.testing.assert_close(shared.start().double(), expected, rtol=1e-6, atol=1e-7)
    ones = torch.ones(3, 5), torch.ones(3, 32)
    vectors = plain["prompt_embeddings"].float()
    torch.testing.assert_close(mean_start(vectors, *ones), vectors)


def test_peft_reads_it_and_so_does_import(
    backbone: CausalBackbone, spec: TaskSpec, tmp_path: Path
) -> None:
    shared = made(backbone)
    folder = shared.save(tmp_path / "shared")
    config = PeftConfig.from_pretrained(folder)
    assert (config.peft_type.value, config.num_tasks) == ("MULTITASK_PROMPT_TUNING", 3)
    for number in range(3):
        prompt = import_peft(folder, backbone, spec, task=number)
        factors = shared.tensors[TASK_COLUMNS][number] @ shared.tensors[TASK_ROWS][number]
        expected = shared.tensors["prompt_embeddings"] * factors
        torch.testing.assert_close(prompt.vectors, expected)
    plain = import_peft(folder, backbone, spec, task="shared").vectors
    assert torch.equal(plain, shared.tensors["prompt_embeddings"])


def test_peft_has_no_form_of_a_suffix(backbone: CausalBackbone, tmp_path: Path) -> None:
    folder = made(backbone, "suffix").save(tmp_path / "shared")
    assert sorted(p.name for p in folder.iterdir()) == ["adapter_model.safetensors", "shared.json"]
    assert SharedPrompt.load(folder).manifest.slot == "suffix"


def test_what_was_altered_is_refused(backbone: CausalBackbone, tmp_path: Path) -> None:
    folder = made(backbone).save(tmp_path / "shared")
    path, tensors = folder / "shared.json", folder / "adapter_model.safetensors"
    before = path.read_text(), load_file(tensors)
    document = json.loads(before[0])
    path.write_text(json.dumps({**document, "seed": 5}))
    with pytest.raises(ArtifactError, match="altered"):
        SharedPrompt.load(folder)
    path.write_text(json.dumps({**document, "seeds": 5}))
    with pytest.raises(ArtifactError, match="invalid field"):
        SharedPrompt.load(folder)
    path.write_text(before[0])
    save_file({name: tensor + 1 for name, tensor in before[1].items()}, tensors)
    with pytest.raises(ArtifactError, match="not the ones"):
        SharedPrompt.load(folder)
    with pytest.raises(ArtifactError, match="NaN"):
        SharedPrompt.create(
            torch.full((5, 32), torch.nan),
            torch.ones(3, 5),
            torch.ones(3, 32),
            tasks=TASKS,
            backbone=backbone,
            slot="prefix",
            seed=0,
        )


def test_factors_of_other_sizes_are_refused(backbone: CausalBackbone, tmp_path: Path) -> None:
    odd = SharedPrompt.create(
        torch.ones(5, 32),
        torch.ones(2, 5),
        torch.ones(2, 32),
        tasks=TASKS,
        backbone=backbone,
        slot="prefix",
        seed=0,
    )
    with pytest.raises(ArtifactError, match="do not fit"):
        SharedPrompt.load(odd.save(tmp_path / "shared"))


def test_another_backbone_is_refused(backbone: CausalBackbone, tmp_path: Path) -> None:
    folder = made(backbone).save(tmp_path / "shared")
    with pytest.raises(WrongBackboneError, match="another backbone"):
        SharedPrompt.load(folder, tiny_backbone(seed=1))
