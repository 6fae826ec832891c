"""What the old prompts answer on the backbones that they were made for: once, and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cuecard.artifacts.bound_prompt import BoundPrompt
from cuecard.evaluation.loglikelihood import OnRows
from cuecard.training.distilling.answers import (
    answer_once,
    key_of_input,
    known_answers,
    likeliest_tokens,
)
from cuecard.training.distilling.kept_lines import KeptLines
from cuecard.training.objective.top_tokens import Taught, TopTokens
from cuecard.training.porting.sources import PortSource
from cuecard.training.setup import key_of
from cuecard.training.storage.log import RunLog
from cuecard.types import Backbone, Encoded, Prediction, Record

FOLDER = "teacher"
"""Where the answers go, in the run's folder: for each prompt a line that says whose they are, then
one for each input and each labelled row."""

TEXTS = "texts"
"""What is learnt where the old prompt's tokens are not the new backbone's."""

OldBackbone = Callable[[PortSource], Backbone]
"""Loads what a prompt was made for."""

_Input = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class OldAnswers:
    """What a prompt answers on its own backbone.

    Attributes:
        inputs, labelled: the answers to them, in order.
        tokens: by input the tokens of its answer, and the likeliest at each; empty for labels, and
            for another tokenizer than the new backbone's.
    """

    inputs: Sequence[Prediction]
    labelled: Sequence[Prediction]
    tokens: Mapping[_Input, tuple[tuple[int, ...], TopTokens]] = field(default_factory=dict)

    def taught(self, rows: Sequence[tuple[Record, Encoded]]) -> Taught:
        """The likeliest tokens for the new prompt's rows, if its targets have the same tokens."""
        found: dict[Encoded, TopTokens] = {}
        for record, row in rows:
            target, tokens = self.tokens.get(key_of_input(record), ((), None))
            if tokens is None or target != row.target:
                return {}
            found[row] = tokens
        return found


class PortTeachers:
    """The old prompts of a port; of their backbones no more than one is loaded at a time.

    Args:
        sources: the prompts.
        load: loads a prompt's backbone; not called where a folder has every answer.
        student: the new backbone.
        top: how many of the likeliest tokens are learnt.
        folder: the run's; None keeps nothing.
    """

    def __init__(
        self,
        sources: Sequence[PortSource],
        load: OldBackbone,
        student: Backbone,
        top: int,
        folder: Path | None,
    ) -> None:
        self._sources, self._load, self._student, self._top = sources, load, student, top
        self._folder = folder

    def fits(self, folder: Path) -> None:
        """
        Raises:
            TrainingError: the folder holds the answers of other prompts, or to other inputs.
        """
        for source in self._sources:
            kept = self._kept(source, folder)
            kept.fits(folder / FOLDER, "answers", "another prompt, or other inputs")

    def learns(self, source: PortSource) -> str:
        """What of the old answers is learnt, in a word."""
        if source.spec.mode == "labels":
            return "label probabilities"
        return "likeliest tokens" if self._has_same_tokens(source) else TEXTS

    def answers(self, log: RunLog) -> dict[str, OldAnswers]:
        """Each prompt's answers.

        Raises:
            ArtifactError: a prompt that does not answer on its backbone as when it was saved.
            Stop: Ctrl-C; the answers so far are kept.
        """
        found: dict[str, OldAnswers] = {}
        of_backbone: dict[str, list[PortSource]] = {}
        for source in self._sources:
            fingerprint = source.prompt.manifest.backbone.fingerprint.model_dump_json()
            of_backbone.setdefault(fingerprint, []).append(source)
        for some in of_backbone.values():
            found |= self._answered(some, log)
        return {source.name: found[source.name] for source in self._sources}

    def _answered(self, sources: Sequence[PortSource], log: RunLog) -> dict[str, OldAnswers]:
        """The answers of prompts of one backbone, which is loaded when it is first needed."""
        loaded: list[Backbone] = []

        def bound(source: PortSource) -> BoundPrompt:
            if not loaded:
                loaded.append(self._load(source))
            return source.prompt.bind(loaded[0])

        return {source.name: self._of(source, bound, log) for source in sources}

    def _of(
        self, source: PortSource, bound: Callable[[PortSource], BoundPrompt], log: RunLog
    ) -> OldAnswers:
        rows = (*source.inputs, *source.labelled)
        kept, asking = self._kept(source, self._folder), None
        if len(known_answers(kept)) < len(rows) or self._has_same_tokens(source):
            asking = bound(source)

        def ask(records: Sequence[Record], on_rows: OnRows | None) -> list[Prediction]:
            assert asking is not None, "asked though every answer was kept"
            return asking.predict(records, on_rows=on_rows)

        answers = answer_once(rows, ask, kept, log, f"answering with {source.name}")
        count = len(source.inputs)
        found = OldAnswers(answers[:count], answers[count:])
        if asking is None or not self._has_same_tokens(source):
            return found
        return replace(found, tokens=self._tokens(source, asking, found.inputs))

    def _tokens(
        self, source: PortSource, asked: BoundPrompt, answers: Sequence[Prediction]
    ) -> dict[_Input, tuple[tuple[int, ...], TopTokens]]:
        records = [
            replace(record, target=answer.answer)
            for record, answer in zip(source.inputs, answers, strict=True)
            if answer.answer
        ]
        backbone, spec = asked.backbone, source.prompt.spec
        rows = spec.encode_rows(records, backbone.tokenizer, source.prompt.manifest.slot)
        tokens = likeliest_tokens(backbone, rows, asked.injection, self._top)
        return {
            key_of_input(record): (row.target, each)
            for record, row, each in zip(records, rows, tokens, strict=True)
        }

    def _has_same_tokens(self, source: PortSource) -> bool:
        """Whether its answers' tokens are the new backbone's too."""
        made_for = source.prompt.manifest.backbone
        return (
            source.spec.mode == "text"
            and made_for.fingerprint.tokenizer == self._student.fingerprint.tokenizer
            and made_for.vocab_size <= self._student.vocab_size
        )

    def _kept(self, source: PortSource, folder: Path | None) -> KeptLines:
        rows = [[dict(row.texts) for row in some] for some in (source.inputs, source.labelled)]
        first = {"key": key_of([source.prompt.digest, rows])}
        return KeptLines(folder and folder / FOLDER, f"{source.name}.jsonl", first)
