"""A method's first parameters, for a task on a backbone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TypeVar

from cuecard.artifacts.starts.shipped import shipped_start
from cuecard.lazy import torch
from cuecard.methods.prefix_start import PrefixSettings
from cuecard.methods.start import META, StartSettings
from cuecard.tasks import TaskSpec
from cuecard.tasks.splits import draw_rows
from cuecard.training.config import TrainConfig
from cuecard.training.trainables.head import Headed, HeadedByLabels
from cuecard.types import (
    Backbone,
    HasLabelTower,
    HasPatches,
    InitContext,
    Method,
    MethodConfig,
    NamesContext,
    Patches,
    Record,
    Tokenizer,
)

IMAGES = 64
"""Of how many training images an init looks at the patches, at most."""


def new_method(
    backbone: Backbone,
    spec: TaskSpec,
    method: MethodConfig,
    seed: int,
    head_lr: float | None = TrainConfig().head_peak,
    records: Sequence[Record] = (),
) -> Method:
    """A method's first parameters for a task on a backbone: the same for the same seed.

    Args:
        records: the training rows, of which an init may look at a few.
        head_lr: the peak learning rate of the task's head, if it has one; None for the method's.

    Raises:
        ConfigError: an init that this backbone or task cannot give.
    """
    made = method.build(init_context(backbone, spec, seed, records))
    if spec.mode != "head":
        return made
    if "labels" in method.requires and isinstance(backbone, HasLabelTower):
        return HeadedByLabels(made, backbone, [*spec.label_names.values()])
    return Headed(made, spec.outputs, backbone.hidden_size, head_lr)


M = TypeVar("M")


def suited_to(backbone: Backbone, method: M) -> M:
    """The settings as the backbone can start from them: without words, not from the task's text.

    The init "meta" without vectors gets those that are shipped for the backbone.

    Raises:
        ConfigError: none are.
    """
    if isinstance(method, StartSettings) and method.init == META and method.prompt is None:
        return method.model_copy(update={"prompt": shipped_start(backbone).vectors})
    by_default = getattr(method, "init", None) == "text" and getattr(method, "text", None) is None
    if "text" in backbone.takes or not by_default:
        return method
    init = "patches" if "vision" in backbone.takes else "vocabulary"
    if isinstance(method, PrefixSettings):
        return method.model_copy(update={"init": "patches"})
    # One that reads words is refused, see `check_supported`.
    if not isinstance(method, StartSettings) or method.reads_words:
        return method
    return method.model_copy(update={"init": init})


def init_context(
    backbone: Backbone, spec: TaskSpec, seed: int, records: Sequence[Record] = ()
) -> InitContext:
    """What a method may know of a task and a backbone when it makes its first parameters.

    Args:
        records: the training rows.
    """
    tokenizer = backbone.tokenizer
    return InitContext(
        embeddings=backbone.embeddings,
        encode=partial(_encode, tokenizer),
        special_ids=frozenset(int(i) for i in getattr(tokenizer, "all_special_ids", ())),
        labels=spec.continuations(tokenizer) if spec.mode == "labels" else (),
        text=spec.task_kind.instruction(spec),
        generator=torch.Generator().manual_seed(seed),
        states=backbone.states,
        layers=backbone.num_layers,
        towers=backbone.tower_embeddings,
        patches=_patches(backbone, spec, seed, records),
        names=_names(backbone, spec),
    )


def _encode(tokenizer: Tokenizer, text: str) -> list[int]:
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return [int(i) for i in ids]


def _names(backbone: Backbone, spec: TaskSpec) -> NamesContext | None:
    if not isinstance(backbone, HasLabelTower):
        return None
    return NamesContext(
        embeddings=backbone.tower_embeddings["labels"],
        encode=partial(_encode, backbone.label_tokenizer),
        names=tuple(spec.label_names.values()),
        layers=backbone.label_layers(),
        width=backbone.label_width,
    )


def _patches(
    backbone: Backbone, spec: TaskSpec, seed: int, records: Sequence[Record]
) -> Patches | None:
    """The patches of a few training images, drawn by the seed; nothing is run yet."""
    if not records or not isinstance(backbone, HasPatches) or spec.task_kind.tower != "vision":
        return None
    few = draw_rows(records, IMAGES, f"patches {seed}")
    rows = spec.encode_rows(few, backbone.tokenizer, "prefix")
    return backbone.patches_of([image for row in rows for image in row.images], seed)
