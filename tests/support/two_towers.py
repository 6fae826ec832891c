"""A toy of a model that sees: a vision tower, whose patches stand in front of a causal text."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cuecard.backbones.base import FrozenBackbone
from cuecard.backbones.families import Family
from cuecard.backbones.forward.reads import BatchReads
from cuecard.backbones.kernels.positions import align_left
from cuecard.methods import MethodSettings
from cuecard.tasks import Task
from cuecard.types import (
    Batch,
    Image,
    InitContext,
    Injection,
    InjectionKind,
    InputTokens,
    KeptReads,
    ParameterGroup,
    Tower,
    Towers,
)
from support.data.reviews import SPEC, reviews
from support.tiny import tiny_model, tiny_tokenizer

PATCHES, WIDTH, TEXT_WIDTH = 4, 16, 32


class Vision(nn.Module):
    """One bidirectional layer over patches [B, S, 16], then a projection to the text's width."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Embedding(256, WIDTH)
        self.layer = nn.TransformerEncoderLayer(WIDTH, 2, 32, dropout=0.0, batch_first=True)
        self.project = nn.Linear(WIDTH, TEXT_WIDTH)

    def forward(self, patches: Tensor) -> Tensor:
        return self.project(self.layer(patches))  # type: ignore[no-any-return]


class TwoTowers(FrozenBackbone):
    """A picture has four patches, each a byte of it; a row without one has a blank one."""

    family: ClassVar[Family] = Family(
        "a toy of two towers",
        {"text": frozenset({"input-tokens"}), "vision": frozenset({"input-tokens"})},
        frozenset({"next-tokens"}),
    )

    def __init__(self) -> None:
        model: Any = tiny_model("llama")
        with torch.random.fork_rng():
            torch.manual_seed(1)
            model.vision = Vision()
        super().__init__(model, tiny_tokenizer(), "two-towers")

    @property
    def tower_embeddings(self) -> Mapping[Tower, Tensor]:
        return {"text": self.embeddings, "vision": self.model.vision.patches.weight}

    def read_many(
        self, parts: Sequence[tuple[Batch, Injection | None]], *, keep: KeptReads = "logits"
    ) -> list[BatchReads]:
        assert keep == "logits"
        return [BatchReads(self._logits(batch, injection)) for batch, injection in parts]

    def _logits(self, batch: Batch, injection: Injection | None) -> Tensor:
        given = {tower: piece.vectors for tower, piece in self._pieces(injection).items()}  # type: ignore[union-attr]
        ids, lengths = align_left(batch)
        shown = [[*row[0].content] if row else [0] * PATCHES for row in batch.images]
        pixels = torch.tensor(shown or [[0] * PATCHES] * len(ids))
        picture = self.model.vision.patches(pixels)
        beside = given.get("vision", picture[0, :0])
        seen = self.model.vision(_in_front(beside, picture))[:, len(beside) :]
        prompt = given.get("text", self.embeddings[:0])
        front = len(prompt) + PATCHES
        text = self._frozen.embed(ids)
        real = torch.arange(ids.shape[1])[None] < lengths[:, None]
        mask = torch.cat([real.new_ones(len(ids), front), real], 1).long()
        self.counts["tokens"] += mask.numel()
        embeds = _in_front(prompt, torch.cat([seen, text], 1))
        with self._frozen.read_at(batch.read_rows, batch.read_at + front - 1):
            found = self.model(inputs_embeds=embeds, attention_mask=mask)
        return self._frozen.at_reads(found)


def _in_front(vectors: Tensor, rows: Tensor) -> Tensor:
    return torch.cat([vectors.expand(len(rows), -1, -1), rows], 1)


def picture_task(count: int = 120) -> Task:
    """The reviews, each with a picture of its own that is bright where it is positive."""
    rng, found = random.Random(1), []
    for record in reviews(count):
        light = 200 if record.target == "positive" else 20
        picture = Image(bytes(light + rng.randrange(40) for _ in range(PATCHES)))
        found.append(replace(record, fields={**record.fields, "picture": picture}))
    return Task.from_records(SPEC, found, split=(0.6, 0.2, 0.2))


class TowerVectors(nn.Module):
    """Free vectors of each tower."""

    def __init__(self, vectors: Mapping[Tower, Tensor]) -> None:
        super().__init__()
        self.vectors = nn.ParameterDict(vectors)

    def groups(self) -> tuple[ParameterGroup, ...]:
        return (ParameterGroup(tuple(self.parameters())),)

    def injection(self) -> Towers:
        return Towers({tower: InputTokens(rows) for tower, rows in self.vectors.items()})  # type: ignore[misc]

    def penalty(self) -> None:
        return None


class TowerTuning(MethodSettings):
    """Vectors among the inputs of several towers, as in MaPLe without its coupling."""

    name: ClassVar[str] = "tower-tuning"
    about: ClassVar[str] = "vectors among the inputs of several towers"

    length: int = 3
    towers: tuple[Tower, ...] = ("text", "vision")

    @property
    def requires(self) -> Mapping[Tower, tuple[InjectionKind, ...]]:
        return dict.fromkeys(self.towers, self.injects)

    def build(self, context: InitContext) -> TowerVectors:
        tables = {tower: context.towers[tower].float() for tower in self.towers}
        return TowerVectors(
            {
                tower: table.std()
                * torch.randn(self.length, table.shape[1], generator=context.generator)
                for tower, table in tables.items()
            }
        )
