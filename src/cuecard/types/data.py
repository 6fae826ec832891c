"""What goes through the program: records, encoded rows, batches, predictions.

Sizes: B rows, T tokens in the longest row, N reads, S places of a prompt.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from cuecard.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


Split = Literal["train", "validation", "test"]
ReadKind = Literal["next-tokens", "masks", "states", "pixels"]
KeptReads = Literal["logits", "states", "both"]


@dataclass(frozen=True, slots=True)
class Image:
    """An image as its file has it, such as PNG.

    Attributes:
        content: the file's bytes.
        pixels: SHA-256 of the decoded pixels, see `cuecard.images.checked`; empty where they have
            not been decoded.
        size: rows and columns of these pixels; (0, 0) where they have not been decoded.
        once: whether it is shown to a model once, so that nothing made of it is worth keeping.
    """

    content: bytes = field(repr=False)
    pixels: str = ""
    size: tuple[int, int] = (0, 0)
    once: bool = field(default=False, compare=False, repr=False, kw_only=True)

    @property
    def digest(self) -> str:
        """What a copy of the image has in common with it: `pixels`, or SHA-256 of the bytes."""
        return self.pixels or hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True, slots=True)
class Answer:
    """A part of a text.

    Attributes:
        text: its characters.
        start: the place of the first of them in the whole text, from 0.
    """

    text: str
    start: int


Value = str | tuple[str, ...] | tuple[Answer, ...] | Image
"""What a record holds in a field or as its target: a text, a list of texts such as options or
labels, answers found in a text, or an image."""


def value_text(value: Value, separator: str | None = None) -> str:
    """The text that a value is compared, counted and hashed by.

    A list is its texts with the separator between them, or JSON without one; answers are JSON in
    SQuAD's names, an image is its digest. `parts_of` and `answers_of` read lists and answers back.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, Image):
        return f"sha256:{value.digest}"
    told: Any = value
    if isinstance(told, tuple) and any(isinstance(part, Answer) for part in told):
        told = {"text": [x.text for x in told], "answer_start": [x.start for x in told]}
    elif separator is not None:
        return separator.join(told)
    return json.dumps(told, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Record:
    """One labelled example as the user wrote it.

    Attributes:
        fields: the template's fields, by name, and what a kind of task reads besides.
        target: the label, the text to produce, or another value that the kind of task asks for,
            see `TaskKind.target_of`; None where it is not known.
        source: the file it came from.
        row: its row there, counted from 1 as an editor shows it.
        group: records of one group stay in one split; empty where it has none.
    """

    fields: Mapping[str, Value]
    target: Value | None
    source: str = ""
    row: int = 0
    group: str = ""

    @property
    def texts(self) -> Mapping[str, str]:
        """The fields as texts, see `value_text`."""
        return {name: value_text(value) for name, value in self.fields.items()}

    def text(self, name: str) -> str:
        """A field as text."""
        return value_text(self.fields[name])

    @property
    def images(self) -> tuple[Image, ...]:
        """The images among the fields, in the order of their names."""
        values = (self.fields[name] for name in sorted(self.fields))
        return tuple(value for value in values if isinstance(value, Image))


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a prompt's vectors stand in a row.

    Attributes:
        slots: how many of the row's tokens come before each place of the prompt, in order: for a
            prefix 0 (before a mask, what the tokenizer puts before every text), for a suffix all of
            the context, else those before each `{prompt}` of the template.
        sizes: how many vectors go to each place; empty for an even split.
    """

    slots: tuple[int, ...] = (0,)
    sizes: tuple[int, ...] = ()

    @classmethod
    def at(cls, slot: int) -> Placement:
        """One place, after so many tokens."""
        return cls((slot,))


def common_beginning(rows: Sequence[tuple[int, ...]]) -> int:
    """How many tokens all rows begin with."""
    # What the first and the last in order begin with, all between them begin with.
    least, most = min(rows), max(rows)
    pairs = zip(least, most, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), len(least))


@dataclass(frozen=True, slots=True)
class Frame:
    """Where an image is in what a promptable segmentation model takes in and gives.

    Attributes:
        height, width: of the image, in its own pixels.
        seen: rows and columns that it takes of the model's input, from the top left corner on.
        side: rows and columns of the model's input.
        grid: rows and columns of the model's mask logits, which cover the same.
    """

    height: int
    width: int
    seen: tuple[int, int]
    side: int
    grid: int

    @property
    def cells(self) -> tuple[int, int]:
        """Rows and columns of the grid whose centres are in the image."""
        rows, columns = (math.ceil(size * self.grid / self.side - 0.5) for size in self.seen)
        return max(1, rows), max(1, columns)


@dataclass(frozen=True, slots=True)
class Region:
    """What is asked of an image: which part of it, and what is known of that part.

    Attributes:
        frame: where the image is.
        points: x, y in the image's own pixels and 1, or 0 for a point that is not in the part.
        boxes: left, top, right, bottom in the image's own pixels.
        goal: a bit for each of the frame's cells, row by row, as `numpy.packbits` packs them;
            empty where the mask is not known.
    """

    frame: Frame
    points: tuple[tuple[float, float, int], ...] = ()
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    goal: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Encoded:
    """One record as token ids.

    Attributes:
        context: the rendered template, cut to length.
        target: the continuation to learn, or the text that belongs to this one (embedding); empty
            where it is not known.
        placement: where the prompt stands in the context.
        cut: how many tokens of the fields were cut away.
        mask: the place in the context of the mask token that the target is to stand for; None
            where the target comes after the context.
        at: the context tokens whose states a head reads; empty for the state after the context.
        goal: what a head is to give there, see `TaskKind.goal`; empty where it is not known.
        barred: the tokens that would make the target another label (see `LabelWords`); empty where
            it begins no other label.
        images: the record's images, for a model with a vision tower.
        image_positions: how many positions these take in the model.
        region: the part of the image that is asked for; None where none is.
    """

    context: tuple[int, ...]
    target: tuple[int, ...]
    placement: Placement = Placement()
    cut: int = 0
    mask: int | None = None
    at: tuple[int, ...] = ()
    goal: tuple[float, ...] = ()
    barred: tuple[int, ...] = ()
    images: tuple[Image, ...] = ()
    image_positions: int = 0
    region: Region | None = None

    @property
    def positions(self) -> int:
        """How many positions the input takes in the model, without a prompt."""
        return len(self.context) + self.image_positions

    @property
    def slot(self) -> int:
        """How many of the context's tokens come before the prompt's first place."""
        return self.placement.slots[0]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows for one forward pass. Counts are in real tokens, so padding may stand on either side.

    Attributes:
        input_ids: [B, T] int64.
        attention_mask: [B, T] int64, 1 for a real token; all padding on one side of each row.
        slots: [B, S] int64, how many of the row's tokens come before each place of the prompt.
        read_rows: [N] int64, the row of each read.
        read_at: [N] int64, the read's place: the logits that predict the row's token number
            read_at, counted from 0 without the prompt; it may be one past the row's end. A causal
            model has them at the place before, a masked one at the place itself.
        target_ids: [N] int64, the token that belongs there; -100 where there is none.
        context: [B] int64, how many of the row's tokens are the context. What comes after them is
            the continuation, which an encoder-decoder reads in its decoder; nothing does where the
            reads are at masks.
        sizes: how many vectors go to each of the S places; empty for an even split.
        follows: [B, T] int64, for rows whose continuation is a tree of tokens: the number of the
            token that each one follows, -1 for the first. A read after token number n has
            `read_at` n + 1. None for plain rows; see `Backbone.tree_room`.
        images: each row's images; empty where no row has any.
        regions: the part of each row's image that is asked for; empty where no row asks for one.
    """

    input_ids: Tensor
    attention_mask: Tensor
    slots: Tensor
    read_rows: Tensor
    read_at: Tensor
    target_ids: Tensor
    context: Tensor
    sizes: tuple[int, ...] = ()
    follows: Tensor | None = None
    images: tuple[tuple[Image, ...], ...] = ()
    regions: tuple[Region | None, ...] = ()

    @property
    def slot(self) -> Tensor:
        """[B] int64, how many of the row's tokens come before the prompt's first place."""
        return self.slots[:, 0]

    def __len__(self) -> int:
        return self.input_ids.shape[0]

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        parts: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        tensors = {
            n: part.to(device) for n, part in parts.items() if isinstance(part, torch.Tensor)
        }
        return Batch(**(parts | tensors))


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided confidence interval."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a prompt answered to one record.

    Attributes:
        index: the record's place in the list that was given.
        answer: the label or the text.
        scores: label -> score (calibrated if asked for); empty for text-to-text.
        probabilities: label -> softmax of the scores, of several labels that may hold the sigmoid
            of each; empty for text-to-text.
    """

    index: int
    answer: str
    scores: Mapping[str, float]
    probabilities: Mapping[str, float]
