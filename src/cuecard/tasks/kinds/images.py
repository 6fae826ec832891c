"""What kinds of tasks about images have in common; most have a head on a vision encoder's state."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from cuecard.errors import DataError
from cuecard.images import SUFFIXES
from cuecard.tasks.kinds.base import AnswerMode, HandWritten, Readers, S, TaskKind
from cuecard.tasks.readers.images.image_cells import image_column
from cuecard.tasks.readers.images.image_sets import images_in
from cuecard.tasks.readers.tables import record_place
from cuecard.tasks.settings import TaskSettings, contradiction
from cuecard.types import Encoded, Image, Record, Slot, Tokenizer, Tower, Value

_SIDE = 16  # of the two test images
_PARTS = re.compile(r"(\d+)")


class ImageKind(TaskKind[S]):
    """A kind whose records are an image each. It stands in front of a kind of texts."""

    template = "{image}"
    mode: AnswerMode = "head"
    head_is_optional = False
    hand_written: HandWritten | None = None
    tower: Tower = "vision"
    argument = "some-image.png"

    def check(self, spec: TaskSettings) -> None:
        """The template is the image's field alone."""
        fields = spec.field_names
        if len(fields) != 1 or spec.template.strip() != f"{{{fields[0]}}}":
            raise contradiction(
                "words beside the image, which no vision encoder reads",
                "template",
                repr(spec.template),
                "the image's field alone, such as {image}",
            )

    def columns(self, spec: TaskSettings, target: str | None, named: Mapping[str, str]) -> Readers:
        """An image, a file's path or its bytes, beside what the kind reads of texts."""
        (field,) = spec.field_names
        others = super().columns(spec, target, named)
        return {**others, field: image_column(named.get(field, field))}

    def check_target(self, spec: TaskSettings, record: Record) -> None:
        """Also refuse a record without an image."""
        super().check_target(spec, record)
        if not record.images:
            raise DataError(
                "the record has no image",
                where=record_place(record),
                got=", ".join(f"{n}: {type(v).__name__}" for n, v in record.fields.items()),
                expected="an Image",
            )

    def sorted_labels(self, labels: Sequence[str]) -> list[str]:
        """By name, and by number where names have some: "2" before "10"."""
        return sorted(labels, key=lambda x: [(p.isdigit(), p.zfill(9)) for p in _PARTS.split(x)])

    def encode(
        self, spec: TaskSettings, record: Record, tokenizer: Tokenizer, slot: Slot
    ) -> list[Encoded]:
        """The image alone, and what a head is to give for it where that is known."""
        goal = () if record.target is None else self.goal(spec, record)
        positions = getattr(tokenizer, "image_positions", 0) * len(record.images)
        return [Encoded((), (), images=record.images, image_positions=positions, goal=goal)]

    def probe(self, text: str) -> Value:
        """A picture drawn from the text's characters, the same wherever it is drawn."""
        codes = text.encode()
        size = range(_SIDE * _SIDE * 3)
        drawn = bytes((codes[i % len(codes)] * (1 + i // 97) + i * i) % 256 for i in size)
        return Image(f"P6 {_SIDE} {_SIDE} 255\n".encode() + drawn)

    def inputs(self, texts: Sequence[str]) -> list[str]:
        """The files that paths, folders and patterns name.

        Raises:
            DataError: a folder without images, or a pattern that no file fits.
        """
        found: list[str] = []
        for text in texts:
            path = Path(text)
            if path.is_dir():
                files = images_in(path)
            elif path.exists() or not any(mark in text for mark in "*?["):
                files = [path]
            else:
                root = Path(path.anchor) if path.is_absolute() else Path()
                pattern = str(path.relative_to(path.anchor) if path.is_absolute() else path)
                fitting = sorted(root.glob(pattern))
                files = [p for p in fitting if p.is_file() and p.suffix.lower() in SUFFIXES]
            if not files:
                raise DataError(
                    "there are no images",
                    where=text,
                    got="an empty folder" if path.is_dir() else "no file of that pattern",
                    expected=f"files {', '.join(sorted(SUFFIXES))}",
                )
            found += map(str, files)
        return found
