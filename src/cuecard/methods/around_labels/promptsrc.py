"""Prompting with self-regulating constraints (PromptSRC): vectors in both towers, held to these.

Formula, for vectors P around labels' names in the first layers of the text tower g, and Q in front
of patches in those of the image tower f, unit vectors f and g, and logits z = s f g of scale s:
loss = CE(z, y) + a mean |g_P - g| + b mean |f_Q - f| + c mean_k p_k (log p_k - log softmax_k z),
g the unit mean of the frozen tower's vectors of a name in N templates, f the frozen tower's of the
image, p = softmax(s f g). In the end P and Q are the average of what they were after each of T
parts of the run, by the weights of N(m, d^2) at t = 1 .. T.
Paper: Khattak, Wasim, Naseer, Khan, Yang, Khan, "Self-regulating Prompts: Foundational Model
Adaptation without Forgetting" (ICCV 2023), section 3.2. Reference code: muzairkhattak/PromptSRC,
`trainers/promptsrc.py`, whose KL goes from the frozen model's probabilities to the prompt's, is
divided by the number of logits, and whose parts are epochs.

The text's first vectors start as the embeddings of "a photo of a", all others from N(0, 0.02^2).
The published code puts the first vectors of an image in front of the norm that comes before its
layers, here they are among what the first layer takes in; it takes the mean of a name's vectors
before they have length 1, here afterwards; it trains with SGD at 0.0025, by default here AdamW at
0.002. The average of the parts so far is what is validated, and what a run keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, field_validator

from cuecard.errors import ConfigError
from cuecard.lazy import torch
from cuecard.methods.around_labels.settings import LabelSettings, deep, drawn
from cuecard.methods.around_labels.templates import TEMPLATES
from cuecard.types import LABEL, Anchor, InitContext, InjectionKind, Tower

if TYPE_CHECKING:
    from cuecard.methods.modules.two_tower_prompt import TwoTowerPrompt


class PromptSRC(LabelSettings):
    """Settings of prompting with self-regulating constraints.

    Attributes:
        context_lr: the peak learning rate of all vectors.
    """

    name: ClassVar[str] = "promptsrc"
    about: ClassVar[str] = (
        "vectors around labels' names and in front of patches, held to both towers"
    )

    length: int | None = Field(
        default=4, ge=1, le=256, description="Vectors in front of a label's name."
    )
    image_length: int = Field(
        default=4, ge=1, le=256, description="Vectors in front of an image's patches."
    )
    init: Literal["random", "text"] = Field(
        default="text",
        description="Where the first layer's vectors of a name start. text: the embeddings of the "
        "first words of `text`. random: normal with a standard deviation of 0.02.",
    )
    depth: int | None = Field(
        default=None,
        ge=1,
        description="Layers of each tower with vectors of their own; by default 9, or all where "
        "there are fewer.",
    )
    text_weight: float = Field(
        default=25, ge=0, description="Weight of the distance of names' vectors to the frozen ones."
    )
    image_weight: float = Field(
        default=10,
        ge=0,
        description="Weight of the distance of images' vectors to the frozen ones.",
    )
    logits_weight: float = Field(
        default=1, ge=0, description="Weight of the divergence from the frozen model's answers."
    )
    templates: tuple[str, ...] = Field(
        default=TEMPLATES,
        min_length=1,
        description="What names stand in for the frozen tower, each with {label}; by default 60.",
    )
    parts: int = Field(
        default=20,
        ge=1,
        description="Equal parts of the run, after each of which the vectors are averaged in; the "
        "paper's epochs.",
    )
    part_mean: float = Field(
        default=15, description="The part whose vectors weigh most in the average."
    )
    part_deviation: float = Field(
        default=1, gt=0, description="How many parts around it weigh, as a standard deviation."
    )

    @field_validator("templates")
    @classmethod
    def _with_a_place(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        """
        Raises:
            ConfigError: a template without {label}.
        """
        for template in templates:
            if LABEL not in template:
                raise ConfigError(
                    "a template has no place for a label's name",
                    where=f"method {cls.name}, templates",
                    got=repr(template),
                    expected=f"a text with {LABEL}",
                )
        return templates

    @property
    def requires(self) -> Mapping[Tower, tuple[InjectionKind, ...]]:
        """Vectors around the labels' names, and in front of patches."""
        return {"labels": self.injects, "vision": ("layer-tokens",)}

    def build(self, context: InitContext) -> TwoTowerPrompt:
        """Make the vectors.

        Raises:
            ConfigError: more layers than a tower has, or a text with fewer words than vectors.
        """
        from cuecard.methods.modules.two_tower_prompt import TwoTowerPrompt  # noqa: PLC0415 - it needs torch

        depth = deep(self.name, self.depth, context)
        first = self.start(context)
        later = [drawn(len(first), context) for _ in range(depth - 1)]
        seen = drawn(depth * self.image_length, context, tower="vision")
        return TwoTowerPrompt(
            torch.stack([first, *later]),
            seen.view(depth, self.image_length, -1),
            Anchor(self.templates, self.text_weight, self.image_weight, self.logits_weight),
            parts=self.parts,
            mean=self.part_mean,
            deviation=self.part_deviation,
        )

    def words(self, ids: list[int]) -> list[int]:
        """As many of the text's first tokens as there are vectors."""
        return ids[: self.length]
