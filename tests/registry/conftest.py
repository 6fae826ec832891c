"""Prompts to push, and registries on a disk, in memory and on a server that speaks S3."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest
import torch

from cuecard.artifacts import Prompt
from cuecard.backbones import CausalBackbone
from cuecard.registry import Registry
from cuecard.registry.stores.objects import ObjectStore
from cuecard.tasks.spec import TaskSpec
from support.tiny import tiny_backbone

SPEC = TaskSpec(
    kind="classification",
    template="Review: {text}\nSentiment:",
    labels=("negative", "positive"),
    words={"negative": "bad", "positive": "good"},
)
MakePrompt = Callable[..., Path]


@pytest.fixture(scope="session")
def model() -> CausalBackbone:
    return tiny_backbone()


@pytest.fixture(scope="session")
def make_prompt(model: CausalBackbone, tmp_path_factory: pytest.TempPathFactory) -> MakePrompt:
    """A prompt's folder by its seed; the same seed, the same bytes."""

    def make(seed: int = 0, accuracy: float = 0.8) -> Path:
        vectors = torch.randn(4, 32, generator=torch.Generator().manual_seed(seed)) * 0.3
        prompt = Prompt.create(
            vectors,
            backbone=model,
            spec=SPEC,
            method="prompt-tuning",
            method_config={"length": 4},
            slot="prefix",
            data_hash="ab" * 32,
            seed=seed,
            metrics={"validation": {"accuracy": 0.9}, "test": {"rows": 40, "accuracy": accuracy}},
        )
        return prompt.save(tmp_path_factory.mktemp("prompts") / f"seed-{seed}")

    return make


@pytest.fixture(scope="session")
def prompts(make_prompt: MakePrompt) -> list[Path]:
    """Four different prompts; tests only read them."""
    return [make_prompt(seed) for seed in range(4)]


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """A bucket on a server of its own; its URL. The address is in the environment, as for S3."""
    command = [sys.executable, str(Path(__file__).parents[1] / "support" / "s3_server.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
                patch.setenv("AWS_ACCESS_KEY_ID", "test")
                patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
                patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
                patch.setenv("AWS_CONFIG_FILE", os.devnull)
                patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
                patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
                fsspec.filesystem("s3").mkdir("registries")
                yield "s3://registries"
        finally:
            server.terminate()


@pytest.fixture(params=["disk", "memory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a registry can be, each time a new one."""
    if request.param == "disk":
        return str(tmp_path / "registry")
    if request.param == "memory":
        return f"memory://{uuid4().hex}"
    return f"{request.getfixturevalue('s3')}/{uuid4().hex}"


@pytest.fixture
def registry(place: str) -> Registry:
    return Registry(place, who="ann@desk")


@pytest.fixture
def disk(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry", who="ann@desk")


def is_object_store(registry: Registry) -> bool:
    """Whether a registry is no folder."""
    return isinstance(registry.store, ObjectStore)
