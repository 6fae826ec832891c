"""Prompts to push, and registries on a disk, in memory and on servers as clouds have them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import torch
from obstore.store import MemoryStore

from cuecard.artifacts import Prompt
from cuecard.backbones import CausalBackbone
from cuecard.registry import Registry
from cuecard.registry.stores.objects import ObjectStore
from cuecard.registry.stores.store import Store
from cuecard.tasks.spec import TaskSpec
from support.object_servers import AZURITE, azurite, object_server
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
    with object_server("s3_server.py") as port, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield "s3://registries"


@pytest.fixture(scope="session")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A bucket on a server that speaks Google's protocol; its URL."""
    account = tmp_path_factory.mktemp("gcs") / "account.json"
    with object_server("s3_server.py", "--google") as port, pytest.MonkeyPatch.context() as patch:
        service = {"gcs_base_url": f"http://127.0.0.1:{port}", "disable_oauth": True}
        nobody = dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
        account.write_text(json.dumps(service | nobody))
        patch.setenv("GOOGLE_SERVICE_ACCOUNT", str(account))
        yield "gs://registries"


@pytest.fixture(scope="session")
def azure() -> Iterator[str]:
    """A container in Azurite, Microsoft's own emulator; its URL."""
    if not AZURITE.exists():
        pytest.skip("Azurite is not installed: make test-azure")
    with azurite(AZURITE) as settings, pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        yield "az://registries"


@pytest.fixture(params=["disk", "memory", "s3", "gcs", "azure"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str | Store:
    """Where a registry can be, each time a new one."""
    if request.param == "disk":
        return str(tmp_path / "registry")
    if request.param == "memory":
        return ObjectStore("memory://", MemoryStore())
    return f"{request.getfixturevalue(request.param)}/{uuid4().hex}"


@pytest.fixture
def registry(place: str | Store) -> Registry:
    return Registry(place, who="ann@desk")


@pytest.fixture
def disk(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry", who="ann@desk")


def is_object_store(registry: Registry) -> bool:
    """Whether a registry is no folder."""
    return isinstance(registry.store, ObjectStore)
