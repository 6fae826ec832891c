"""A tiny backbone, prompts that differ, a registry of them, and a server in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cuecard.names import load_backbone
from cuecard.registry import Registry
from cuecard.tasks.spec import TaskSpec
from support.data.pairs import SPEC as PAIRS
from support.data.reviews import SPEC, TEXT_SPEC
from support.random_prompts import random_prompt
from support.serving.app import MakePrompt, Running, running
from support.serving.registry import fill
from support.tiny import tiny_backbone, tiny_encoder, tiny_model, tiny_tokenizer

PAIR_SPEC = TaskSpec(
    kind="classification",
    template="A: {first}\nB: {second}\nSame:",
    labels=("no", "yes"),
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def model() -> Any:
    return tiny_backbone()


@pytest.fixture(scope="session")
def encoder() -> Any:
    """Makes vectors of texts, and says no words."""
    return tiny_encoder()


@pytest.fixture(scope="session")
def make_prompt(model: Any, tmp_path_factory: pytest.TempPathFactory) -> MakePrompt:
    """A prompt's folder; the same arguments, the same bytes."""

    def make(seed: int = 0, spec: TaskSpec = SPEC, backbone: Any = model, **more: Any) -> Path:
        prompt = random_prompt(backbone, seed, spec, **more)
        return prompt.save(tmp_path_factory.mktemp("prompts") / f"seed-{seed}")

    return make


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of a tiny backbone with places enough for answers that take a while."""
    place = tmp_path_factory.mktemp("models") / "tiny"
    model = tiny_model()
    model.config.max_position_embeddings = 4096
    model.generation_config.eos_token_id = None
    model.save_pretrained(place)
    tiny_tokenizer().save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def backbone(folder: Path) -> Any:
    """The same, in this process."""
    return load_backbone(folder, dtype="fp32")


@pytest.fixture(scope="module")
def place(backbone: Any, make_prompt: MakePrompt, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry of it, for servers in processes of their own."""
    return fill(tmp_path_factory.mktemp("registries") / "prompts", backbone, make_prompt)


@pytest.fixture
def registry(tmp_path: Path, make_prompt: MakePrompt) -> Registry:
    """reviews@1 (production) and @2, titles@1, pairs@1."""
    made = Registry(tmp_path / "registry", who="ann@desk")
    made.push(make_prompt(1, prior={"negative": 0.25, "positive": -0.5}), "reviews")
    made.push(make_prompt(2), "reviews")
    made.push(make_prompt(3, TEXT_SPEC), "titles")
    made.push(make_prompt(4, PAIR_SPEC), "pairs")
    made.promote("reviews@1", "production")
    return made


@pytest.fixture
def vectors_registry(tmp_path: Path, encoder: Any, make_prompt: MakePrompt) -> Registry:
    """near@1 (production) and @2, about@1; all on the encoder."""
    made = Registry(tmp_path / "vectors", who="ann@desk")
    made.push(make_prompt(1, PAIRS, backbone=encoder), "near")
    made.push(make_prompt(2, PAIRS, backbone=encoder, slot="suffix"), "near")
    about = PAIRS.model_copy(update={"template": "about: {text}", "max_length": 512})
    made.push(make_prompt(3, about, backbone=encoder), "about")
    made.promote("near@1", "production")
    return made


@pytest.fixture
async def vectors(
    encoder: Any, vectors_registry: Registry, tmp_path: Path
) -> AsyncIterator[Running]:
    """A server of prompts that turn texts into vectors, without keys."""
    async with running(encoder, vectors_registry, tmp_path / "vectors-cache") as made:
        yield made


@pytest.fixture
async def server(model: Any, registry: Registry, tmp_path: Path) -> AsyncIterator[Running]:
    """A server of the registry, without keys."""
    async with running(model, registry, tmp_path / "cache") as made:
        yield made
