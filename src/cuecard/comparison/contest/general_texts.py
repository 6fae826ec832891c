"""What a contender does to everything but its task: the loss on general texts, on and off.

The texts are the user's, or drawn from the frozen model itself. Of the model's own texts the mean
difference of the losses is an estimate of KL(frozen || adapted): how far the adapted model went
from what the frozen one says. Texts of the user say what the adapted model lost of these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cuecard.comparison.contest.contender import Loaded
from cuecard.errors import DataError
from cuecard.lazy import no_grad, torch
from cuecard.metrics.intervals import student
from cuecard.tasks.readers.plain_lines import is_plain
from cuecard.tasks.readers.records import read_records
from cuecard.tasks.readers.text_files import read_text
from cuecard.tasks.spec import TaskSpec
from cuecard.training.objective.loss import batch_loss
from cuecard.types import Backbone, Encoded, InputTokens, Interval, Placement

if TYPE_CHECKING:
    from torch import Tensor

OWN = "the frozen model's own texts"
# Enough texts for a difference of a tenth of a nat, and over in seconds.
_TEXTS, _TOKENS = 32, 64
_MOST_TEXTS, _MOST_TOKENS = 200, 256
_FEWEST_TOKENS = 8
# Of a text its first quarter is given and the rest is predicted, so that an encoder has something
# to read too.
_GIVEN = 4
_SPEC = TaskSpec(kind="text-to-text", template="{text}")


@dataclass(frozen=True)
class GeneralTexts:
    """Texts that are not the task's.

    Attributes:
        source: where they are from.
        ids: their tokens.
    """

    source: str
    ids: tuple[tuple[int, ...], ...]

    def losses(self, loaded: Loaded) -> tuple[float, ...]:
        """Nats per token of each text."""
        return tuple(_loss(loaded, ids) for ids in self.ids)


@dataclass(frozen=True)
class Forgetting:
    """The loss on general texts, in nats per token.

    Attributes:
        source: where the texts are from.
        texts: how many.
        off: of the frozen model.
        on: with the contender on.
        ci95: of the difference, paired by text; None for a single text.
    """

    source: str
    texts: int
    off: float
    on: float
    ci95: Interval | None

    @property
    def more(self) -> float:
        """What was forgotten."""
        return self.on - self.off


def forgetting(texts: GeneralTexts, off: Sequence[float], on: Sequence[float]) -> Forgetting:
    """The losses of the same texts without and with a contender, compared."""
    count = len(off)
    gaps = [b - a for a, b in zip(off, on, strict=True)]
    mean = math.fsum(gaps) / count
    ci95 = None
    if count > 1:
        spread = math.sqrt(math.fsum((gap - mean) ** 2 for gap in gaps) / (count - 1))
        half = student(count) * spread / math.sqrt(count)
        ci95 = Interval(mean - half, mean + half)
    return Forgetting(texts.source, count, math.fsum(off) / count, math.fsum(on) / count, ci95)


def general_texts(backbone: Backbone, path: str | None, seed: int) -> GeneralTexts | str:
    """The texts of a file, or without one texts that the frozen model says by itself.

    Args:
        path: a text file with a text per line, or a table with a column `text`.
        seed: of the model's own texts.

    Returns:
        The texts; why there are none where the model does not predict texts.

    Raises:
        DataError: the file cannot be read, or has no text of at least eight tokens.
    """
    if "next-tokens" not in backbone.reads:
        return "the backbone predicts no texts"
    if path is not None:
        return _read(backbone, path)
    start = _start_of(backbone)
    if start is None or not backbone.causal:
        return "the backbone does not begin a text by itself: give --general TEXTS"
    own = _own_texts(backbone, start, seed)
    return GeneralTexts(OWN, own) if own else "the model's own texts are too short: give --general"


def _read(backbone: Backbone, path: str) -> GeneralTexts:
    place = Path(path)
    if is_plain(place):
        texts = [line for line in read_text(place).splitlines() if line.strip()]
    else:
        texts = [r.text("text") for r in read_records(place, fields=("text",), target_field=None)]
    most = min(_MOST_TOKENS, backbone.max_positions // 2)
    ids = [tuple(backbone.tokenizer.encode(text)[:most]) for text in texts]
    kept = tuple(each for each in ids if len(each) >= _FEWEST_TOKENS)[:_MOST_TEXTS]
    if not kept:
        raise DataError(
            "there are no general texts to measure forgetting on",
            where=path,
            got=f"{len(texts)} texts, each shorter than {_FEWEST_TOKENS} tokens",
            expected=f"texts of at least {_FEWEST_TOKENS} tokens",
        )
    return GeneralTexts(path, kept)


def _start_of(backbone: Backbone) -> int | None:
    tokenizer = backbone.tokenizer
    found = (getattr(tokenizer, "bos_token_id", None), tokenizer.eos_token_id)
    return next((int(token) for token in found if token is not None), None)


@no_grad
def _own_texts(backbone: Backbone, start: int, seed: int) -> tuple[tuple[int, ...], ...]:
    generator = torch.Generator().manual_seed(seed)

    def pick(logits: Tensor) -> Tensor:
        shares = logits.float().softmax(-1).cpu()
        return torch.multinomial(shares, 1, generator=generator)[:, 0].to(logits.device)

    room = min(_TOKENS, backbone.max_positions - 2)
    places = [Placement()] * _TEXTS
    said = backbone.generate([[start]] * _TEXTS, places, None, room, pick=pick)
    return tuple((start, *ids) for ids in said if len(ids) >= _FEWEST_TOKENS)


@no_grad
def _loss(loaded: Loaded, ids: tuple[int, ...]) -> float:
    backbone, given = loaded.backbone, max(1, len(ids) // _GIVEN)
    context, target = ids[:given], ids[given:]
    place = Placement.at(len(context) if loaded.slot == "suffix" else 0)
    row = Encoded(context, target, place)
    injection = loaded.injection or InputTokens(torch.zeros(0, backbone.hidden_size))
    loss, count = batch_loss(backbone, _SPEC, [row], injection, "tokens")
    return float(loss) / count
