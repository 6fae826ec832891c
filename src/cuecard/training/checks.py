"""The checks of a run that look at its rows or numbers; `TrainSetup.of` makes all of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from cuecard.artifacts.tensors import tensors_of
from cuecard.artifacts.test_vectors import default_probes
from cuecard.backbones.quantization.weights import own_part
from cuecard.errors import BackboneError, ConfigError, DataError, FrozenError
from cuecard.lazy import torch
from cuecard.tasks import Task, TaskSpec, collate
from cuecard.tasks.encoding.batching import mask_logits
from cuecard.tasks.encoding.pooling import embed_rows, texts_of
from cuecard.tasks.readers.tables import record_place
from cuecard.training.trainables.head import head_of
from cuecard.types import (
    Backbone,
    Encoded,
    HasDecoder,
    Injection,
    Method,
    Record,
    Slot,
    by_tower,
)

if TYPE_CHECKING:
    from torch import Tensor


def check_splits(task: Task, where: str | None = None) -> None:
    """
    Raises:
        DataError: no training or no validation rows.
    """
    for name in ("train", "validation"):
        if not getattr(task, name):
            raise DataError(
                f"the task has no {name} rows", where=where, got=0, expected="at least one"
            )


def check_words(
    spec: TaskSpec,
    where: str,
    what: str = "the task does not answer in words",
    *,
    hint: str | None = None,
) -> None:
    """
    Args:
        what: the message.

    Raises:
        ConfigError: the task is neither answered by label words nor a text.
    """
    if spec.mode not in ("labels", "text"):
        raise ConfigError(
            what,
            where=where,
            got=f"{spec.kind}{' with a head' if spec.mode == 'head' else ''}",
            expected="a classification by label words, or text-to-text",
            hint=hint,
        )


def check_embeddings(backbone: Backbone) -> None:
    """
    Raises:
        BackboneError: an embedding that is not all finite numbers.
    """
    if not bool(torch.isfinite(backbone.embeddings).all()):
        raise _not_finite(backbone)


def check_rate(lr: float, *, given: bool) -> None:
    """
    Args:
        given: by the settings; else it is a default.

    Raises:
        ConfigError: a learning rate that is not a positive number.
    """
    if not (math.isfinite(lr) and lr > 0):
        raise ConfigError(
            "the learning rate must be a positive number",
            where="training.lr",
            got=lr,
            expected="a finite number above 0",
            hint=None if given else "give one with --lr",
        )


def check_start(start: Method) -> None:
    """
    Raises:
        ConfigError: first parameters that are not all finite numbers.
    """
    tensors = tensors_of(start.injection(), head_of(start))
    bad = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if bad:
        raise ConfigError(
            "the prompt would start from numbers that are not finite",
            where="method.init",
            got=", ".join(bad),
            expected="finite numbers",
        )


def check_rows(
    backbone: Backbone, task: Task, slot: Slot, injection: Injection | None
) -> list[Encoded]:
    """Encode every row of every split, and refuse the first one that the backbone cannot take.

    Returns:
        The training rows as token ids.

    Raises:
        ConfigError: no room for a row with its prompt and its answer.
        DataError: a row that cannot be encoded.
        BackboneError: a token id without an embedding.
    """
    spec, room = task.spec, _Room(backbone, injection)
    words = _words(backbone, spec)
    _check_ids(backbone, (i for ids in words for i in ids), "the labels")
    longest = max(map(len, words), default=0)
    whole = spec.mode in ("head", "vector", "pixels")  # no answer follows the input
    train: list[Encoded] = []
    written: list[tuple[int, str]] = []
    for split in ("train", "validation", "test"):
        for number, record in enumerate(getattr(task, split), 1):
            place = record_place(record) or f"{split}, row {number}"
            rows = spec.encode_all(record, backbone.tokenizer, slot)
            options = _options(backbone, spec, record)
            for row in rows:
                ids = (*row.context, *row.target, *(i for ids in options for i in ids))
                _check_ids(backbone, ids, place)
                answer = max(longest, len(row.target), max(map(len, options), default=0))
                for text in _texts(row, spec):
                    room.check(text, 0 if whole else answer, place, generated=False)
                if spec.mode == "text" and split == "test":
                    written.append((len(row.context), place))
            if split == "train":
                train += rows
    if written:  # the longest, so that what the error advises is enough for all
        length, place = max(written, key=lambda one: one[0])
        room.check(length, spec.max_new_tokens, place, generated=True)
    for row in default_probes(spec, backbone, slot):
        for text in _texts(row, spec):
            room.check(text, 0, "the prompt's two test sentences, in the template", generated=False)
    return train


def check_weights(backbone: Backbone, row: Encoded, spec: TaskSpec) -> None:
    """Run one row without a prompt.

    Raises:
        BackboneError: the answer is not all finite numbers.
    """
    if not bool(torch.isfinite(plain_answer(backbone, row, spec)).all()):
        raise _not_finite(backbone)


def plain_answer(backbone: Backbone, row: Encoded, spec: TaskSpec) -> Tensor:
    """What the backbone makes of a row without a prompt: logits [1, V], or a vector [1, H]."""
    with torch.no_grad():
        if spec.mode == "pixels":
            return mask_logits(backbone, [row], None)
        if spec.reads == "states" or "next-tokens" not in backbone.reads:
            return embed_rows(backbone, [row], None)
        return backbone.forward(collate([(row, ())], read="next"), None)


class FrozenProof:
    """The proof that training leaves the backbone as it was: its bytes and its answers."""

    def __init__(self, backbone: Backbone, row: Encoded, spec: TaskSpec) -> None:
        self._backbone, self._row, self._spec = backbone, row, spec
        self._digest = self._backbone.digest()
        self._answer = plain_answer(self._backbone, self._row, self._spec)

    def check(self) -> None:
        """
        Raises:
            FrozenError: other bytes, or other answers.
        """
        same_bytes = self._backbone.digest() == self._digest
        answer = plain_answer(self._backbone, self._row, self._spec)
        if not same_bytes or not torch.equal(answer, self._answer):
            raise FrozenError(
                "the backbone changed during training",
                where=self._backbone.name,
                got="other answers" if same_bytes else "other parameters",
                expected="the same bytes and bit-identical answers",
            )


class _Room:
    """A backbone's positions, those of a prompt taken off.

    Args:
        injection: the prompt; None for none.
    """

    def __init__(self, backbone: Backbone, injection: Injection | None) -> None:
        self._positions = backbone.max_positions
        self._prompt = 0 if injection is None else injection.length
        self._opening: int | None = None
        if isinstance(backbone, HasDecoder):
            pieces = by_tower(injection)
            decoder = pieces["decoder"].length if "decoder" in pieces else 0
            self._opening = backbone.opening_length + decoder
            self._prompt -= decoder

    def check(self, context: int, answer: int, place: str, *, generated: bool) -> None:
        """
        Args:
            context, answer: a row's tokens.
            generated: whether the answer is yet to be written, so that its last token counts too.

        Raises:
            ConfigError: they are more than there is room for.
        """
        answer -= 0 if generated or not answer else 1  # what is only read needs no last token
        whole = context + self._prompt
        if self._opening is None:
            self._refuse(whole + answer, context, answer, place, generated)
        else:
            self._refuse(whole, context, 0, place, generated=False)
            self._refuse(self._opening + answer, 0, answer, place, generated)

    def _refuse(self, whole: int, context: int, answer: int, place: str, generated: bool) -> None:
        if whole <= self._positions:
            return
        parts = {
            "input tokens": context,
            "prompt positions": self._prompt if context else 0,
            "opening positions": 0 if context else self._opening or 0,
            "new tokens" if generated else "answer tokens": answer,
        }
        least = self._positions - (whole - answer)
        hint = "lower task.max_length or the prompt's length"
        if generated and least > 0:
            hint = f"set task.max_new_tokens to {least} or less, or lower task.max_length"
        raise ConfigError(
            "the backbone has no room for a row with its prompt and its answer",
            where=place,
            got=f"{whole} positions: "
            + " + ".join(f"{count} {name}" for name, count in parts.items() if count),
            expected=f"at most {self._positions}",
            hint=hint,
        )


def _texts(row: Encoded, spec: TaskSpec) -> list[int]:
    """The lengths of what is run on its own: the context, or both texts of a pair."""
    if spec.mode != "vector":
        return [len(row.context)]
    return [len(text.context) for text in texts_of(row) if text.context]


def _words(backbone: Backbone, spec: TaskSpec) -> Sequence[Sequence[int]]:
    """The ids that are scored for the labels; empty for a task that labels' words do not answer."""
    return spec.label_words(backbone.tokenizer).asked if spec.mode == "labels" else ()


def _options(backbone: Backbone, spec: TaskSpec, record: Record) -> Sequence[Sequence[int]]:
    chosen = spec.mode == "options"
    return spec.option_words(record, backbone.tokenizer).asked if chosen else ()


def _check_ids(backbone: Backbone, ids: Iterator[int] | Sequence[int], place: str) -> None:
    highest = max(ids, default=0)
    if highest < backbone.vocab_size:
        return
    token = backbone.tokenizer.decode([highest])
    raise BackboneError(
        "the tokenizer knows a token that the model has no embedding for",
        where=f"{place}, backbone {backbone.name}",
        got=f"{token!r}, token {highest}",
        expected=f"tokens 0 to {backbone.vocab_size - 1}",
        hint="the tokenizer was extended and the model was not (resize_token_embeddings)",
    )


def _not_finite(backbone: Backbone) -> BackboneError:
    named: Mapping[str, Tensor] = dict(backbone.model.named_parameters())
    bad = [name for name, one in named.items() if not bool(torch.isfinite(own_part(one)).all())]
    return BackboneError(
        "the backbone does not answer with finite numbers",
        where=backbone.name,
        got=f"NaN or infinity in {', '.join(bad[:3])}{' and others' if bad[3:] else ''}"
        if bad
        else f"NaN or infinity in {str(backbone.dtype).removeprefix('torch.')}",
        expected="finite weights" if bad else "a precision that it can be run in",
        hint="fetch or save the model again" if bad else "try --dtype fp32",
    )
