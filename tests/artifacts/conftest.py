"""One saved prompt on a tiny backbone, and a way to alter what it says of itself."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cuecard.artifacts import Prompt
from cuecard.artifacts.manifest import Manifest
from cuecard.backbones import CausalBackbone
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Slot
from support.tiny import tiny_backbone

SPEC = TaskSpec(
    kind="classification", template="Review: {text}\nLabel:", labels=("negative", "positive")
)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def spec() -> TaskSpec:
    return SPEC


@pytest.fixture(scope="session")
def backbone() -> CausalBackbone:
    return tiny_backbone("llama")


@pytest.fixture(scope="session")
def vectors() -> torch.Tensor:
    return torch.randn(5, 32, generator=torch.Generator().manual_seed(1)) * 0.3


MakePrompt = Callable[..., Prompt]


@pytest.fixture(scope="session")
def make_prompt(backbone: CausalBackbone, vectors: torch.Tensor) -> MakePrompt:
    def make(slot: Slot = "prefix", **changes: Any) -> Prompt:
        options: dict[str, Any] = {
            "backbone": backbone,
            "spec": SPEC,
            "method": "prompt-tuning",
            "method_config": {"length": 5, "init": "vocabulary", "slot": slot},
            "slot": slot,
            "data_hash": "ab" * 32,
            "seed": 7,
            "metrics": {"accuracy": {"value": 0.875, "ci95": [0.86, 0.89]}},
            "prior": {"negative": -0.75, "positive": -0.65},
        }
        options.update(changes)
        return Prompt.create(options.pop("vectors", vectors), **options)

    return make


@pytest.fixture(scope="session")
def prompt(make_prompt: MakePrompt) -> Prompt:
    return make_prompt()


@pytest.fixture
def folder(prompt: Prompt, tmp_path: Path) -> Path:
    return prompt.save(tmp_path / "prompt")


Alter = Callable[..., None]


@pytest.fixture
def alter(folder: Path) -> Alter:
    """Write `prompt.json` anew after `change(document)`, by default with a digest that fits."""

    def write(change: Callable[[dict[str, Any]], object], *, forge: bool = True) -> None:
        path = folder / "prompt.json"
        document = json.loads(path.read_bytes())
        change(document)
        if forge:
            content = {name: value for name, value in document.items() if name != "digest"}
            forged = Manifest.model_validate_json(json.dumps(content))
            path.write_bytes(forged.to_bytes())
        else:
            path.write_text(json.dumps(document))

    return write
