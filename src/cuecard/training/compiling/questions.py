"""Questions about a text that the backbone itself writes, for want of inputs.

Eyuboglu et al., "Cartridges" (2025, arXiv:2506.06266), section 4.1: five kinds of requests, each
about a passage of the text drawn at random, so that together they ask about all of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cuecard.errors import ConfigError, DataError
from cuecard.interrupts import may_cut
from cuecard.lazy import np, torch
from cuecard.tasks.encoding.bound import bind
from cuecard.tasks.encoding.tokens import continuation_ids
from cuecard.training.compiling.full_text import FullText
from cuecard.training.distilling.kept_lines import KeptLines
from cuecard.training.setup import key_of
from cuecard.training.storage.log import RunLog
from cuecard.types import Record

if TYPE_CHECKING:
    from torch import Tensor

FILE = "questions.jsonl"
"""The questions, in the run's folder: a line that says whose they are, then one for each draw."""

KINDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "structuring": (
        "Write one request to put facts of this passage into a list or a table.",
        ("List", "Make a table of", "Write down as bullet points"),
    ),
    "summary": (
        "Write one request to sum up what this passage says about one topic.",
        ("Summarize", "Sum up", "In one sentence, explain"),
    ),
    "question": (
        "Write one question that this passage answers.",
        ("What", "When", "Who", "Where", "How much", "How many", "Which"),
    ),
    "use case": (
        "Write one request of a person who needs this passage for a task of their own.",
        ("I need to", "How can I", "I would like to", "Can I"),
    ),
    "creative": (
        "Write one unusual question that makes one think about this passage.",
        ("Why", "What if", "Is it true that", "Imagine"),
    ),
}
"""What is asked for, and the words that an answer begins with, of which one is drawn: small models
write a question only once they have begun one."""

_PASSAGE = 64  # tokens at most, and half of a short text
_EACH = 4  # questions about one passage
_LONGEST = 40  # tokens of a question
_TEMPERATURE = 0.8
_DRAWS = 4  # times as many may be drawn as are wanted: some are empty or the same
_FEWEST = 10
_WORDS = 3


@dataclass(frozen=True)
class QuestionWriter:
    """Has the backbone write questions with the text in front; the same for the same seed.

    Args:
        text: the text.
        count: how many different questions are wanted.
        seed: of the passages and of the words.
        folder: where they are kept; None keeps none.

    Raises:
        ConfigError: a task whose inputs are not one text, or that is answered by labels.
    """

    text: FullText
    count: int
    seed: int = 0
    folder: Path | None = None

    def __post_init__(self) -> None:
        spec = self.text.spec
        if spec.mode != "text" or len(spec.field_names) != 1:
            raise ConfigError(
                "questions about the text are no inputs for this task",
                where="inputs",
                got=f"a template with the fields {', '.join(spec.field_names)}"
                + (" and labels" if spec.labels else ""),
                expected="a file of inputs",
            )

    @property
    def key(self) -> str:
        """A digest of all that the questions depend on."""
        return key_of([*self.text.parts, self.count, self.seed])

    @property
    def _kept(self) -> KeptLines:
        return KeptLines(self.folder, FILE, self.key)

    def fits(self, folder: Path) -> None:
        """
        Raises:
            TrainingError: the folder holds the questions of another run.
        """
        self._kept.fits(folder, "questions", "another text, another seed or another backbone")

    def write(self, log: RunLog) -> list[Record]:
        """The questions as inputs; draws that a folder has are not made again.

        Raises:
            DataError: hardly any can be used.
            Stop: Ctrl-C; the draws so far are kept.
        """
        (field,) = self.text.spec.field_names
        kept = self._kept
        draws: list[list[str]] = kept.load()
        found = usable(draws)
        told = log.count("writing questions", self.count)
        if told is not None and found:
            told(min(len(found), self.count))
        most = -(-_DRAWS * self.count // _EACH)
        while len(found) < self.count and len(draws) < most:
            with may_cut():
                draws.append(self._draw(len(draws)))
            kept.save(draws)
            before, found = min(len(found), self.count), usable(draws)
            if told is not None:
                told(min(len(found), self.count) - before)
        if len(found) < min(_FEWEST, self.count):
            raise DataError(
                "the backbone writes hardly any question that can be used",
                where=f"backbone {self.text.backbone.name}",
                got=f"{len(found)} of {len(draws) * _EACH} drawn",
                expected=f"{_FEWEST} or more",
                hint="give inputs (--inputs), or use a backbone that follows instructions (--chat)",
            )
        return [
            Record({field: text}, None, source=FILE, row=number)
            for number, text in enumerate(found[: self.count], 1)
        ]

    def _draw(self, number: int) -> list[str]:
        """What the backbone writes about one passage."""
        text, backbone = self.text, self.text.backbone
        rng = np.random.default_rng((self.seed, number))
        size = min(_PASSAGE, -(-text.length // 2))
        start = int(rng.integers(text.length - size + 1))
        passage = str(backbone.tokenizer.decode(text.ids[start : start + size])).strip()
        ask, beginnings = [*KINDS.values()][number % len(KINDS)]
        begun = beginnings[int(rng.integers(len(beginnings)))]
        (field,) = text.spec.field_names
        record = Record({field: f"{ask}\n\nPassage: {passage}"}, None)
        row = text.spec.encode(record, backbone.tokenizer, text.slot)
        after_space = bind(text.spec, backbone.tokenizer).encoder.after_space
        context = row.context + continuation_ids(backbone.tokenizer, begun, after_space)
        room = backbone.max_positions - text.length - len(context)
        end = backbone.tokenizer.eos_token_id
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))

        def pick(logits: Tensor) -> Tensor:
            shares = (logits.float() / _TEMPERATURE).softmax(-1).cpu()
            return torch.multinomial(shares, 1, generator=generator)[:, 0].to(logits.device)

        answers = backbone.generate(
            [context] * _EACH,
            [row.placement] * _EACH,
            text.injection,
            max(1, min(_LONGEST, room)),
            () if end is None else (int(end),),
            pick=pick,
        )
        decode = backbone.tokenizer.decode
        return [begun + str(decode(ids, skip_special_tokens=True)) for ids in answers]


def usable(draws: Sequence[Sequence[str]]) -> list[str]:
    """The different questions among what was drawn, each its first sentence alone."""
    cleaned = (_first_sentence(text) for draw in draws for text in draw)
    return [*dict.fromkeys(text for text in cleaned if len(text.split()) >= _WORDS)]


def _first_sentence(text: str) -> str:
    """Up to the first line's first full stop or question mark, or all of the line."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return re.split(r"(?<=[.?!])\s", line, maxsplit=1)[0].strip(" \"'“”*")
